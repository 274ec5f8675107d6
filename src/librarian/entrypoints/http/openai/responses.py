"""POST /v1/responses."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

import orjson
import structlog

from librarian.application.converse import Ask
from librarian.application.go_on import RESPONSE, GoOn
from librarian.application.ports.answers import KeptAnswer
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.meter import Meter
from librarian.application.shorten import Shorten
from librarian.domain.conversation import TurnId
from librarian.domain.errors import InvalidRequest, UnknownAnswer
from librarian.domain.identity import owner_of
from librarian.domain.transcript import Message, Role
from librarian.domain.turn import Ignored, TextSpoken, ToolCalled, TurnBegan, TurnEnded, Usage
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.asking import asked, attempt_of, identified
from librarian.entrypoints.http.openai.background import Background, Kept, Running
from librarian.entrypoints.http.openai.chat import Converse
from librarian.entrypoints.http.openai.responses_encoder import Response, usage_of
from librarian.entrypoints.http.openai.wire import items as wire_items
from librarian.entrypoints.http.openai.wire import responses as wire
from librarian.entrypoints.http.openai.writing import JSON
from librarian.entrypoints.http.streams import Frames, Pace, Reply

PATH = "/v1/responses"


class Keep(Protocol):
    """What the endpoint needs of the answers that are kept."""

    async def keep(self, answer: KeptAnswer) -> None: ...


class Reading:
    """A request, and all that it goes on from -> what is asked, and the news in it."""

    def __init__(self, go_on: GoOn, meter: Meter) -> None:
        self._go_on = go_on
        self._meter = meter

    async def __call__(
        self, request: wire.ResponseRequest, body: bytes, caller: Caller, reply: Reply, path: str
    ) -> tuple[wire.ResponseRequest, Ask, Sequence[Message]]:
        """Raises InvalidRequest, UnknownAnswer, UnknownConversation."""
        point = request.point
        ask = wire.to_domain(request, caller.principal, caller.mode)
        structlog.contextvars.bind_contextvars(principal_id=ask.principal.id, model=ask.model)
        instructions = request.orders
        named = wire_items.references(request.items)
        referred = {}
        if named:
            ask = replace(ask, person=identified(request, (), caller).person)
            referred = await self._referred(named, ask)
        news = wire_items.to_messages(request.items, referred)
        who = identified(request, (*instructions, *news), caller, has_tools=bool(ask.tools.specs))
        self._meter.identified(who.client, who.conversation_by, who.person_by, who.purpose)
        if caller.debugging:
            reply.identified(who)
        ask = asked(ask, who, attempt_of(body, caller, path))
        try:
            return request, await self._go_on(ask, news, point, instructions), news
        except InvalidRequest as error:
            raise _of_input(error) from error

    async def _referred(self, ids: Sequence[str], ask: Ask) -> dict[str, wire_items.Item]:
        """What items stand for that a client only names: they are of its own answers. Raises UnknownAnswer."""
        found: dict[str, wire_items.Item] = {}
        for id_ in ids:
            turn = wire_items.turn_of(id_)
            past = await self._go_on.turn(turn, ask) if turn is not None else None
            items = wire_items.of_turn(past) if past is not None else ()
            body = next((item for item in items if item["id"] == id_), None)
            if body is None:
                raise UnknownAnswer(id_, "item", param="input")
            found[id_] = wire_items.to_item(body)
        return found


class ResponsesEndpoint:
    """One instance serves every request. One in the background goes on when its client has left."""

    def __init__(
        self,
        converse: Converse,
        *,
        read: Reading,
        keep: Keep,
        background: Background,
        pace: Pace,
        clock: Clock,
        ids: Ids,
        meter: Meter,
    ) -> None:
        self._ids = ids
        self._background = background
        self._converse = converse
        self._read = read
        self._keep = keep
        self._pace = pace
        self._clock = clock
        self._meter = meter

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        """Raises InvalidRequest, UnknownAnswer, UnknownConversation, and what Converse raises."""
        request, ask, news = await self._read(wire.decode(body), body, caller, reply, PATH)
        response = Response(request, news, self._clock)
        reply.last_words = response.failed
        if request.background:
            await self._aside(ask, request, response, reply)
        elif request.stream:
            await self._stream(ask, request, response, reply)
        else:
            await self._whole(ask, request, response, reply)

    async def _stream(self, ask: Ask, request: wire.ResponseRequest, response: Response, reply: Reply) -> None:
        asked_s = self._clock.elapsed_s()
        async with Frames(reply, self._pace) as out, aclosing(self._converse(ask)) as events:
            async for event in events:
                match event:
                    case TextSpoken() | ToolCalled():
                        if not response.spoke:
                            self._meter.turn_spoke(self._clock.elapsed_s() - asked_s)
                        await out.say(response.said(event))
                    case TurnEnded():
                        reply.require_company()
                        frames = response.end(event)
                        await self._kept(ask, request, response)
                        await out.say(frames, more=False)
                    case TurnBegan():
                        response.begin(event)
                        reply.began(event)
                    case Ignored(names):
                        reply.ignored(names)

    async def _whole(self, ask: Ask, request: wire.ResponseRequest, response: Response, reply: Reply) -> None:
        async with aclosing(self._converse(ask)) as events:
            async for event in events:
                match event:
                    case TextSpoken() | ToolCalled():
                        response.said(event)
                    case TurnEnded():
                        reply.require_company()
                        response.end(event)
                        await self._kept(ask, request, response)
                        await reply.at_once(200, JSON, orjson.dumps(response.body))
                        reply.recorded = True
                    case TurnBegan():
                        response.begin(event)
                        reply.began(event)
                    case Ignored(names):
                        reply.ignored(names)

    async def _aside(self, ask: Ask, request: wire.ResponseRequest, response: Response, reply: Reply) -> None:
        """In the background: kept at once, and answered in its own time."""
        if request.store is False:
            raise InvalidRequest("A response in the background has to be stored.", param="store", code="invalid_value")
        turn = TurnId(f"turn_{self._ids.new()}")
        response.queue(turn, self._clock.now_s())
        ask = replace(ask, turn=turn)

        async def kept(_: Response) -> None:
            await self._kept(ask, request, response)

        running = Running(response)
        await kept(response)
        self._background.begin(running, self._take(ask, running, kept), kept)
        if not request.stream:
            await reply.at_once(200, JSON, orjson.dumps(response.body))
            return
        async with Frames(reply, self._pace) as out:
            async for frame in running.follow():
                await out.say(frame)
            await out.say(b"", more=False)

    async def _take(self, ask: Ask, running: Running, kept: Kept) -> None:
        response = running.response
        async with aclosing(self._converse(ask)) as events:
            async for event in events:
                match event:
                    case TextSpoken() | ToolCalled():
                        running.say(response.said(event))
                    case TurnEnded():
                        frames = response.end(event)
                        await kept(response)
                        running.say(frames)
                    case TurnBegan():
                        response.begin(event)

    async def _kept(self, ask: Ask, request: wire.ResponseRequest, response: Response) -> None:
        """Before the last frame: whoever has the answer can go on from it."""
        if request.store is False:
            return
        began = response.began
        base = response.id.removeprefix("resp_")
        heard = [
            item
            for at, message in enumerate(response.news)
            for item in wire_items.of_message(message, base, f"{at:03x}")
        ]
        answer = KeptAnswer(
            id=response.id,
            kind=RESPONSE,
            owner=owner_of(ask.principal, person=ask.person),
            turn=began.turn if began is not None and began.conversation is not None else None,
            conversation=began.conversation if began is not None else None,
            model=ask.model,
            at_s=response.body["created_at"],
            body=orjson.dumps(response.body),
            asked=orjson.dumps(heard),
            metadata=response.body["metadata"],
            told=ask.told,
        )
        await self._keep.keep(answer)


def _of_input(error: InvalidRequest) -> InvalidRequest:
    """What is wrong with a transcript is wrong with what was put in."""
    if error.param is None or not error.param.startswith("messages"):
        return error
    return InvalidRequest(str(error), param="input", code=error.code)


class InputTokensEndpoint:
    """POST /v1/responses/input_tokens: what a request would come to."""

    def __init__(self, shorten: Shorten, *, read: Reading) -> None:
        self._shorten = shorten
        self._read = read

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        _, ask, _ = await self._read(wire.decode_unasked(body), body, caller, reply, f"{PATH}/input_tokens")
        tokens = await self._shorten.count(ask)
        await reply.at_once(200, JSON, orjson.dumps({"object": "response.input_tokens", "input_tokens": tokens}))


class CompactEndpoint:
    """POST /v1/responses/compact: what a client may send from now on in place of all that went before."""

    def __init__(self, shorten: Shorten, *, read: Reading, clock: Clock, ids: Ids) -> None:
        self._shorten = shorten
        self._read = read
        self._clock = clock
        self._ids = ids

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        """Raises InvalidRequest where there is nothing to make short."""
        _, ask, _ = await self._read(wire.decode(body), body, caller, reply, f"{PATH}/compact")
        messages = ask.transcript.messages
        if not messages:
            raise InvalidRequest("There is nothing to compact.", param="input")
        summary = await self._shorten.summary(messages, ask.model)
        digits = self._ids.new()
        heard = [message for message in messages if message.role is Role.USER]
        output = [
            item for at, message in enumerate(heard) for item in wire_items.of_message(message, digits, f"{at:03x}")
        ]
        output.append({"type": "compaction", "id": f"cmp_{digits}", "encrypted_content": wire_items.sealed(summary)})
        tokens = await self._shorten.count(ask)
        told = {
            "id": f"resp_{digits}",
            "object": "response.compaction",
            "created_at": int(self._clock.now_s()),
            "output": output,
            "usage": usage_of(Usage(tokens, max(1, len(summary) // 4))),
        }
        await reply.at_once(200, JSON, orjson.dumps(told))
