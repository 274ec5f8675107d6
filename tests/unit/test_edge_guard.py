"""Who is let in: a house without keys is open to its own machine, and to no web page."""

import jwt
import pytest

from librarian.domain.errors import AddressRefused, IdentityRefused, InvalidRequest
from librarian.entrypoints.http.admission import Admission
from tests.unit.edge_house import CHAT, LOCAL_HEADERS, Fixtures, ScriptedConverse, admit, front_door, hello, request

PATHS = [("POST", CHAT), ("GET", "/v1/models"), ("GET", "/health/live"), ("GET", "/"), ("GET", "/nowhere")]
LOCAL_HOSTS = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "gateway.localhost:8000",
    "127.0.0.1",
    "127.0.0.1:65535",
    "127.3.2.1:8000",
    "[::1]",
    "[::1]:8000",
    "[0:0:0:0:0:0:0:1]:8000",
]
FOREIGN_HOSTS = [
    "",
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "evillocalhost",
    "127.0.0.1.evil.example",
    "128.0.0.1",
    "0.0.0.0:8000",
    "10.0.0.5",
    "192.168.1.2:8000",
    "[::]:8000",
    "[::2]",
    "2130706433",
    "0x7f.1",
    "127.1",
    "localhost:8000:9000",
    "localhost:",
    "localhost/evil.example",
    "evil.example@localhost",
    "localhost@evil.example",
    "localhost evil.example",
    "localhost,evil.example",
    "[::1",
    "\u00e9vil",
]
LOCAL_ORIGINS = ["http://localhost:3000", "http://127.0.0.1:8000", "https://app.localhost", "http://[::1]:8000"]
FOREIGN_ORIGINS = [
    "null",
    "",
    "https://evil.example",
    "http://evil.example:8000",
    "http://localhost.evil.example",
    "file://",
    "chrome-extension://abcdef",
    "localhost",
    "http://192.168.1.2:8000",
]


@pytest.fixture
def fixtures():
    return Fixtures(ScriptedConverse())


async def status(door, method, path, **headers):
    body = hello() if method == "POST" else b""
    answer = await request(door, method, path, body=body, headers=headers)
    return answer.status, answer.error["code"] if answer.status == 403 else None


@pytest.mark.parametrize("host", LOCAL_HOSTS)
@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_this_machine_may_ask(fixtures, method, path, host):
    got, _ = await status(front_door(fixtures), method, path, **LOCAL_HEADERS | {"host": host})

    assert got == (404 if path == "/nowhere" else 200)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_no_other_name_leads_here(fixtures, method, path, host):
    got = await status(front_door(fixtures), method, path, **LOCAL_HEADERS | {"host": host})

    assert (403, "address_refused") == got
    assert [] == fixtures.converse.asks


async def test_a_request_must_say_where_it_goes(fixtures):
    got = await status(front_door(fixtures), "POST", CHAT, **{"content-type": "application/json"})

    assert (403, "address_refused") == got


@pytest.mark.parametrize("origin", LOCAL_ORIGINS)
async def test_a_page_of_this_machine_may_ask(fixtures, origin):
    assert (200, None) == await status(front_door(fixtures), "POST", CHAT, **LOCAL_HEADERS | {"origin": origin})


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_no_page_of_another_origin_may_ask(fixtures, method, path, origin):
    got = await status(front_door(fixtures), method, path, **LOCAL_HEADERS | {"origin": origin})

    assert (403, "address_refused") == got
    assert [] == fixtures.converse.asks


async def test_no_page_may_ask_what_it_might(fixtures):
    headers = LOCAL_HEADERS | {"origin": "https://evil.example", "access-control-request-method": "POST"}

    answer = await request(front_door(fixtures), "OPTIONS", CHAT, headers=headers)

    assert 403 == answer.status
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "media",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/models"])
async def test_bodies_are_json(fixtures, media, path):
    answer = await request(
        front_door(fixtures), path=path, body=hello(), headers=LOCAL_HEADERS | {"content-type": media}
    )

    assert (415, "unsupported_media_type") == (answer.status, answer.error["code"])
    assert [] == fixtures.converse.asks


@pytest.mark.parametrize(
    "media", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_may_say_how_it_is_written(fixtures, media):
    answer = await request(front_door(fixtures), body=hello(), headers=LOCAL_HEADERS | {"content-type": media})

    assert 200 == answer.status


KEY = {"authorization": "Bearer lib_secret"}
AWAY = {"host": "librarian.example", "content-type": "application/json"}


@pytest.mark.parametrize(
    "credential", ["", "Bearer", "Bearer wrong", "Basic lib_secret", "lib_secret", "Bearer lib_secret x"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", CHAT), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/health")]
)
async def test_a_house_with_a_key_wants_it(fixtures, method, path, credential):
    headers = AWAY | {"authorization": credential} if credential else AWAY

    answer = await request(front_door(fixtures, secret="lib_secret"), method, path, body=hello(), headers=headers)

    assert (401, "invalid_api_key") == (answer.status, answer.error["code"])
    assert "Bearer" == answer.headers["www-authenticate"]
    assert [] == fixtures.converse.asks


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_with_the_key_every_address_will_do(fixtures, method, path, scheme):
    headers = AWAY | {"authorization": f"{scheme} lib_secret", "origin": "https://elsewhere.example"}

    got, _ = await status(front_door(fixtures, secret="lib_secret"), method, path, **headers)

    assert got == (404 if path == "/nowhere" else 200)


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready"])
async def test_some_doors_are_open_to_all(fixtures, path):
    answer = await request(front_door(fixtures, secret="lib_secret"), "GET", path, headers=AWAY)

    assert 200 == answer.status
    assert b"9.9.9" not in answer.body


async def test_who_was_let_in_is_told_the_version(fixtures):
    answer = await request(front_door(fixtures, secret="lib_secret"), "GET", "/", headers=AWAY | KEY)

    assert "9.9.9" == answer.json["version"]


@pytest.mark.parametrize("header", [("host", "evil.example"), ("origin", "null"), ("content-type", "text/plain")])
async def test_a_header_that_counts_is_sent_once(fixtures, header):
    headers = LOCAL_HEADERS | {"origin": "http://localhost"}

    answer = await request(front_door(fixtures), body=hello(), headers=headers, more=[header])

    assert (400, header[0] in answer.error["message"]) == (answer.status, True)
    assert [] == fixtures.converse.asks


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip"])
async def test_nobody_comes_in_through_a_proxy_without_a_key(name):
    answer = await request(
        front_door(Fixtures(ScriptedConverse())), body=hello(), headers=LOCAL_HEADERS | {name: "1.2.3.4"}
    )

    assert (403, "address_refused") == (answer.status, answer.json["error"]["code"])


@pytest.mark.parametrize("name", ["X-Librarian-Conversation", "X-OpenWebUI-User-Id"])
async def test_a_header_that_names_somebody_says_one_thing(name):
    admission = Admission(admit())
    headers = [(header.lower().encode(), value.encode()) for header, value in LOCAL_HEADERS.items()]
    named = (name.lower().encode(), b"a")
    admission([*headers, named, named])

    with pytest.raises(InvalidRequest, match="two things"):
        admission([*headers, named, (named[0], b"b")])


@pytest.mark.parametrize(
    ("address", "welcome"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("2001:db8::1", False)]
)
async def test_only_this_machine_comes_in_without_a_key(address, welcome):
    admission = Admission(admit())
    headers = [(name.lower().encode(), value.encode()) for name, value in LOCAL_HEADERS.items()]
    try:
        admission(headers, (address, 1))
    except AddressRefused:
        assert not welcome
    else:
        assert welcome


async def test_a_person_who_is_signed_for_is_believed_and_a_forgery_is_not():
    secret = "a secret of thirty-two bytes, or more"
    claims = {"sub": "ada", "iss": "open-webui", "exp": 4_000_000_000}
    admission = Admission(admit(signed_by=secret))

    def entered(signed_by):
        token = jwt.encode(claims, signed_by, algorithm="HS256").encode()
        return admission([(b"host", b"localhost"), (b"x-openwebui-user-jwt", token)]).forwarded

    assert "ada" == entered(secret)
    with pytest.raises(IdentityRefused):
        entered("another secret of thirty-two bytes")
