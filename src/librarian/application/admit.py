"""A credential -> a Principal, or a refusal."""

from librarian.application.ports.keys import ForwardedIdentity, KeyStore
from librarian.domain.errors import NotAuthenticated
from librarian.domain.identity import Principal


class Admit:
    """Who may ask. Without keys, whoever is on this machine: the edge sees to it that nobody else comes in."""

    def __init__(self, *, keys: KeyStore, forwarded: ForwardedIdentity) -> None:
        self._keys = keys
        self._forwarded = forwarded

    @property
    def keys_required(self) -> bool:
        return self._keys.required

    def __call__(self, credential: bytes) -> Principal:
        """`credential` is `Bearer KEY`; nothing, where there are no keys. Raises NotAuthenticated."""
        if not self._keys.required:
            return self._keys.local
        scheme, _, key = credential.strip().partition(b" ")
        holder = self._keys.holder(key.strip()) if scheme.lower() == b"bearer" else None
        if holder is None:
            raise NotAuthenticated
        return holder

    def person(self, token: bytes) -> str:
        """Whom a token that came along is signed for. Raises IdentityRefused."""
        return self._forwarded.person(token)
