"""Headers -> who is asking, or a refusal.

A house without keys is open to its own machine, which every web page can reach, too: by sending to it, or by a name of
its own that suddenly means 127.0.0.1 (DNS rebinding). So there the Host must be a loopback name or address, and no
page of another origin may ask.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from librarian.application.admit import Admit
from librarian.domain import clients
from librarian.domain.errors import AddressRefused, InvalidRequest, NotAuthenticated
from librarian.domain.identity import Principal
from librarian.domain.mode import Mode

Headers = Mapping[bytes, bytes]
Client = tuple[str, int] | None

FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
"""What a proxy adds. Whoever stands behind it is not on this machine, or might not be."""
SIGNED = b"x-openwebui-user-jwt"
SAID_ONCE = (
    b"host",
    b"origin",
    b"authorization",
    b"content-type",
    b"content-length",
    b"idempotency-key",
    b"x-librarian-mode",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and what else their headers and the address say.

    `place`: the conversation that the address names; `forwarded`: the person that a verified token names.
    """

    principal: Principal
    headers: Headers
    place: str | None = None
    forwarded: str | None = None

    @property
    def debugging(self) -> bool:
        """Whether they want to know how the request was understood."""
        return self.headers.get(b"x-librarian-debug") == b"1"

    @property
    def mode(self) -> Mode | None:
        """The manner that `X-Librarian-Mode` asks for. Raises InvalidRequest."""
        asked = self.headers.get(b"x-librarian-mode")
        if not asked:
            return None
        try:
            return Mode(asked.decode("latin-1").strip().lower())
        except ValueError:
            raise InvalidRequest(
                "Invalid 'X-Librarian-Mode': it is one of worker, persona and auto.",
                param="X-Librarian-Mode",
                code="invalid_value",
            ) from None


class Admission:
    def __init__(self, admit: Admit) -> None:
        self._admit = admit

    def __call__(self, sent: Sequence[tuple[bytes, bytes]], client: Client = None, place: str | None = None) -> Caller:
        """`client`: the address it came from, where the server knows; `place` as in Caller.

        Raises NotAuthenticated, IdentityRefused, AddressRefused and InvalidRequest.
        """
        headers = dict(sent)
        if len(headers) < len(sent):
            _require_once(sent)
        if not self._admit.keys_required:
            _require_local(headers, client)
        principal = self._admit(headers.get(b"authorization", b""))
        token = headers.get(SIGNED)
        return Caller(principal, headers, place, self._admit.person(token) if token else None)

    def guest(self, sent: Sequence[tuple[bytes, bytes]], client: Client = None) -> Caller | None:
        """For rooms that are open to all: None for a stranger. Raises AddressRefused and InvalidRequest."""
        try:
            return self(sent, client)
        except NotAuthenticated:
            return None


def _require_once(sent: Sequence[tuple[bytes, bytes]]) -> None:
    """Of two headers, we would believe one and a proxy the other."""
    names = [name for name, _ in sent]
    for name in SAID_ONCE:
        if names.count(name) > 1:
            raise InvalidRequest(f"The header `{name.decode()}` is sent more than once.", code="invalid_value")
    for name in clients.HEADERS.intersection(names):
        if len({value for other, value in sent if other == name}) > 1:
            raise InvalidRequest(
                f"The header `{name.decode()}` says two things.", param=name.decode(), code="invalid_value"
            )


def _require_local(headers: Headers, client: Client) -> None:
    if (client is not None and not is_local(_authority(client[0]))) or not headers.keys().isdisjoint(FORWARDED):
        raise AddressRefused(
            "This gateway has no API key configured, so it answers this machine only, and nobody through a proxy."
            " Set LIBRARIAN_API_KEY to let others in."
        )
    host = headers.get(b"host", b"")
    if not is_local(host):
        raise AddressRefused(
            "This gateway has no API key configured, so it answers only where it is addressed as this machine, for"
            " example at http://127.0.0.1 or http://localhost. Set LIBRARIAN_API_KEY to let others in."
        )
    origin = headers.get(b"origin")
    if origin is not None and not is_local(origin.partition(b"://")[2]):
        raise AddressRefused(
            "This gateway has no API key configured, so it does not answer web pages of other origins."
            " Set LIBRARIAN_API_KEY to let others in."
        )


def _authority(address: str) -> bytes:
    return f"[{address.partition('%')[0]}]".encode() if ":" in address else address.encode()


_AUTHORITY = re.compile(rb"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", re.IGNORECASE)


@lru_cache(maxsize=64)
def is_local(authority: bytes) -> bool:
    """Whether `host`, `host:port` or `[address]:port` can only be this machine."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    try:
        if match[1] is not None:
            return IPv6Address(match[1].decode()).is_loopback
        name = match[2].decode().lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost") or IPv4Address(name).is_loopback
    except AddressValueError:
        return False
