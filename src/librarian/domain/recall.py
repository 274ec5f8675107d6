"""Finding again what was said and what was put by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from librarian.domain.conversation import ConversationId
from librarian.domain.transcript import Role


class Shelf(StrEnum):
    """Where an entry stands: `said` in a conversation, or `put_by` in the archive."""

    SAID = "said"
    PUT_BY = "put_by"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that can be found again. `number` is that of its turn or passage; `at_s` is since 1970.

    `source`: where it was found, if on no shelf of the house's; its number says nothing then.
    """

    shelf: Shelf
    number: int
    text: str
    at_s: float
    role: Role | None = None
    conversation: ConversationId | None = None
    tags: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for. No `text` lists the newest. `until_s` is exclusive. Empty `roles` or `tags`: any."""

    text: str
    shelf: Shelf | None = None
    limit: int = 5
    roles: tuple[Role, ...] = ()
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    since_s: float | None = None
    until_s: float | None = None
    without: ConversationId | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry and how well it fits: higher is better, comparable only within one search."""

    entry: Entry
    score: float


def by_turns(*shelves: Iterable[Entry], limit: int) -> Sequence[Entry]:
    """The best of each, then the next of each, each text once: what fits well is comparable only within a shelf."""
    found: dict[str, Entry] = {}
    for rank in zip_longest(*shelves):
        for entry in rank:
            if entry is not None:
                found.setdefault(entry.text.strip(), entry)
    return tuple(found.values())[:limit]


def within(hits: Iterable[Hit], budget_chars: int) -> Sequence[Hit]:
    """The best that fit the budget together, in the order of time; each text once."""
    kept: list[Hit] = []
    seen: set[str] = set()
    for hit in sorted(hits, key=lambda hit: -hit.score):
        if hit.entry.text in seen or len(hit.entry.text) > budget_chars:
            continue
        seen.add(hit.entry.text)
        budget_chars -= len(hit.entry.text)
        kept.append(hit)
    return sorted(kept, key=lambda hit: (hit.entry.at_s, hit.entry.number))
