"""Responses and stored chat completions, once they are answered; and conversations that the house keeps.

Source: openai-openapi, /responses/{response_id}, /chat/completions/{completion_id}, /conversations.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from librarian.application.go_on import RESPONSE
from librarian.application.keep_answers import KeepAnswers, Whoever
from librarian.application.keep_conversations import KeepConversations
from librarian.application.ports.lines import ConversationCard, Waiting
from librarian.domain.clients import Said, identify
from librarian.domain.errors import InvalidRequest, NotAuthenticated, UnknownAnswer
from librarian.domain.transcript import Message
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.background import Background
from librarian.entrypoints.http.openai.responses_encoder import told_again, unfinished
from librarian.entrypoints.http.openai.wire import items as wire
from librarian.entrypoints.http.openai.wire.items import Body
from librarian.entrypoints.http.streams import EVENT_STREAM

PAGE_LIMIT = 100
MOST_ITEMS = 20
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]
Order = Literal["asc", "desc"]
Label = Annotated[str, Field(max_length=64)]
Metadata = Annotated[dict[Label, Annotated[str, Field(max_length=512)]], Field(max_length=16)]
EVENTS = {name.decode(): value.decode() for name, value in EVENT_STREAM}


def asker(request: Request) -> Whoever:
    """Raises NotAuthenticated for a stranger, InvalidRequest for a name that cannot be one."""
    caller: Caller | None = request.scope.get("caller")
    if caller is None:
        raise NotAuthenticated
    who = identify(Said(headers=caller.headers, forwarded=caller.forwarded))
    return Whoever(caller.principal, who.person)


Asker = Annotated[Whoever, Depends(asker)]


class NewConversation(BaseModel):
    model_config = ConfigDict(extra="ignore")
    items: Annotated[list[Any], Field(max_length=MOST_ITEMS)] | None = None
    metadata: Metadata | None = None


class NewItems(BaseModel):
    items: Annotated[list[Any], Field(min_length=1, max_length=MOST_ITEMS)]


class NewLabels(BaseModel):
    metadata: Metadata


class ConversationShown(BaseModel):
    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(BaseModel):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class ResponseDeleted(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def make_responses_router(answers: KeepAnswers, background: Background) -> APIRouter:
    router = APIRouter(prefix="/v1/responses", tags=["responses"])

    @router.get("/{response_id}", summary="Retrieve a response", response_model=None)
    async def retrieve(
        response_id: str, of: Asker, *, stream: bool = False, starting_after: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        answer = await answers.find(response_id, RESPONSE, of)
        running = background.find(response_id)
        if not stream:
            return _json(orjson.dumps(running.response.body) if running is not None else _settled(answer.body))
        if running is not None:
            return StreamingResponse(running.follow(starting_after + 1 if starting_after else 0), headers=EVENTS)
        return StreamingResponse(_all(told_again(orjson.loads(answer.body), starting_after)), headers=EVENTS)

    @router.delete("/{response_id}", summary="Delete a response; what was said stays in the conversation")
    async def delete(response_id: str, of: Asker) -> ResponseDeleted:
        await answers.find(response_id, RESPONSE, of)
        await background.cancel(response_id)
        await answers.delete(response_id, RESPONSE, of)
        return ResponseDeleted(id=response_id)

    @router.post("/{response_id}/cancel", summary="Cancel a response in the background")
    async def cancel(response_id: str, of: Asker) -> Response:
        answer = await answers.find(response_id, RESPONSE, of)
        if not orjson.loads(answer.body)["background"]:
            raise InvalidRequest("Only responses in the background can be cancelled.", code="invalid_value")
        body = await background.cancel(response_id)
        return _json(orjson.dumps(body) if body is not None else _settled(answer.body))

    @router.get("/{response_id}/input_items", summary="List what a response answers", response_model=None)
    async def input_items(
        response_id: str, of: Asker, limit: Limit = 20, order: Order = "desc", after: str | None = None
    ) -> Response:
        answer = await answers.find(response_id, RESPONSE, of)
        listed = wire.page(orjson.loads(answer.asked), after=after, limit=limit, newest_first=order == "desc")
        return _json(orjson.dumps(listed))

    return router


def make_conversations_router(conversations: KeepConversations) -> APIRouter:
    router = APIRouter(prefix="/v1/conversations", tags=["conversations"])

    @router.post("", summary="Begin a conversation")
    async def begin(of: Asker, new: NewConversation | None = None) -> ConversationShown:
        new = new or NewConversation()
        return shown(await conversations.begin(of, new.metadata or {}, _messages(new.items or ())))

    @router.get("/{conversation_id}", summary="Describe a conversation")
    async def show(conversation_id: str, of: Asker) -> ConversationShown:
        return shown(await conversations.show(conversation_id, of))

    @router.post("/{conversation_id}", summary="Label a conversation")
    async def label(conversation_id: str, new: NewLabels, of: Asker) -> ConversationShown:
        return shown(await conversations.label(conversation_id, of, new.metadata))

    @router.delete("/{conversation_id}", summary="Forget a conversation, with all that was said in it")
    async def delete(conversation_id: str, of: Asker) -> ConversationDeleted:
        return ConversationDeleted(id=await conversations.delete(conversation_id, of))

    _add_items(router, conversations)
    return router


def _add_items(router: APIRouter, conversations: KeepConversations) -> None:
    @router.post("/{conversation_id}/items", summary="Put items in", response_model=None)
    async def put(conversation_id: str, new: NewItems, of: Asker) -> Response:
        waiting = await conversations.put(conversation_id, of, _messages(new.items))
        data = [item for entry in waiting for item in wire.of_message(entry.message, entry.id, FIRST)]
        return _json(orjson.dumps(wire.listing(data, has_more=False)))

    @router.get("/{conversation_id}/items", summary="List the items", response_model=None)
    async def items(
        conversation_id: str, of: Asker, limit: Limit = 20, order: Order = "desc", after: str | None = None
    ) -> Response:
        held = await _items(conversations, conversation_id, of)
        data = [item for _, item in held]
        return _json(orjson.dumps(wire.page(data, after=after, limit=limit, newest_first=order == "desc")))

    @router.get("/{conversation_id}/items/{item_id}", summary="Retrieve an item", response_model=None)
    async def item(conversation_id: str, item_id: str, of: Asker) -> Response:
        for _, found in await _items(conversations, conversation_id, of):
            if found["id"] == item_id:
                return _json(orjson.dumps(found))
        raise UnknownAnswer(item_id, "item")

    @router.delete("/{conversation_id}/items/{item_id}", summary="Delete an item")
    async def delete(conversation_id: str, item_id: str, of: Asker) -> ConversationShown:
        held = await _items(conversations, conversation_id, of)
        if all(found["id"] != item_id for _, found in held):
            raise UnknownAnswer(item_id, "item")
        left = [(entry, found) for entry, found in held if found["id"] != item_id]
        return shown(await conversations.rewrite(conversation_id, of, _rewritten(left)))


FIRST = "000"
UNDER_WAY = frozenset({"queued", "in_progress"})


async def _items(conversations: KeepConversations, name: str, of: Whoever) -> Sequence[tuple[Waiting, Body]]:
    """Each with the message that it is of, by a name of its own."""
    turns, waiting = await conversations.holds(name, of)
    held: list[tuple[Waiting, Body]] = []
    for turn in turns:
        base = turn.id.removeprefix("turn_")
        *before, reply = turn.messages
        placed = [*((f"{at:03x}", message) for at, message in enumerate(before)), (wire.REPLY, reply)]
        names = [*turn.names, *(base + place for place, _ in placed[len(turn.names) :])]
        for called, (_, message) in zip(names, placed, strict=True):
            held += _named(Waiting(called, message))
    for entry in waiting:
        held += _named(entry)
    return held


def _named(entry: Waiting) -> list[tuple[Waiting, Body]]:
    base, place = entry.id[:24], entry.id[24:] or FIRST
    return [(entry, item) for item in wire.of_message(entry.message, base, place)]


def _rewritten(left: Sequence[tuple[Waiting, Body]]) -> list[Waiting]:
    """Messages again, of the items that are left of each; each keeps its name."""
    kept: dict[str, list[Body]] = {}
    for entry, item in left:
        kept.setdefault(entry.id, []).append(item)
    made: list[Waiting] = []
    for id_, items in kept.items():
        (message,) = wire.to_messages([wire.to_item(item) for item in items])
        made.append(Waiting(id_, message))
    return made


def shown(card: ConversationCard) -> ConversationShown:
    return ConversationShown(id=card.id, created_at=int(card.created_s), metadata=dict(card.metadata))


def _messages(sent: Sequence[Any]) -> list[Message]:
    """Raises InvalidRequest."""
    try:
        return wire.to_messages(msgspec.convert(list(sent), list[wire.Item]))
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"Invalid 'items': {error}.", param="items", code="invalid_type") from error


def _settled(body: bytes) -> bytes:
    """One that was under way when its process ended has come to nothing."""
    told = orjson.loads(body)
    return orjson.dumps(unfinished(told)) if told["status"] in UNDER_WAY else body


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def _all(frames: Sequence[bytes]) -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame
