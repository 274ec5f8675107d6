"""POST /v1/chat/completions: the endpoint, and the two ways to write a turn down."""

from collections.abc import Callable, Sequence
from contextlib import aclosing

import structlog

from librarian.application.converse import Ask
from librarian.application.ports.clock import Clock
from librarian.application.ports.meter import Meter
from librarian.domain.turn import Collected, Ignored, TextSpoken, ToolCalled, TurnBegan, TurnEnded, TurnStream
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.wire import chat as wire
from librarian.entrypoints.http.openai.writing import DONE, FINISH_REASON, JSON, quoted, usage_json
from librarian.entrypoints.http.streams import Frames, Pace, Reply

Converse = Callable[[Ask], TurnStream]


class ChatEndpoint:
    """One instance serves every request."""

    def __init__(self, converse: Converse, *, pace: Pace, clock: Clock, meter: Meter) -> None:
        self._converse = converse
        self._pace = pace
        self._clock = clock
        self._meter = meter

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        """Raises InvalidRequest, and what Converse raises."""
        request = wire.decode(body)
        ask = wire.to_domain(request, caller.principal, caller.mode)
        structlog.contextvars.bind_contextvars(principal_id=ask.principal.id, model=ask.model)
        if ask.whole:
            await self._whole(ask, reply)
        else:
            await self._stream(ask, reply, with_usage=request.wants_usage)

    async def _stream(self, ask: Ask, reply: Reply, *, with_usage: bool) -> None:
        encode = Chunks(reply.visit.id, ask.model, self._clock.now_s(), with_usage=with_usage)
        asked_s = self._clock.elapsed_s()
        spoke = False
        async with Frames(reply, self._pace) as out, aclosing(self._converse(ask)) as events:
            async for event in events:
                match event:
                    case TextSpoken() | ToolCalled():
                        if not spoke:
                            spoke = True
                            self._meter.turn_spoke(self._clock.elapsed_s() - asked_s)
                        await out.say(encode.said(event))
                    case TurnEnded():
                        await out.say(encode.end(event), more=False)
                    case TurnBegan(conversation):
                        reply.conversation(conversation)
                    case Ignored(names):
                        reply.ignored(names)

    async def _whole(self, ask: Ask, reply: Reply) -> None:
        said = Collected()
        async with aclosing(self._converse(ask)) as events:
            async for event in events:
                match event:
                    case TextSpoken(fragments):
                        said.speak(fragments)
                    case ToolCalled():
                        said.call(event)
                    case TurnEnded():
                        body = completion(reply.visit.id, ask.model, self._clock.now_s(), said, event)
                        await reply.at_once(200, JSON, body)
                    case TurnBegan(conversation):
                        reply.conversation(conversation)
                    case Ignored(names):
                        reply.ignored(names)


class Chunks:
    """Server-sent `chat.completion.chunk`s by template: what differs from frame to frame is spliced in."""

    __slots__ = ("_calls", "_delta", "_end", "_opening", "_prefix", "_silence", "_with_usage")

    def __init__(self, id_: str, model: str, now_s: float, *, with_usage: bool) -> None:
        self._prefix = (
            b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (id_.encode(), now_s, quoted(model))
        )
        self._with_usage = with_usage
        self._end = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._delta = self._prefix + b'{"index":0,"delta":{'
        self._silence = b'},"logprobs":null,"finish_reason":null}]' + self._end
        self._opening = self._delta + b'"role":"assistant","content":""' + self._silence
        self._calls: dict[int, int] = {}

    def said(self, event: TextSpoken | ToolCalled) -> bytes:
        """The first to be said has the role in front of it."""
        frames = self._text(event.fragments) if isinstance(event, TextSpoken) else self._call(event)
        return self._opened() + frames

    def end(self, ended: TurnEnded) -> bytes:
        last = b'},"logprobs":null,"finish_reason":' + FINISH_REASON[ended.reason] + b"}]" + self._end
        usage = self._prefix + b'],"usage":' + usage_json(ended.usage) + b"}\n\n" if self._with_usage else b""
        return self._opened() + self._delta + last + usage + DONE

    def _opened(self) -> bytes:
        opening, self._opening = self._opening, b""
        return opening

    def _text(self, fragments: Sequence[str]) -> bytes:
        texts = [quoted(fragment) for fragment in fragments if fragment]
        if not texts:
            return b""
        head = self._delta + b'"content":'
        return head + (self._silence + head).join(texts) + self._silence

    def _call(self, event: ToolCalled) -> bytes:
        """A call is counted from 0 in the order of appearance, whatever the backend counts."""
        begins = event.index not in self._calls
        index = self._calls.setdefault(event.index, len(self._calls))
        names = b'"id":%b,"type":"function",' % quoted(event.id) if begins else b""
        name = b'"name":%b,' % quoted(event.name) if begins else b""
        call = b'"tool_calls":[{"index":%d,%b"function":{%b"arguments":%b}}]' % (
            index,
            names,
            name,
            quoted(event.arguments),
        )
        return self._delta + call + self._silence


def completion(id_: str, model: str, now_s: float, said: Collected, ended: TurnEnded) -> bytes:
    """The whole reply as one `chat.completion`."""
    text = said.text
    calls = b",".join(
        b'{"id":%b,"type":"function","function":{"name":%b,"arguments":%b}}'
        % (quoted(call.id), quoted(call.name), quoted(call.arguments))
        for call in said.calls
    )
    return (
        b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,'
        b'"message":{"role":"assistant","content":%b,"refusal":null%b},"logprobs":null,"finish_reason":%b}],"usage":%b}'
        % (
            id_.encode(),
            now_s,
            quoted(model),
            b"null" if calls and not text else quoted(text),
            b',"tool_calls":[' + calls + b"]" if calls else b"",
            FINISH_REASON[ended.reason],
            usage_json(ended.usage),
        )
    )
