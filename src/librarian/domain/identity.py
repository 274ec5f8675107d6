"""Who is asking, and on whose behalf."""

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NewType

from librarian.domain.errors import InvalidRequest

PrincipalId = NewType("PrincipalId", str)
Subject = NewType("Subject", str)
OwnerId = NewType("OwnerId", bytes)


class Purpose(StrEnum):
    """What a request is for. Only a chat has a thread, a seat and memory."""

    CHAT = "chat"
    TASK = "task"
    STATELESS = "stateless"


class Memory(StrEnum):
    """What a request may do with memory. READ recalls and writes nothing."""

    ON = "on"
    READ = "read"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Principal:
    """The tenant that a key belongs to; never the key itself.

    `asserts_subject`: whoever holds the key is believed about whom they speak for. `requires_subject`: where they do
    not say, there is no memory.
    """

    id: PrincipalId
    asserts_subject: bool = True
    requires_subject: bool = False

    def speaks_for(self, owner: "Owner") -> bool:
        """For itself in any case; for its people, where it is believed about them."""
        return owner.principal == self.id and (self.asserts_subject or owner == owner_of(self))


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


def subject_of(principal: Principal, person: str | None) -> Owner | None:
    """Whose memory; None: the request runs without.

    A key that may not speak for others and names somebody gets nobody's memory, least of all its own.
    """
    if not person:
        return None if principal.requires_subject else owner_of(principal)
    return owner_of(principal, person=person) if principal.asserts_subject else None


def may_see(principal: Principal, person: str | None, owner: Owner) -> bool:
    """Whether what is `owner`'s may be shown. A key that may speak for others and names nobody sees its principal's."""
    return principal.speaks_for(owner) if not person else owner == subject_of(principal, person)


LONGEST_BYTES = 256
# Control characters, C0 and C1; marks that turn the direction of writing; line and paragraph ends; halves of
# characters; tags, which nobody sees.
_UNPRINTABLE = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)


def identifier(value: str, param: str) -> str:
    """A name that somebody else gave to a person, a conversation or a message. Raises InvalidRequest."""
    if (found := _UNPRINTABLE.search(value)) is not None:
        raise InvalidRequest(
            f"Invalid '{param}': it has a character that nobody can see, U+{ord(found[0]):04X}.",
            param=param,
            code="invalid_value",
        )
    if len(value) > LONGEST_BYTES or (not value.isascii() and len(value.encode()) > LONGEST_BYTES):
        raise InvalidRequest(
            f"Invalid '{param}': it is longer than {LONGEST_BYTES} bytes.", param=param, code="string_above_max_length"
        )
    if "{{" in value:  # a client's template that was never filled in
        raise InvalidRequest(
            f"Invalid '{param}': it still has a placeholder, {value}.", param=param, code="invalid_value"
        )
    return value
