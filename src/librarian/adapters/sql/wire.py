"""Messages and contexts as JSON in a column: arrays in the order of the fields, what is empty at the end left out."""

from collections.abc import Iterable, Sequence

from msgspec import Struct, json

from librarian.domain.conversation import EMPTY, Context, HiddenSteps, Summary
from librarian.domain.transcript import Image, Message, OtherPart, Part, Role, ToolCall


class _Image(Struct, array_like=True, frozen=True, tag="image"):
    url: str
    detail: str | None


class _OtherPart(Struct, array_like=True, frozen=True, tag="other"):
    kind: str
    content: str


class _Message(Struct, array_like=True, frozen=True):
    role: Role
    text: str
    parts: tuple[str | _Image | _OtherPart, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None
    name: str | None = None


class _Context(Struct, array_like=True, frozen=True):
    summary: tuple[str, int] | None
    steps: tuple[tuple[int, tuple[_Message, ...]], ...]
    oldest: int = 0


_encode = json.Encoder().encode
_decode_messages = json.Decoder(tuple[_Message, ...]).decode
_decode_context = json.Decoder(_Context).decode


def from_messages(messages: Iterable[Message]) -> bytes | None:
    flat = [_flat(message) for message in messages]
    return _encode(flat) if flat else None


def to_messages(column: bytes | None) -> Sequence[Message]:
    return () if column is None else tuple(_message(message) for message in _decode_messages(column))


def from_context(context: Context) -> bytes | None:
    if context.summary is None and not context.steps and not context.oldest:
        return None
    summary = context.summary and (context.summary.text, context.summary.covers)
    steps = [(steps.at, [_flat(message) for message in steps.messages]) for steps in context.steps]
    return _encode((summary, steps, context.oldest) if context.oldest else (summary, steps))


def to_context(column: bytes | None) -> Context:
    if column is None:
        return EMPTY
    read = _decode_context(column)
    return Context(
        Summary(*read.summary) if read.summary else None,
        tuple(HiddenSteps(at, tuple(_message(message) for message in messages)) for at, messages in read.steps),
        read.oldest,
    )


def _flat(message: Message) -> tuple[object, ...]:
    role, text, parts, calls, answers, name = message
    if not parts and not calls and answers is None and name is None:  # nearly every message
        return (role, text)
    return (role, text, [_flat_part(part) for part in parts], calls, answers, name)


def _flat_part(part: Part) -> str | _Image | _OtherPart:
    match part:
        case str():
            return part
        case Image(url, detail):
            return _Image(url, detail)
        case OtherPart(kind, content):
            return _OtherPart(kind, content)


def _message(read: _Message) -> Message:
    return Message(read.role, read.text, tuple(map(_part, read.parts)), read.calls, read.answers, read.name)


def _part(read: str | _Image | _OtherPart) -> Part:
    match read:
        case _Image():
            return Image(read.url, read.detail)
        case _OtherPart():
            return OtherPart(read.kind, read.content)
        case _:
            return read
