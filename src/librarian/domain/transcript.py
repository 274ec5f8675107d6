"""The client's account of a conversation: the messages it sends, whole, with every request.

Canonical form and digests are those of docs/decisions/0002-canonical-form.md.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple, NewType

from librarian.domain.errors import InvalidRequest

Digest = NewType("Digest", bytes)


class Role(StrEnum):
    """Who is speaking. OpenAI's `developer` is read as SYSTEM."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


_TOOL = Role.TOOL
"""Looked up once: it is asked of every message of every request."""


class Image(NamedTuple):
    """A picture, by data URL or address. `detail` is the client's wish for its resolution."""

    url: str
    detail: str | None = None


class OtherPart(NamedTuple):
    """A part of a kind the house only passes on: its JSON, as the client sent it."""

    kind: str
    content: str


Part = str | Image | OtherPart
"""A `str` is text."""


class ToolCall(NamedTuple):
    """A call of a tool, as the model made it. `arguments` is JSON, if the model kept its word."""

    id: str
    name: str
    arguments: str


class Message(NamedTuple):
    """One utterance.

    `text` is all its text joined, plain Unicode, never `None`. `parts` is empty unless there is more than text;
    then it holds the text, too. `answers` is the id of the call that a TOOL message answers.
    """

    role: Role
    text: str
    parts: tuple[Part, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None
    name: str | None = None


def user(text: str) -> Message:
    return Message(Role.USER, text)


def assistant(text: str, calls: tuple[ToolCall, ...] = ()) -> Message:
    return Message(Role.ASSISTANT, text, calls=calls)


class Transcript:
    """Messages in the order they were spoken, oldest first; the client's own system text apart.

    Results stand in the order of the calls that they answer, however the client sent them. `overlay` holds the leading
    system messages: they are shown as sent now, and are no part of the conversation's identity. `news_at` is the index
    in `messages` where this request's news begins: after the last assistant message that something follows.
    """

    __slots__ = ("messages", "news_at", "overlay")

    def __init__(self, spoken: Sequence[Message]) -> None:
        """Raises InvalidRequest where calls and their answers contradict each other."""
        start = 0
        while start < len(spoken) and spoken[start].role is Role.SYSTEM:
            start += 1
        self.overlay = tuple(spoken[:start])
        sent = spoken[start:]
        _check_calls(sent, offset=start)
        self.messages = tuple(_in_order_of_calls(sent))
        self.news_at = _news_at(self.messages)

    @property
    def all(self) -> Sequence[Message]:
        return (*self.overlay, *self.messages)

    @property
    def news(self) -> Sequence[Message]:
        return self.messages[self.news_at :]

    @property
    def history(self) -> Sequence[Message]:
        """What went before the news."""
        return self.messages[: self.news_at]

    @property
    def answers(self) -> bool:
        """Whether the news begin with what the client's tools returned."""
        return self.news_at < len(self.messages) and self.messages[self.news_at].role is Role.TOOL

    @property
    def prefill(self) -> Message | None:
        """The assistant message that the client asks to have carried on, if it sent one last."""
        last = self.messages[-1] if self.messages else None
        return last if last is not None and last.role is Role.ASSISTANT and not last.calls else None


def chain(root: Digest, messages: Sequence[Message]) -> list[Digest]:
    """`digest(n) = H(digest(n-1), canonical(message n))`: one for each message, in order."""
    digests = []
    digest = root
    for message in _in_order_of_calls(messages):
        role, text, parts, calls, _, name = message
        plain = b"" if parts or calls or name is not None or "\r" in text else text.strip().encode()
        # nearly every message of a long chat is plain, and the chat is told whole with every request: no call for each
        form = b"%bt%d:%b" % (_ROLE[role], len(plain), plain) if plain else _canonical(message)
        digest = Digest(sha256(digest + form).digest())
        digests.append(digest)
    return digests


def own_digests(messages: Sequence[Message], calls: Sequence[ToolCall] = ()) -> list[Digest]:
    """One for each message, whatever came before it, in the order of the chain. `calls`: what the first may answer."""
    return [Digest(sha256(_canonical(message)).digest()) for message in _in_order_of_calls(messages, calls)]


class Reading:
    """A transcript with its digests, worked out once for each request.

    `parent` is the digest of the last message before the news; None if there is none.
    """

    __slots__ = ("digests", "parent", "root", "transcript")

    def __init__(self, transcript: Transcript, root: Digest) -> None:
        self.transcript = transcript
        self.root = root
        self.digests = chain(root, transcript.messages)
        self.parent = self.digests[transcript.news_at - 1] if transcript.news_at else None

    def earlier(self, most: int) -> list[tuple[Digest, int]]:
        """Digests at which turns before the parent may have ended, the deepest first, and how many messages lie up
        to each."""
        found: list[tuple[Digest, int]] = []
        for covers in range(self.transcript.news_at - 1, 0, -1):
            if self.transcript.messages[covers - 1].role is Role.ASSISTANT:
                found.append((self.digests[covers - 1], covers))
                if len(found) == most:
                    break
        return found

    def after(self, reply: Message) -> Digest:
        """Where the chain stands once `reply` has been said: carried on, where the client began it."""
        if self.transcript.prefill is None:
            return chain(self.digests[-1] if self.digests else self.root, (reply,))[0]
        before = self.digests[-2] if len(self.digests) > 1 else self.root
        return chain(before, (self.carried_on(reply),))[0]

    def carried_on(self, reply: Message) -> Message:
        """`reply` as the client's next transcript has it: after the text that the client began it with."""
        begun = self.transcript.prefill
        return reply if begun is None else reply._replace(text=begun.text + reply.text)


def _news_at(messages: Sequence[Message]) -> int:
    at = len(messages) - 1
    while at > 0 and messages[at - 1].role is not Role.ASSISTANT:
        at -= 1
    return max(at, 0)


def _check_calls(messages: Sequence[Message], *, offset: int) -> None:
    """A call is answered once, by the messages right after it; an answer has a call."""
    pending: set[str] = set()
    answered: set[str] = set()
    for at, message in enumerate(messages, offset):
        role, _, _, calls, call_id, _ = message
        if role is _TOOL:
            if call_id in answered:
                raise InvalidRequest(
                    f"The tool call `{call_id}` is answered twice.", param=f"messages.[{at}].tool_call_id"
                )
            if call_id is None or call_id not in pending:
                raise InvalidRequest(
                    "A message of the role `tool` must answer one of the `tool_calls` of the assistant before it.",
                    param=f"messages.[{at}].tool_call_id",
                )
            pending.remove(call_id)
            answered.add(call_id)
        elif calls or pending or answered:
            _require_answers(pending, at)
            answered = set()
            pending = {call.id for call in calls}
            if len(pending) != len(calls):
                raise InvalidRequest("Two tool calls have the same id.", param=f"messages.[{at}].tool_calls")
    _require_answers(pending, offset + len(messages) - 1)


def _require_answers(pending: set[str], at: int) -> None:
    if pending:
        raise InvalidRequest(
            "An assistant message with `tool_calls` must be followed by tool messages that answer each"
            f" `tool_call_id`. Not answered: {', '.join(sorted(pending))}",
            param=f"messages.[{at}].role",
        )


def _in_order_of_calls(messages: Sequence[Message], calls: Sequence[ToolCall] = ()) -> Iterable[Message]:
    """Each run of tool messages in the order of the calls they answer."""
    if _TOOL not in [message.role for message in messages]:
        return messages
    return _with_runs_in_order(messages, calls)


def _with_runs_in_order(messages: Sequence[Message], calls: Sequence[ToolCall]) -> Iterator[Message]:
    order = {call.id: position for position, call in enumerate(calls)}
    run: list[Message] = []
    for message in messages:
        if message.role is _TOOL:
            run.append(message)
            continue
        if run:
            yield from _sorted(run, order)
            run = []
        if message.calls:
            order = {call.id: position for position, call in enumerate(message.calls)}
        yield message
    yield from _sorted(run, order)


def _sorted(run: list[Message], order: dict[str, int]) -> list[Message]:
    if len(run) > 1:
        run.sort(key=lambda message: order.get(message.answers or "", len(order)))
    return run


_ROLE = {role: b"r%c" % role.value[0].encode() for role in Role}


def _canonical(message: Message) -> bytes:
    """Every field tagged and length-prefixed, so that no two messages have the same form."""
    role, text, parts, calls, _, name = message
    fields = [_ROLE[role]]
    if name and role is Role.USER:
        fields.append(_field(b"n", name.encode()))
    for part in _joined(parts or (text,)):
        if isinstance(part, str):
            if said := _plain(part):
                fields.append(_field(b"t", said))
        elif isinstance(part, Image):
            fields.append(_field(b"i", _picture(part.url)))
        else:
            fields.append(_field(b"o", part.kind.encode() + b"\0" + _canonical_json(part.content)))
    for call in calls:
        fields.append(_field(b"c", call.name.encode()))
        fields.append(_field(b"a", _canonical_json(call.arguments)))
    return b"".join(fields)


def _field(tag: bytes, content: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(content), content)


def _plain(text: str) -> bytes:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip().encode()


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Adjacent text as one part."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
            text = ""
        yield part
    if text:
        yield text


def _picture(url: str) -> bytes:
    """The hash of the picture where it came along, else of its address."""
    head, comma, body = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        try:
            return b"b" + sha256(base64.b64decode(body)).digest()
        except (binascii.Error, ValueError):
            pass
    return b"u" + sha256(url.encode()).digest()


def _canonical_json(content: str) -> bytes:
    """Sorted keys and no spaces; the raw text where it is not JSON."""
    try:
        return json.dumps(
            json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (ValueError, RecursionError):
        return content.strip().encode()
