"""POST /v1/completions, the older form: a text is carried on. One turn, and one choice, for each prompt."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from librarian.application.converse import Ask
from librarian.application.ports.clock import Clock
from librarian.application.ports.meter import Meter
from librarian.domain.turn import Ignored, StopReason, TextSpoken, TurnBegan, TurnEnded, Usage
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.asking import asked, attempt_of, identified
from librarian.entrypoints.http.openai.chat import Converse
from librarian.entrypoints.http.openai.telling import Telling
from librarian.entrypoints.http.openai.wire import completions as wire
from librarian.entrypoints.http.openai.writing import DONE, FINISH_REASON, JSON, NOTHING, answer_id, quoted, usage_json
from librarian.entrypoints.http.streams import Frames, Pace, Reply

FINISHED = FINISH_REASON | {StopReason.TOOL_CALLS: FINISH_REASON[StopReason.END_OF_TURN]}
PATH = "/v1/completions"


class CompletionsEndpoint:
    """One instance serves every request. The turns of one request are taken one after the other."""

    def __init__(self, converse: Converse, *, pace: Pace, clock: Clock, meter: Meter) -> None:
        self._converse = converse
        self._pace = pace
        self._clock = clock
        self._meter = meter

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        """Raises InvalidRequest, and what Converse raises."""
        request = wire.decode(body)
        asks = wire.to_domain(request, caller.principal, caller.mode)
        who = identified(request, asks[0].transcript.all, caller)
        self._meter.identified(who.client, who.conversation_by, who.person_by, who.purpose)
        if caller.debugging:
            reply.identified(who)
        structlog.contextvars.bind_contextvars(principal_id=caller.principal.id, model=request.model)
        attempt = attempt_of(body, caller, PATH)
        asks = [asked(ask, who, replace(attempt, part=part)) for part, ask in enumerate(asks)]
        echoes = wire.to_prompts(request) if request.echo else [""] * len(asks)
        texts = Texts(request.model, with_usage=request.wants_usage)
        if request.stream:
            await self._stream(asks, echoes, texts, reply)
        else:
            await self._whole(asks, echoes, texts, reply)

    async def _stream(self, asks: Sequence[Ask], echoes: Sequence[str], texts: "Texts", reply: Reply) -> None:
        asked_s = self._clock.elapsed_s()
        spoke = False
        usage = NOTHING
        async with Frames(reply, self._pace) as out, Telling() as telling:
            for index, (ask, echo) in enumerate(zip(asks, echoes, strict=True)):
                before = echo
                async for event in telling.turn(self._converse(ask)):
                    match event:
                        case TextSpoken(fragments):
                            if not spoke:
                                spoke = True
                                self._meter.turn_spoke(self._clock.elapsed_s() - asked_s)
                            await out.say(texts.chunk(index, before + "".join(fragments)))
                            before = ""
                        case TurnEnded(reason, spent):
                            reply.recorded = True
                            usage += spent
                            await out.say(texts.chunk(index, before, FINISHED[reason]))
                            break
                        case TurnBegan() if not index:
                            texts.begin(event)
                            reply.began(event, alone=len(asks) == 1)
                        case Ignored(names) if not index:  # all prompts are asked alike
                            reply.ignored(names)
            reply.require_company()
            await out.say(texts.end(usage), more=False)
            await telling.told()

    async def _whole(self, asks: Sequence[Ask], echoes: Sequence[str], texts: "Texts", reply: Reply) -> None:
        choices = []
        usage = NOTHING
        async with Telling() as telling:
            for index, (ask, echo) in enumerate(zip(asks, echoes, strict=True)):
                said = [echo]
                async for event in telling.turn(self._converse(ask)):
                    match event:
                        case TextSpoken(fragments):
                            said.extend(fragments)
                        case TurnEnded(reason, spent):
                            reply.recorded = True
                            usage += spent
                            choices.append(choice(index, "".join(said), FINISHED[reason]))
                            break
                        case TurnBegan() if not index:
                            texts.begin(event)
                            reply.began(event, alone=len(asks) == 1)
                        case Ignored(names) if not index:  # all prompts are asked alike
                            reply.ignored(names)
            reply.require_company()
            await reply.at_once(200, JSON, texts.whole(choices, usage))
            await telling.told()


class Texts:
    """`text_completion` objects, whole or as server-sent chunks."""

    __slots__ = ("_model", "_prefix", "_usage", "_with_usage")

    def __init__(self, model: str, *, with_usage: bool) -> None:
        self._model = quoted(model)
        self._with_usage = with_usage
        self._usage = b',"usage":null' if with_usage else b""

    def begin(self, began: TurnBegan) -> None:
        """Named and dated by the first turn: told again, it is the same."""
        self._prefix = b'{"id":"cmpl-%b","object":"text_completion","created":%d,"model":%b,"choices":[' % (
            answer_id(began),
            began.at_s,
            self._model,
        )

    def chunk(self, index: int, text: str, finish_reason: bytes = b"null") -> bytes:
        return b"data: " + self._prefix + choice(index, text, finish_reason) + b"]" + self._usage + b"}\n\n"

    def end(self, usage: Usage) -> bytes:
        if not self._with_usage:
            return DONE
        return b"data: " + self._prefix + b'],"usage":' + usage_json(usage) + b"}\n\n" + DONE

    def whole(self, choices: Sequence[bytes], usage: Usage) -> bytes:
        return self._prefix + b",".join(choices) + b'],"usage":' + usage_json(usage) + b"}"


def choice(index: int, text: str, finish_reason: bytes) -> bytes:
    return b'{"text":%b,"index":%d,"logprobs":null,"finish_reason":%b}' % (quoted(text), index, finish_reason)
