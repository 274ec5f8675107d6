"""Cutting what is said at the client's stop sequences, where the backend cannot."""

from collections.abc import Sequence


class Stops:
    """Fed with text as it comes; holds back no more than might be the beginning of a stop sequence."""

    __slots__ = ("_held", "_sequences", "stopped")

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = tuple(sequence for sequence in sequences if sequence)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What may be said now; nothing more once it is `stopped`."""
        if self.stopped:
            return ""
        if not self._sequences:
            return text
        self._held += text
        found = [(at + len(stop), at) for stop in self._sequences if (at := self._held.find(stop)) >= 0]
        if found:  # the first that is complete, as a model would stop at it
            self.stopped = True
            said, self._held = self._held[: min(found)[1]], ""
            return said
        said = self._held[: len(self._held) - self._beginning()]
        self._held = self._held[len(said) :]
        return said

    def rest(self) -> str:
        """What was held back, once nothing more will come."""
        said, self._held = self._held, ""
        return said

    def _beginning(self) -> int:
        """How many characters at the end may be the beginning of a sequence."""
        longest = max(map(len, self._sequences)) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(sequence.startswith(end) for sequence in self._sequences):
                return length
        return 0
