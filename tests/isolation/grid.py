"""Who lives in the house: people of several tenants, each with every template, and secrets of their own in each."""

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

TENANTS = 6
PEOPLE = ("ada", "ben", "grace", "joan", None)
"""The same in every tenant. None: nobody is named, and the tenant is its own subject."""
TEMPLATES = ("librarian", "scribe", "clerk", "tutor")


class Kind(StrEnum):
    """Where a secret lies. What is said, answered or put by is found again by the same person through any template."""

    SAID = "s"
    ANSWERED = "a"
    PASSAGE = "p"
    TAG = "g"
    BLOCK = "b"
    ABANDONED = "d"
    TOOL = "t"
    OVERLAY = "o"
    KEY = "k"
    IDEMPOTENCY = "i"
    MESSAGE = "m"


RECALLED = frozenset({Kind.SAID, Kind.ANSWERED, Kind.PASSAGE, Kind.TAG})
CANARY = re.compile(r"zq([a-z])(\d{3})[a-z]{8}")
_LETTERS = "abcdefghijklmnop"


@dataclass(frozen=True, slots=True)
class Cell:
    """A person of a tenant with an agent of one template."""

    number: int
    tenant: int
    person: str | None
    template: str

    @property
    def principal(self) -> str:
        return principal(self.tenant)

    @property
    def owner(self) -> tuple[int, str | None]:
        return self.tenant, self.person

    @property
    def cue(self) -> str:
        """A word that leads to what this cell said and put by; anybody may say it."""
        return f"cue{self.number:03d}{_letters(f'cue{self.number}')}"

    def canary(self, kind: Kind) -> str:
        return f"zq{kind}{self.number:03d}{_letters(f'{kind}{self.number}')}"


def principal(tenant: int) -> str:
    return f"tenant-{tenant}"


CELLS = tuple(
    Cell(number, tenant, person, template)
    for number, (tenant, person, template) in enumerate(
        (tenant, person, template) for tenant in range(TENANTS) for person in PEOPLE for template in TEMPLATES
    )
)
PAIRS = frozenset((asker, owner) for asker in CELLS for owner in CELLS if asker.owner != owner.owner)
"""Who must find nothing of whom."""


def others(cell: Cell) -> list[Cell]:
    return [other for other in CELLS if other.owner != cell.owner]


def canaries(text: str) -> list[tuple[Kind, Cell]]:
    return [(Kind(kind), CELLS[int(number)]) for kind, number in CANARY.findall(text.lower())]


def _letters(seed: str) -> str:
    return "".join(_LETTERS[byte % 16] for byte in sha256(seed.encode()).digest()[:8])
