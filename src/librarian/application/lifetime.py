"""From opening the house to closing it: what must be opened, first made first; what must be closed, last made first."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

Opening = Callable[[], None]
Closing = Callable[[], Awaitable[None]]


class Lifetime:
    """`async with` it, or close it when done: parts open themselves at first use."""

    def __init__(
        self, *, opening: Sequence[Opening], closing: Sequence[Closing], recover: Callable[[], Awaitable[object]]
    ) -> None:
        """`recover`: what is to be done once all is open."""
        self._opening = opening
        self._recover = recover
        self._closing = closing

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Raises StoreUnavailable where what is kept cannot be opened."""
        for open_part in self._opening:
            await asyncio.to_thread(open_part)
        await self._recover()

    async def aclose(self) -> None:
        """All of them, even if one fails; the first failure is raised at the end."""
        failures: list[BaseException] = []
        for close_part in reversed(self._closing):
            try:
                await close_part()
            except Exception as failure:  # noqa: BLE001 - the others are closed all the same
                failures.append(failure)
        if failures:
            raise failures[0]
