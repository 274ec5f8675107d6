"""API keys."""

from typing import Protocol

from librarian.domain.identity import Principal


class KeyStore(Protocol):
    """From memory: no waiting."""

    @property
    def required(self) -> bool:
        """Whether there are keys at all; without any, the house is open to its own machine."""
        ...

    def holder(self, key: bytes) -> Principal | None:
        """Whom a key belongs to. Takes the same time for every wrong key of one length."""
        ...
