"""Items of responses and conversations. Source: openai-openapi, `Item`, `InputItem`, `OutputItem`, `ConversationItem`.

One message of the house may be several items: what an assistant said, and each of its calls.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec
import orjson

from librarian.domain.conversation import PastTurn, TurnId
from librarian.domain.errors import InvalidRequest
from librarian.domain.transcript import Image, Message, OtherPart, Part, Role, ToolCall
from librarian.entrypoints.http.openai.wire.decoding import decoder
from librarian.entrypoints.http.openai.wire.messages import ROLES

Body = dict[str, Any]
REPLY = "fff"
"""Where a reply stands in its turn, in the ids of its items: what is heard before it is counted from 000."""


class ItemPart(msgspec.Struct):
    """`type` says which of the others is there."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: str | None = None


class Item(msgspec.Struct):
    """`type` says which of the others is there; one with a `role` and no type is a message."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[ItemPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ItemPart] | None = None
    encrypted_content: str | None = None


decode_items = decoder(list[Item])
_IGNORED = frozenset({"reasoning", "compaction_trigger"})
_REFERENCE = re.compile(r"(?:msg|fc|fco)_([0-9a-f]{24})([0-9a-f]{3})([0-9a-f]+)")


def references(items: Sequence[Item]) -> list[str]:
    """Ids of items that stand elsewhere."""
    return [item.id or "" for item in items if item.type == "item_reference" or (item.type is None and not item.role)]


def turn_of(reference: str) -> TurnId | None:
    """Whose reply the item is of."""
    form = _REFERENCE.fullmatch(reference)
    return TurnId(f"turn_{form[1]}") if form is not None else None


def to_messages(items: Sequence[Item], referred: Mapping[str, Item] | None = None) -> list[Message]:
    """`referred`: what references stand for. Raises InvalidRequest."""
    messages: list[Message] = []
    for at, sent in enumerate(items):
        item = (referred or {}).get(sent.id or "", sent) if sent.type == "item_reference" or not sent.role else sent
        kind = item.type or ("message" if item.role else "item_reference")
        param = f"input.[{at}]"
        if kind == "message":
            messages.append(_message(item, param))
        elif kind == "function_call":
            _call(messages, item, param)
        elif kind == "function_call_output":
            messages.append(_output(item, param))
        elif kind == "compaction":
            messages.append(Message(Role.SYSTEM, f"Earlier in this conversation:\n{_opened(item, param)}"))
        elif kind not in _IGNORED:
            refuse(f"Unsupported value: an item of the type '{kind}'.", f"{param}.type", "unsupported_value")
    return messages


def to_item(body: Body) -> Item:
    return msgspec.convert(body, Item)


def of_message(message: Message, base: str, place: str) -> Iterator[Body]:
    """`base`: 24 digits unlike any others; `place`: 3, of the message among those of that base."""
    match message.role:
        case Role.TOOL:
            yield {
                "type": "function_call_output",
                "id": f"fco_{base}{place}0",
                "call_id": message.answers or "",
                "output": [_part(part) for part in message.parts] if message.parts else message.text,
                "status": "completed",
            }
        case Role.ASSISTANT:
            if message.text or not message.calls:
                yield spoken(f"msg_{base}{place}0", message.text)
            for number, call in enumerate(message.calls, 1):
                yield called(f"fc_{base}{place}{number:x}", call)
        case _:
            parts = message.parts or ((message.text,) if message.text else ())
            yield {
                "type": "message",
                "id": f"msg_{base}{place}0",
                "status": "completed",
                "role": message.role.value,
                "content": [_part(part) for part in parts],
            }


def of_turn(turn: PastTurn) -> Iterator[Body]:
    """All items of a turn; the last message is its reply."""
    base = turn.id.removeprefix("turn_")
    *before, reply = turn.messages
    for at, message in enumerate(before):
        yield from of_message(message, base, f"{at:03x}")
    yield from of_message(reply, base, REPLY)


_SEAL = "librarian:"


def sealed(summary: str) -> str:
    """For clients, which are not to read it. Nothing rests on its being secret: it is theirs."""
    return base64.b64encode(f"{_SEAL}{summary}".encode()).decode()


def _opened(item: Item, param: str) -> str:
    try:
        told = base64.b64decode(item.encrypted_content or "", validate=True).decode()
    except ValueError:
        told = ""
    if not told.startswith(_SEAL):
        refuse("A compaction has to be one that this gateway made.", f"{param}.encrypted_content")
    return told.removeprefix(_SEAL)


def spoken(id_: str, text: str, status: str = "completed") -> Body:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}] if text else []
    return {"type": "message", "id": id_, "status": status, "role": "assistant", "content": content}


def called(id_: str, call: ToolCall, status: str = "completed") -> Body:
    named = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
    return {"type": "function_call", "id": id_, **named, "status": status}


def _message(item: Item, param: str) -> Message:
    role = ROLES.get(item.role or "")
    if role is None or role is Role.TOOL:
        refuse(
            f"Invalid value: '{item.role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
            f"{param}.role",
        )
    if item.content is None and role is not Role.ASSISTANT:
        refuse(f"Missing required parameter: '{param}.content'.", f"{param}.content", "missing_required_parameter")
    text, parts = _content(item.content, f"{param}.content")
    return Message(role, text, parts)


def _call(messages: list[Message], item: Item, param: str) -> None:
    """Calls are part of what the assistant said just before."""
    if not item.call_id or not item.name:
        missing = "name" if item.call_id else "call_id"
        refuse(f"Missing required parameter: '{param}.{missing}'.", f"{param}.{missing}", "missing_required_parameter")
    call = ToolCall(item.call_id, item.name, item.arguments or "")
    last = messages[-1] if messages else None
    if last is not None and last.role is Role.ASSISTANT:
        messages[-1] = last._replace(calls=(*last.calls, call))
    else:
        messages.append(Message(Role.ASSISTANT, "", calls=(call,)))


def _output(item: Item, param: str) -> Message:
    if not item.call_id:
        refuse(f"Missing required parameter: '{param}.call_id'.", f"{param}.call_id", "missing_required_parameter")
    text, parts = _content(item.output, f"{param}.output")
    return Message(Role.TOOL, text, parts, answers=item.call_id)


def _content(sent: str | Sequence[ItemPart] | None, param: str) -> tuple[str, tuple[Part, ...]]:
    if sent is None or isinstance(sent, str):
        return sent or "", ()
    parts = [_to_part(part, f"{param}.[{at}]") for at, part in enumerate(sent)]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts), () if len(texts) == len(parts) else tuple(parts)


def _to_part(sent: ItemPart, param: str) -> Part:
    match sent.type:
        case "input_text" | "output_text" | "text" | "summary_text":
            return sent.text or ""
        case "refusal":
            return sent.refusal or ""
        case "input_image":
            if not sent.image_url:
                refuse("Only images with an 'image_url' are supported.", f"{param}.image_url", "unsupported_value")
            return Image(sent.image_url, sent.detail)
        case "input_file":
            if not sent.file_data:
                refuse("Only files with 'file_data' are supported.", f"{param}.file_data", "unsupported_value")
            file = {"filename": sent.filename, "file_data": sent.file_data}
            known = {name: value for name, value in file.items() if value is not None}
            return OtherPart("file", orjson.dumps({"type": "file", "file": known}).decode())
    return refuse(f"Invalid value: '{sent.type}' is no kind of content that is known here.", f"{param}.type")


def _part(part: Part) -> Body:
    match part:
        case str():
            return {"type": "input_text", "text": part}
        case Image(url, detail):
            return {"type": "input_image", "image_url": url, "detail": detail or "auto", "file_id": None}
        case OtherPart(kind, content):
            file = orjson.loads(content).get("file", {}) if kind == "file" else {}
            return {"type": "input_file", **file} if file else {"type": "input_text", "text": content}


def page(items: Sequence[Body], *, after: str | None, limit: int, newest_first: bool) -> Body:
    """One page of a list, as OpenAI has it. Raises InvalidRequest for an `after` that is not in it."""
    listed = list(reversed(items)) if newest_first else list(items)
    if after is not None:
        at = next((at for at, item in enumerate(listed) if item["id"] == after), None)
        if at is None:
            refuse(f"There is no item '{after}' in this list.", "after")
        listed = listed[at + 1 :]
    return listing(listed[:limit], has_more=len(listed) > limit)


def listing(data: Sequence[Body], *, has_more: bool) -> Body:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": list(data), "has_more": has_more, **ends}


def refuse(detail: str, param: str, code: str = "invalid_value") -> NoReturn:
    raise InvalidRequest(detail, param=param, code=code)


def all_of(turns: Iterable[PastTurn]) -> list[Body]:
    return [item for turn in turns for item in of_turn(turn)]
