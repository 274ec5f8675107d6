"""What an agent keeps before its eyes and on its shelves, and who may change what.

The edits are those that Letta's agents know by the same names.
Source of their semantics: Letta 0.16.8, `functions/function_sets/base.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.errors import MemoryRefused

BLOCK_LIMIT_CHARS = 20_000
PASSAGE_LIMIT_CHARS = 20_000
BLOCKS_PER_AGENT = 32
LABEL_LIMIT_CHARS = 64
PATTERN_TAG = "pattern"
"""Marks a passage that says how a reader wants to be answered."""


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    """A labelled text of at most `limit_chars` characters, always in view."""

    label: str
    value: str
    limit_chars: int = BLOCK_LIMIT_CHARS
    description: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """At the end, on a line of its own."""

    label: str
    content: str

    def __call__(self, value: str) -> str:
        return f"{value}\n{self.content}" if value else self.content


@dataclass(frozen=True, slots=True)
class Insert:
    """After line `line`; 0 is the top, -1 the end."""

    label: str
    new_string: str
    line: int = -1

    def __call__(self, value: str) -> str:
        """Raises MemoryRefused for a line that is not there."""
        lines = value.split("\n") if value else []
        if not -1 <= self.line <= len(lines):
            raise MemoryRefused(f"There is no line {self.line} in `{self.label}`: it has {len(lines)} lines.")
        at = len(lines) if self.line == -1 else self.line
        return "\n".join([*lines[:at], self.new_string, *lines[at:]])


@dataclass(frozen=True, slots=True)
class Replace:
    """`old_string`, which must be there exactly once; an empty `new_string` deletes it."""

    label: str
    old_string: str
    new_string: str

    def __call__(self, value: str) -> str:
        """Raises MemoryRefused unless there is exactly one match."""
        found = value.count(self.old_string) if self.old_string else 0
        if found == 1:
            return value.replace(self.old_string, self.new_string)
        if not found:
            raise MemoryRefused(f"No replacement was made: `{self.old_string}` is not in `{self.label}` as written.")
        lines = [str(n) for n, line in enumerate(value.split("\n"), 1) if self.old_string.split("\n")[0] in line]
        raise MemoryRefused(
            f"No replacement was made: `{self.old_string}` is in `{self.label}` {found} times,"
            f" in lines {', '.join(lines)}. Quote more of it, so that it is found once."
        )


@dataclass(frozen=True, slots=True)
class Rethink:
    """The whole block anew; made if it is not there."""

    label: str
    new_memory: str

    def __call__(self, _: str) -> str:
        return self.new_memory


BlockEdit = Append | Insert | Replace | Rethink


def edited(edit: BlockEdit, blocks: Sequence[MemoryBlock]) -> tuple[MemoryBlock | None, MemoryBlock]:
    """The block before (None if it is made) and after. Raises MemoryRefused; no edit exceeds a block's limit."""
    before = next((block for block in blocks if block.label == edit.label), None)
    if before is None:
        if not isinstance(edit, Rethink):
            known = ", ".join(f"`{block.label}`" for block in blocks)
            raise MemoryRefused(f"There is no block `{edit.label}`. There are: {known}.")
        _check_label(edit.label, len(blocks))
        before_or_new = MemoryBlock(edit.label, "")
    else:
        before_or_new = before
    if before_or_new.read_only:
        raise MemoryRefused(f"The block `{edit.label}` is read-only.")
    value = edit(before_or_new.value)
    if len(value) > before_or_new.limit_chars:
        raise MemoryRefused(
            f"The block `{edit.label}` would have {len(value)} characters, and may have {before_or_new.limit_chars}."
            " Shorten what is there, or put it in the archive."
        )
    return before, replace(before_or_new, value=value)


def _check_label(label: str, blocks: int) -> None:
    if not label.strip(".") or len(label) > LABEL_LIMIT_CHARS or not all(c.isalnum() or c in "_-." for c in label):
        raise MemoryRefused("A label has 1 to 64 letters, digits, `_`, `-` or `.`, and not dots alone.")
    if blocks >= BLOCKS_PER_AGENT:
        raise MemoryRefused(f"There are {blocks} blocks already, and no more can be made.")


def touched(edit: BlockEdit, before: str) -> tuple[str, str]:
    """The text that an edit took away and the text it put in its place, for taking it back.

    All of the block where nothing was put: what is gone is found nowhere.
    """
    if isinstance(edit, Replace) and not edit.new_string:
        return before, edit(before)
    match edit:
        case Append(_, content):
            return "", content
        case Insert(_, new_string, _):
            return "", new_string
        case Replace(_, old_string, new_string):
            return old_string, new_string
        case Rethink(_, new_memory):
            return before, new_memory


def taken_back(current: str, took: str, put: str) -> str | None:
    """`current` without an edit that took `took` and put `put`; None where it cannot be told apart any more."""
    if current == put:
        return took
    if not put or current.count(put) != 1:
        return None
    if took:
        return current.replace(put, took)
    for line in (f"\n{put}", f"{put}\n"):
        if line in current:
            return current.replace(line, "", 1)
    return current.replace(put, "")


class Author(StrEnum):
    """Who wrote an entry."""

    PERSON = "person"
    AGENT = "agent"
    TOOL = "tool"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an entry came from. A turn's call writes once, however often it is run."""

    author: Author
    at_s: float
    conversation: ConversationId | None = None
    turn: TurnId | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A text put by on purpose. `at_s` is when, in seconds since 1970."""

    number: int
    text: str
    tags: tuple[str, ...]
    at_s: float


def check_passage(text: str) -> str:
    """Raises MemoryRefused."""
    text = text.strip()
    if not text:
        raise MemoryRefused("There is nothing to put by.")
    if len(text) > PASSAGE_LIMIT_CHARS:
        raise MemoryRefused(f"A passage may have {PASSAGE_LIMIT_CHARS} characters; this one has {len(text)}.")
    return text
