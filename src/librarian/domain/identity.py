"""Who is asking, and on whose behalf."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NewType

PrincipalId = NewType("PrincipalId", str)
Subject = NewType("Subject", str)
OwnerId = NewType("OwnerId", bytes)


class Purpose(StrEnum):
    """What a request is for. Only a chat has a thread, a seat and memory."""

    CHAT = "chat"
    TASK = "task"
    STATELESS = "stateless"


@dataclass(frozen=True, slots=True)
class Principal:
    """The tenant that a key belongs to; never the key itself."""

    id: PrincipalId


LOCAL = Principal(PrincipalId("local"))
"""Who asks when no key is configured."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose memory it is: one person, as one tenant knows them. Nothing crosses from one owner to another."""

    principal: PrincipalId
    subject: Subject

    @property
    def id(self) -> OwnerId:
        """Sixteen bytes that stand for the owner in indexes and file names."""
        principal, subject = self.principal.encode(), self.subject.encode()
        return OwnerId(sha256(b"%d:%b%b" % (len(principal), principal, subject)).digest()[:16])


def owner_of(principal: Principal, *, person: str | None = None) -> Owner:
    """Nobody named: the principal is its own subject."""
    return Owner(principal.id, Subject(f"user:{person}" if person else f"self:{principal.id}"))
