"""The turns of which one answer is made."""

from typing import Self

from librarian.domain.turn import TurnStream


class Telling:
    """A turn whose stream is taken to its end has reached the client. So those of an answer wait for the whole of it;
    none of them holds a seat meanwhile."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: list[TurnStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for events in reversed(self._turns):
            await events.aclose()

    def turn(self, events: TurnStream) -> TurnStream:
        """To be read up to its TurnEnded."""
        self._turns.append(events)
        return events

    async def told(self) -> None:
        """The last frame was sent."""
        for events in self._turns:
            await anext(events, None)
