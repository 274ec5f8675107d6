"""The one key that an operator may configure."""

from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest

from librarian.domain.identity import LOCAL, Principal


class ConfiguredKeys:
    """A KeyStore of one key or none; its holder is whoever asked before there was a key, so nothing is forgotten."""

    def __init__(self, secret: str | None, *, asserts_subject: bool = True, requires_subject: bool = False) -> None:
        self._digest = sha256(secret.encode()).digest() if secret else None
        self._local = replace(LOCAL, asserts_subject=asserts_subject, requires_subject=requires_subject)

    @property
    def required(self) -> bool:
        return self._digest is not None

    @property
    def local(self) -> Principal:
        return self._local

    def holder(self, key: bytes) -> Principal | None:
        if self._digest is None or not compare_digest(sha256(key).digest(), self._digest):
            return None
        return self._local
