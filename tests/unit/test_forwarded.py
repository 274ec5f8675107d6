"""Who is believed about a person: a signed token, and the key itself."""

import jwt
import pytest

from librarian.adapters.keys.configured import ConfiguredKeys
from librarian.adapters.keys.forwarded import LEEWAY_S, OpenWebUiIdentity
from librarian.container import House
from librarian.domain.errors import IdentityRefused
from librarian.domain.identity import LOCAL
from librarian.settings import Settings
from tests.unit.edge_house import admit

SECRET = "a secret of thirty-two bytes, or more"
NOW_S = 1_900_000_000.0
CLAIMS = {
    "sub": "ada",
    "email": "ada@example.org",
    "name": "Ada",
    "role": "user",
    "iss": "open-webui",
    "iat": int(NOW_S),
    "exp": int(NOW_S) + 300,
}


class Clock:
    def __init__(self, now_s=NOW_S):
        self._now_s = now_s

    def now_s(self):
        return self._now_s

    def elapsed_s(self):
        return self._now_s


def token(*, secret=SECRET, algorithm="HS256", **claims):
    told = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
    return jwt.encode(told, secret, algorithm=algorithm).encode()


def person(sent, *, secret=SECRET, now_s=NOW_S):
    return OpenWebUiIdentity(secret, clock=Clock(now_s)).person(sent)


@pytest.mark.parametrize("now_s", [NOW_S, NOW_S + 300, NOW_S + 300 + LEEWAY_S, NOW_S - 3600])
def test_a_signed_token_names_a_person(now_s):
    assert "ada" == person(token(), now_s=now_s)


FORGED = {
    "signed by another": token(secret="another secret of thirty-two bytes"),
    "signed in another way": token(algorithm="HS512", secret=SECRET * 2),
    "not signed": token(algorithm="none", secret=None),
    "made by another": token(iss="somebody"),
    "made by nobody": token(iss=...),
    "of nobody": token(sub=...),
    "of an empty name": token(sub=""),
    "without an end": token(exp=...),
    "with an end that is no time": token(exp="tomorrow"),
    "with an end that is no number": token(exp=float("nan")),
    "that has ended": token(exp=int(NOW_S - LEEWAY_S) - 1),
    "cut short": token()[:-2],
    "no token": b"ada",
    "nothing": b"",
    "no text": b"\xff\xfe",
    "two tokens": token() + b", " + token(),
}


@pytest.mark.parametrize("sent", FORGED.values(), ids=FORGED.keys())
def test_what_cannot_be_believed_is_refused(sent):
    with pytest.raises(IdentityRefused):
        person(sent)


def test_where_nobody_is_trusted_no_token_is():
    with pytest.raises(IdentityRefused, match="LIBRARIAN_IDENTITY__OPENWEBUI_SECRET"):
        person(token(), secret=None)


def test_a_key_says_what_its_holder_may():
    keys = ConfiguredKeys("key", asserts_subject=False, requires_subject=True)
    holder = keys.holder(b"key")

    assert (LOCAL.id, False, True) == (holder.id, holder.asserts_subject, holder.requires_subject)
    assert keys.holder(b"no key") is None


def test_without_keys_the_same_is_said_of_whoever_asks():
    assert LOCAL == admit()(b"")
    assert admit(requires_subject=True)(b"").requires_subject


def test_settings_reach_the_keys_and_the_check(tmp_path):
    identity = {"openwebui_secret": SECRET, "assert_subject": False, "require_subject": True}
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path, api_key="key", identity=identity))
    house.clock.override(Clock())
    holder = house.keys().holder(b"key")

    assert (False, True) == (holder.asserts_subject, holder.requires_subject)
    assert "ada" == house.forwarded().person(token())
