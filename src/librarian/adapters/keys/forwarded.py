"""The person that Open WebUI signs for, in `X-OpenWebUI-User-Jwt`."""

import jwt

from librarian.application.ports.clock import Clock
from librarian.domain.errors import IdentityRefused

ISSUER = "open-webui"
LEEWAY_S = 10.0


class OpenWebUiIdentity:
    """A ForwardedIdentity. Source: Open WebUI 0.12.4, `utils/headers.py`: HS256, and five minutes to live."""

    def __init__(self, secret: str | None, *, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def person(self, token: bytes) -> str:
        if self._secret is None:
            raise IdentityRefused(
                "X-OpenWebUI-User-Jwt came, and nothing here can check it: set LIBRARIAN_IDENTITY__OPENWEBUI_SECRET."
            )
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer=ISSUER,
                # Its times are judged below, by the clock of the house.
                options={"require": ["sub", "exp", "iss"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise IdentityRefused(f"X-OpenWebUI-User-Jwt cannot be believed: {error}.") from error
        expires_s, person = claims["exp"], claims["sub"]
        if not (isinstance(expires_s, int | float) and expires_s + LEEWAY_S >= self._clock.now_s()):
            raise IdentityRefused("X-OpenWebUI-User-Jwt has expired.")
        if not isinstance(person, str) or not person:
            raise IdentityRefused("X-OpenWebUI-User-Jwt names nobody.")
        return person
