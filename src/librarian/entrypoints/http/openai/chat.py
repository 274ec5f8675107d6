"""POST /v1/chat/completions: the endpoint, and the two ways to write a turn down."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from librarian.application.converse import Ask
from librarian.application.ports.clock import Clock
from librarian.application.ports.meter import Meter
from librarian.domain.turn import Collected, Ignored, TextSpoken, ToolCalled, TurnBegan, TurnEnded, TurnStream
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.asking import asked, attempt_of, identified
from librarian.entrypoints.http.openai.telling import Telling
from librarian.entrypoints.http.openai.wire import chat as wire
from librarian.entrypoints.http.openai.writing import (
    DONE,
    FINISH_REASON,
    JSON,
    NOTHING,
    answer_id,
    logprobs_json,
    quoted,
    together,
    usage_json,
)
from librarian.entrypoints.http.streams import Frames, Pace, Reply

Converse = Callable[[Ask], TurnStream]
PATH = "/v1/chat/completions"


class ChatEndpoint:
    """One instance serves every request. Each choice is a turn; they are taken one after the other."""

    def __init__(self, converse: Converse, *, pace: Pace, clock: Clock, meter: Meter) -> None:
        self._converse = converse
        self._pace = pace
        self._clock = clock
        self._meter = meter

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        """Raises InvalidRequest, and what Converse raises."""
        request = wire.decode(body)
        ask = wire.to_domain(request, caller.principal, caller.mode)
        who = identified(request, ask.transcript.all, caller, has_tools=bool(ask.tools.specs))
        self._meter.identified(who.client, who.conversation_by, who.person_by, who.purpose)
        if caller.debugging:
            reply.identified(who)
        structlog.contextvars.bind_contextvars(principal_id=ask.principal.id, model=ask.model)
        if ignored := wire.ignored(request):
            reply.ignored(ignored)
        ask = asked(ask, who, attempt_of(body, caller, PATH))
        if ask.whole:
            await self._whole(ask, request.n or 1, reply)
        else:
            await self._stream(ask, request.n or 1, reply, with_usage=request.wants_usage)

    async def _stream(self, ask: Ask, choices: int, reply: Reply, *, with_usage: bool) -> None:
        asked_s = self._clock.elapsed_s()
        spoke = False
        began: TurnBegan | None = None
        encode = Chunks(ask.model, with_usage=with_usage)
        async with Frames(reply, self._pace) as out, Telling() as telling:
            for choice in range(choices):
                encode.choose(choice)
                async for event in telling.turn(self._converse(ask)):
                    match event:
                        case TextSpoken() | ToolCalled():
                            if not spoke:
                                spoke = True
                                self._meter.turn_spoke(self._clock.elapsed_s() - asked_s)
                            await out.say(encode.said(event))
                        case TurnEnded() if choice + 1 == choices:
                            reply.require_company()
                            await out.say(encode.end(event) + encode.done(), more=False)
                            break
                        case TurnEnded():
                            reply.recorded = True
                            await out.say(encode.end(event))
                            break
                        case TurnBegan() if not choice:
                            began = event
                            encode.begin(event)
                            reply.began(event)
                        case Ignored(names) if not choice:
                            reply.ignored(names)
                if choice + 1 < choices:
                    ask = _next_choice(ask, began)
            await telling.told()

    async def _whole(self, ask: Ask, choices: int, reply: Reply) -> None:
        answer = Completion(ask.model)
        began: TurnBegan | None = None
        async with Telling() as telling:
            for choice in range(choices):
                said = Collected()
                async for event in telling.turn(self._converse(ask)):
                    match event:
                        case TextSpoken(fragments, likelihoods):
                            said.speak(fragments)
                            said.likelihoods.extend(likelihoods)
                        case ToolCalled():
                            said.call(event)
                        case TurnEnded():
                            reply.recorded = True
                            answer.choose(said, event)
                            break
                        case TurnBegan() if not choice:
                            began = event
                            answer.begin(event)
                            reply.began(event)
                        case Ignored(names) if not choice:
                            reply.ignored(names)
                if choice + 1 < choices:
                    ask = _next_choice(ask, began)
            reply.require_company()
            await reply.at_once(200, JSON, answer.whole())
            await telling.told()


def _next_choice(ask: Ask, began: TurnBegan | None) -> Ask:
    """All choices are of the conversation that the first one is of."""
    attempt = replace(ask.attempt, part=ask.choice + 1) if ask.attempt is not None else None
    conversation = ask.conversation or (began.conversation if began is not None else None)
    return replace(ask, choice=ask.choice + 1, conversation=conversation, reply_name=None, attempt=attempt)


class Chunks:
    """Server-sent `chat.completion.chunk`s by template: what differs from frame to frame is spliced in."""

    __slots__ = ("_calls", "_delta", "_end", "_index", "_model", "_opening", "_prefix", "_silence", "_usage")

    def __init__(self, model: str, *, with_usage: bool) -> None:
        self._model = quoted(model)
        self._usage = NOTHING if with_usage else None
        self._end = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._silence = b'},"logprobs":null,"finish_reason":null}]' + self._end
        self._index = 0

    def choose(self, index: int) -> None:
        self._index = index
        if index:
            self._open()

    def begin(self, began: TurnBegan) -> None:
        """Named and dated by the turn: told again, it is the same."""
        self._prefix = (
            b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (answer_id(began), began.at_s, self._model)
        )
        self._open()

    def said(self, event: TextSpoken | ToolCalled) -> bytes:
        """The first to be said has the role in front of it."""
        frames = self._text(event) if isinstance(event, TextSpoken) else self._call(event)
        return self._opened() + frames

    def end(self, ended: TurnEnded) -> bytes:
        """The last of this choice."""
        if self._usage is not None:
            self._usage = together(self._usage, ended.usage)
        last = b'},"logprobs":null,"finish_reason":' + FINISH_REASON[ended.reason] + b"}]" + self._end
        return self._opened() + self._delta + last

    def done(self) -> bytes:
        if self._usage is None:
            return DONE
        return self._prefix + b'],"usage":' + usage_json(self._usage) + b"}\n\n" + DONE

    def _open(self) -> None:
        self._delta = self._prefix + b'{"index":%d,"delta":{' % self._index
        self._opening = self._delta + b'"role":"assistant","content":""' + self._silence
        self._calls: dict[int, int] = {}

    def _opened(self) -> bytes:
        opening, self._opening = self._opening, b""
        return opening

    def _text(self, event: TextSpoken) -> bytes:
        """A chunk for each fragment; but one for all, where it is told how likely their tokens are."""
        texts = [quoted(fragment) for fragment in event.fragments if fragment]
        if not texts:
            return b""
        head = self._delta + b'"content":'
        if event.likelihoods:
            logprobs = b'},"logprobs":%b,"finish_reason":null}]' % logprobs_json(event.likelihoods)
            return head + quoted("".join(event.fragments)) + logprobs + self._end
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


class Completion:
    """The whole reply as one `chat.completion`."""

    __slots__ = ("_began", "_choices", "_model", "_usage")

    def __init__(self, model: str) -> None:
        self._model = quoted(model)
        self._choices: list[bytes] = []
        self._usage = NOTHING

    def begin(self, began: TurnBegan) -> None:
        self._began = began

    def choose(self, said: Collected, ended: TurnEnded) -> None:
        """The next choice is complete."""
        text = said.text
        calls = b",".join(
            b'{"id":%b,"type":"function","function":{"name":%b,"arguments":%b}}'
            % (quoted(call.id), quoted(call.name), quoted(call.arguments))
            for call in said.calls
        )
        self._usage = together(self._usage, ended.usage)
        self._choices.append(
            b'{"index":%d,"message":{"role":"assistant","content":%b,"refusal":null%b},"logprobs":%b,'
            b'"finish_reason":%b}'
            % (
                len(self._choices),
                b"null" if calls and not text else quoted(text),
                b',"tool_calls":[' + calls + b"]" if calls else b"",
                logprobs_json(said.likelihoods),
                FINISH_REASON[ended.reason],
            )
        )

    def whole(self) -> bytes:
        return b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b],"usage":%b}' % (
            answer_id(self._began),
            self._began.at_s,
            self._model,
            b",".join(self._choices),
            usage_json(self._usage),
        )
