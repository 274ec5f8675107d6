"""The tools by which an agent edits, searches and puts by. Names and arguments are those Letta's agents know."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from librarian.application.ports.agents import Hearing
from librarian.application.ports.clock import Clock
from librarian.application.ports.memory import AgentId, MemoryStore
from librarian.application.ports.meter import Meter
from librarian.application.remember import Remember
from librarian.domain.errors import MemoryRefused
from librarian.domain.memory import Append, Author, BlockEdit, Insert, Provenance, Replace, Rethink
from librarian.domain.recall import Entry, Search, Shelf, by_turns
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import Role, ToolCall

MOST_FOUND = 50
MOST_TAGS = 16
TAG_CHARS = 64


@dataclass(frozen=True, slots=True)
class Returned:
    """What the agent reads of a tool it called. `changed`: the label of a block, or `archive`."""

    text: str
    succeeded: bool = True
    changed: str | None = None


Arguments = Mapping[str, object]
Tool = Callable[[Arguments, Hearing, AgentId, Provenance], Awaitable[Returned]]


class MemoryTools:
    """Run by the house, whatever backend the agent lives in."""

    def __init__(self, *, memory: MemoryStore, remember: Remember, meter: Meter, clock: Clock) -> None:
        self._memory = memory
        self._remember = remember
        self._meter = meter
        self._clock = clock
        self._tools: Mapping[str, Tool] = {
            "memory_insert": self._editing(_insert),
            "memory_replace": self._editing(_replace),
            "memory_rethink": self._editing(_rethink),
            "core_memory_append": self._editing(_append),
            "archival_memory_insert": self._put_by,
            "archival_memory_search": self._search_archive,
            "conversation_search": self._search_conversations,
        }

    def specs(self, without: Sequence[ToolSpec] = (), *, writes: bool = True) -> Sequence[ToolSpec]:
        """All of them, but for those whose names the client took for its own, and those that the turn may not use."""
        ours = SPECS if writes else SEARCHES
        if not without:
            return ours
        taken = {spec.name for spec in without}
        return tuple(spec for spec in ours if spec.name not in taken)

    async def run(self, call: ToolCall, hearing: Hearing, agent: AgentId) -> Returned:
        """A refusal is something the agent reads. Raises StoreUnavailable."""
        by = Provenance(Author.AGENT, self._clock.now_s(), hearing.conversation, hearing.turn, call.id)
        try:
            tool = self._tool(call.name, writes=hearing.writes)
            returned = await tool(_arguments(call), hearing, agent, by)
        except MemoryRefused as refused:
            return Returned(f"Error: {refused}", succeeded=False)
        if returned.changed is not None:
            self._meter.memory_changed("archive" if returned.changed == "archive" else "block")
        return returned

    def _tool(self, name: str, *, writes: bool) -> Tool:
        if name not in self._tools or not (writes or name in SEARCHING):
            raise MemoryRefused(f"There is no tool `{name}`.")
        return self._tools[name]

    def _editing(self, read: Callable[[Arguments], BlockEdit]) -> Tool:
        async def edit(arguments: Arguments, _: Hearing, agent: AgentId, by: Provenance) -> Returned:
            block = await self._memory.edit(agent, read(arguments), by)
            size = f"{len(block.value)} of {block.limit_chars} characters"
            return Returned(f"Done. The block `{block.label}` has {size}.", changed=block.label)

        return edit

    async def _put_by(self, arguments: Arguments, _: Hearing, agent: AgentId, by: Provenance) -> Returned:
        tags = _texts(arguments, "tags")
        await self._memory.put_by(agent, _text(arguments, "content"), tags, by)
        return Returned("Done. It is in the archive.", changed="archive")

    async def _search_archive(self, arguments: Arguments, hearing: Hearing, agent: AgentId, _: Provenance) -> Returned:
        mode = _text(arguments, "tag_match_mode", "any")
        if mode not in ("any", "all"):
            raise MemoryRefused("`tag_match_mode` is `any` or `all`.")
        search = Search(
            _text(arguments, "query"),
            Shelf.PUT_BY,
            _whole_number(arguments, "top_k", 10),
            tags=_texts(arguments, "tags"),
            all_tags=mode == "all",
            since_s=_moment(arguments, "start_datetime"),
            until_s=_moment(arguments, "end_datetime", end=True),
        )
        hits, others = await asyncio.gather(
            self._remember.search(hearing.agent.owner, search), self._memory.elsewhere(agent, search)
        )
        return self._found(by_turns((hit.entry for hit in hits), others, limit=search.limit))

    async def _search_conversations(
        self, arguments: Arguments, hearing: Hearing, _: AgentId, __: Provenance
    ) -> Returned:
        search = Search(
            _text(arguments, "query", ""),
            Shelf.SAID,
            _whole_number(arguments, "limit", 5),
            roles=tuple(_role(name) for name in _texts(arguments, "roles")),
            since_s=_moment(arguments, "start_date"),
            until_s=_moment(arguments, "end_date", end=True),
        )
        return self._found([hit.entry for hit in await self._remember.search(hearing.agent.owner, search)])

    def _found(self, entries: Sequence[Entry]) -> Returned:
        if not entries:
            return Returned("Nothing was found.")
        now_s = self._clock.now_s()
        return Returned(json.dumps([_shown(entry, now_s) for entry in entries], ensure_ascii=False))


class TurnTools:
    """The tools in the hands of one turn. `used` from the moment one is run: what it writes may be written before
    anybody hears of it."""

    __slots__ = ("_hearing", "_tools", "used")

    def __init__(self, tools: MemoryTools, hearing: Hearing) -> None:
        self._tools = tools
        self._hearing = hearing
        self.used = False

    async def run(self, call: ToolCall, *, agent: AgentId) -> Returned:
        self.used = True
        return await self._tools.run(call, self._hearing, agent)


def _insert(arguments: Arguments) -> BlockEdit:
    line = arguments.get("insert_line", -1)
    if not isinstance(line, int) or isinstance(line, bool):
        raise MemoryRefused("`insert_line` is a whole number: 0 for the top, -1 for the end.")
    return Insert(_text(arguments, "label"), _text(arguments, "new_string"), line)


def _replace(arguments: Arguments) -> BlockEdit:
    return Replace(_text(arguments, "label"), _text(arguments, "old_string"), _text(arguments, "new_string"))


def _rethink(arguments: Arguments) -> BlockEdit:
    return Rethink(_text(arguments, "label"), _text(arguments, "new_memory"))


def _append(arguments: Arguments) -> BlockEdit:
    return Append(_text(arguments, "label"), _text(arguments, "content"))


def _arguments(call: ToolCall) -> Arguments:
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise MemoryRefused(f"The arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise MemoryRefused("The arguments are not a JSON object.")
    return arguments


def _text(arguments: Arguments, name: str, otherwise: str | None = None) -> str:
    value = arguments.get(name)
    if value is None and otherwise is not None:
        return otherwise
    if not isinstance(value, str):
        raise MemoryRefused(f"`{name}` is missing or not a text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MemoryRefused(f"`{name}` is not valid Unicode.") from error
    return value.replace("\0", "")


def _texts(arguments: Arguments, name: str) -> tuple[str, ...]:
    value = arguments.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > MOST_TAGS:
        raise MemoryRefused(f"`{name}` is a list of at most {MOST_TAGS} texts.")
    texts = tuple(_text({name: item}, name) for item in value)
    if any(len(text) > TAG_CHARS for text in texts):
        raise MemoryRefused(f"A text of `{name}` has {TAG_CHARS} characters at most.")
    return texts


def _whole_number(arguments: Arguments, name: str, otherwise: int) -> int:
    value = arguments.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MemoryRefused(f"`{name}` is a whole number from 1.")
    return min(value, MOST_FOUND)


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError as error:
        raise MemoryRefused("A role is `user` or `assistant`.") from error


def _moment(arguments: Arguments, name: str, *, end: bool = False) -> float | None:
    """ISO 8601, UTC unless it says otherwise. An end that is a day alone means all of that day."""
    text = _text(arguments, name, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if end and len(text) == len("2026-01-31"):
            moment += timedelta(days=1)
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise MemoryRefused(f"`{name}` is a date or time as in 2026-01-31 or 2026-01-31T15:00.") from error


def _shown(entry: Entry, now_s: float) -> dict[str, object]:
    shown: dict[str, object] = {
        "timestamp": datetime.fromtimestamp(entry.at_s, UTC).isoformat(timespec="seconds"),
        "time_ago": _ago(now_s - entry.at_s),
    }
    if entry.role is not None:
        shown["role"] = entry.role.value
    if entry.tags:
        shown["tags"] = list(entry.tags)
    if entry.source:
        shown["source"] = entry.source
    return shown | {"content": entry.text}


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def _spec(name: str, description: str, required: Sequence[str], **properties: Mapping[str, object]) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name, description, json.dumps(schema, separators=(",", ":")))


_LABEL = {"type": "string", "description": "The label of the block."}
_TAGS = {"type": "array", "items": {"type": "string"}}
SPECS = (
    _spec(
        "memory_insert",
        "Insert text into a memory block, as a line of its own.",
        ["label", "new_string"],
        label=_LABEL,
        new_string={"type": "string", "description": "The text to insert."},
        insert_line={"type": "integer", "description": "After which line: 0 for the top, -1 (default) for the end."},
    ),
    _spec(
        "memory_replace",
        "Replace text in a memory block. The old text must be in it exactly once; an empty new text deletes it.",
        ["label", "old_string", "new_string"],
        label=_LABEL,
        old_string={"type": "string", "description": "The text to replace, exactly as it stands."},
        new_string={"type": "string", "description": "The text to put in its place."},
    ),
    _spec(
        "memory_rethink",
        "Write a memory block anew, whole. Makes the block if there is none of that label.",
        ["label", "new_memory"],
        label=_LABEL,
        new_memory={"type": "string", "description": "What the block says from now on."},
    ),
    _spec(
        "core_memory_append",
        "Append text to a memory block, on a new line.",
        ["label", "content"],
        label=_LABEL,
        content={"type": "string", "description": "The text to append."},
    ),
    _spec(
        "archival_memory_insert",
        "Put a text that stands by itself into the archive, to be found again by search.",
        ["content"],
        content={"type": "string", "description": "The text, understandable without its context."},
        tags=_TAGS,
    ),
    _spec(
        "archival_memory_search",
        "Search the archive.",
        ["query"],
        query={"type": "string", "description": "What to look for."},
        tags=_TAGS,
        tag_match_mode={"type": "string", "enum": ["any", "all"], "description": "Default: any."},
        top_k={"type": "integer", "description": "How many to return at most. Default: 10."},
        start_datetime={"type": "string", "description": "ISO 8601; from here on."},
        end_datetime={"type": "string", "description": "ISO 8601; up to here. A day alone counts whole."},
    ),
    _spec(
        "conversation_search",
        "Search what was said in this and earlier conversations. Dates alone list what was said between them.",
        [],
        query={"type": "string", "description": "What to look for."},
        roles={"type": "array", "items": {"type": "string", "enum": ["user", "assistant"]}},
        limit={"type": "integer", "description": "How many to return at most. Default: 5."},
        start_date={"type": "string", "description": "ISO 8601; from here on."},
        end_date={"type": "string", "description": "ISO 8601; up to here. A day alone counts whole."},
    ),
)
SEARCHING = frozenset({"archival_memory_search", "conversation_search"})
SEARCHES = tuple(spec for spec in SPECS if spec.name in SEARCHING)
