"""How each part is."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Finding:
    """`needed`: the house cannot serve without it."""

    part: str
    well: bool
    detail: str
    needed: bool = True


class Health(Protocol):
    async def check(self) -> Finding:
        """Never raises and never asks a language model to speak; within a few seconds."""
        ...
