"""What is counted."""

from typing import Protocol

from librarian.domain.mode import Mode
from librarian.domain.turn import StopReason, Usage


class Meter(Protocol):
    """Labels come from our own words, never from a user's text."""

    def identified(self, client: str, conversation_by: str, person_by: str, purpose: str) -> None:
        """How a request said who asks, where and what for; where it said nothing, the word is empty."""
        ...

    def memory_withheld(self, why: str) -> None:
        """A request ran without memory: the person is `unknown`, or `not_believed`."""
        ...

    def turn_began(self, plan: str, mode: Mode | None, waited_s: float) -> None: ...

    def turn_spoke(self, after_s: float) -> None:
        """The first event after the request was understood."""
        ...

    def turn_ended(self, reason: StopReason, usage: Usage, duration_s: float) -> None: ...

    def turn_failed(self, error: str) -> None:
        """`error` is the class of a LibrarianError."""
        ...

    def memory_changed(self, what: str) -> None:
        """`block` or `archive`."""
        ...

    def recalled(self, entries: int, duration_s: float, outcome: str) -> None:
        """`outcome`: found, nothing, late or failed."""
        ...

    def compacted(self, by: str) -> None:
        """`model` or `extraction`."""
        ...

    def request_served(self, endpoint: str, status: int, duration_s: float) -> None: ...
