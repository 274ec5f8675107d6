"""API keys, and what others sign about a person."""

from typing import Protocol

from librarian.domain.identity import Principal


class KeyStore(Protocol):
    """From memory: no waiting."""

    @property
    def required(self) -> bool:
        """Whether there are keys at all; without any, the house is open to its own machine."""
        ...

    @property
    def local(self) -> Principal:
        """Who asks where there are no keys."""
        ...

    def holder(self, key: bytes) -> Principal | None:
        """Whom a key belongs to. Takes the same time for every wrong key of one length."""
        ...


class ForwardedIdentity(Protocol):
    def person(self, token: bytes) -> str:
        """Whom a signed token names; never empty. Raises IdentityRefused: for any token, where nobody is trusted to
        sign one."""
        ...
