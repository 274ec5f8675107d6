"""The messages of a chat. Source: openai-openapi, ChatCompletionRequestMessage."""

from collections.abc import Sequence
from typing import NoReturn, TypeVar

import msgspec
from msgspec import UNSET

from librarian.domain.errors import InvalidRequest
from librarian.domain.transcript import Image, Message, OtherPart, Part, Role, ToolCall
from librarian.entrypoints.http.openai.wire.decoding import Passed, kept

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}

_T = TypeVar("_T")


class ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class ContentPart(msgspec.Struct):
    """`type` says which of the others is there."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    input_audio: Passed = UNSET
    file: Passed = UNSET


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class CallSent(msgspec.Struct):
    id: str
    function: CalledFunction
    type: str = "function"


class ChatMessage(msgspec.Struct):
    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[CallSent] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: Passed = UNSET


def to_message(sent: ChatMessage, at: int) -> Message:
    """Raises InvalidRequest."""
    role = ROLES.get(sent.role)
    content = sent.content
    if role is not None and isinstance(content, str) and _is_plain(sent, role):  # nearly every message
        return Message(role, content, (), (), None, sent.name)
    if role is None:
        _refuse(
            f"Invalid value: '{sent.role}'. Supported values are: 'system', 'developer', 'user', 'assistant',"
            " and 'tool'.",
            f"messages.[{at}].role",
        )
    if role is Role.ASSISTANT:
        return _spoken(sent, at)
    if content is None:
        _refuse(
            f"Invalid value for 'messages[{at}].content': expected a string or an array of parts.",
            f"messages.[{at}].content",
        )
    if role is Role.TOOL and not sent.tool_call_id:
        _refuse(
            f"Missing required parameter: 'messages[{at}].tool_call_id'.",
            f"messages.[{at}].tool_call_id",
            "missing_required_parameter",
        )
    text, parts = (content, ()) if isinstance(content, str) else _parts(content, role, at)
    return Message(role, text, parts, answers=sent.tool_call_id if role is Role.TOOL else None, name=sent.name)


def _is_plain(sent: ChatMessage, role: Role) -> bool:
    if role is Role.ASSISTANT:
        return sent.tool_calls is None and sent.function_call is UNSET
    return role is Role.USER or role is Role.SYSTEM


def _spoken(sent: ChatMessage, at: int) -> Message:
    """What the assistant said: text, a refusal, calls, text and calls, or nothing at all."""
    if sent.function_call is not UNSET and kept(sent.function_call, f"messages.[{at}].function_call") is not None:
        _refuse(
            "`function_call` is no longer supported: use `tool_calls`.",
            f"messages.[{at}].function_call",
            "unsupported_value",
        )
    calls = tuple([_call(call, at, position) for position, call in enumerate(sent.tool_calls or ())])
    content = sent.content if sent.content is not None else sent.refusal
    text, parts = (content, ()) if isinstance(content, str) else _parts(content or (), Role.ASSISTANT, at)
    return Message(Role.ASSISTANT, text, parts, calls, None, sent.name)


def _call(sent: CallSent, at: int, position: int) -> ToolCall:
    param = f"messages.[{at}].tool_calls.[{position}]"
    if sent.type != "function":
        _refuse(
            f"Unsupported value: a tool call of the type '{sent.type}'. Only 'function' is supported.",
            f"{param}.type",
            "unsupported_value",
        )
    if not sent.id:
        _refuse("A tool call must have an id.", f"{param}.id")
    if not sent.function.name:
        _refuse("A tool call must name its function.", f"{param}.function.name")
    return ToolCall(sent.id, sent.function.name, sent.function.arguments)


def _parts(sent: Sequence[ContentPart], role: Role, at: int) -> tuple[str, tuple[Part, ...]]:
    """All the text, and the parts if there is more than text."""
    parts = [_part(part, role, f"messages.[{at}].content.[{position}]") for position, part in enumerate(sent)]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts), () if len(texts) == len(parts) else tuple(parts)


def _part(sent: ContentPart, role: Role, param: str) -> Part:
    match sent.type:
        case "text":
            return _required(sent.text, f"{param}.text")
        case "refusal" if role is Role.ASSISTANT:
            return _required(sent.refusal, f"{param}.refusal")
        case "image_url":
            return _image(sent.image_url, f"{param}.image_url")
        case "input_audio":
            return _other("input_audio", sent.input_audio, param)
        case "file":
            return _other("file", sent.file, param)
    return _refuse(
        f"Invalid value: '{sent.type}'. Supported values are: 'text', 'image_url', 'input_audio', 'file', and,"
        " for the assistant, 'refusal'.",
        f"{param}.type",
    )


def _image(sent: str | ImageUrl | None, param: str) -> Image:
    if isinstance(sent, ImageUrl):
        return Image(sent.url, sent.detail)
    return Image(_required(sent, param))


def _other(kind: str, sent: Passed, param: str) -> OtherPart:
    raw = None if isinstance(sent, msgspec.UnsetType) else kept(sent, f"{param}.{kind}")
    content = _required(raw, f"{param}.{kind}")
    return OtherPart(kind, f'{{"type":"{kind}","{kind}":{content.decode()}}}')


def _required(value: _T | None, param: str) -> _T:
    if value is None:
        _refuse(f"Missing required parameter: '{param.replace('.[', '[')}'.", param, "missing_required_parameter")
    return value


def _refuse(detail: str, param: str, code: str = "invalid_value") -> NoReturn:
    raise InvalidRequest(detail, param=param, code=code)
