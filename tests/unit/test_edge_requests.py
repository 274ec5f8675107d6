"""Requests at the front door, with no server before it and no house behind it."""

import json

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from librarian.application.ports.health import Finding
from librarian.domain.errors import InvalidRequest, PoolExhausted, StoreUnavailable, UnknownModel
from librarian.domain.mode import Mode
from librarian.domain.turn import Ignored, Reasoned, StopReason, TextSpoken, ToolCalled, TurnEnded
from tests.unit.edge_house import (
    BEGAN,
    CHAT,
    COMPLETIONS,
    ENDED,
    INDEED,
    LIMIT_BYTES,
    LOCAL_HEADERS,
    USAGE,
    Fixtures,
    ScriptedConverse,
    front_door,
    hello,
    request,
)
from tests.wire.test_chat_wire import REFUSED

ENVELOPE = ["message", "type", "param", "code"]


@pytest.fixture
def fixtures():
    return Fixtures(ScriptedConverse())


@pytest.fixture
def door(fixtures):
    return front_door(fixtures)


async def test_a_chat_is_answered_whole(door):
    answer = await request(door, body=hello())

    assert 200 == answer.status
    assert "conv_1" == answer.headers["x-librarian-conversation"]
    assert "Indeed." == answer.json["choices"][0]["message"]["content"]


async def test_a_chat_is_answered_frame_by_frame(door):
    answer = await request(door, body=hello(stream=True))

    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert "[DONE]" == answer.frames[-1]
    assert "Indeed." == "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in answer.chunks)


@pytest.mark.parametrize(("path", "asks"), [(CHAT, hello()), (COMPLETIONS, {"model": "librarian", "prompt": "Hello."})])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_done_is_named(path, asks, stream):
    door = front_door(Fixtures(ScriptedConverse(BEGAN, Ignored(("seed", "top_p")), TextSpoken(["Yes."]), ENDED)))
    answer = await request(door, path=path, body=asks | {"stream": stream})

    assert "seed, top_p" == answer.headers["x-librarian-ignored"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_thought_is_not_said(stream):
    events = (BEGAN, Reasoned(["Hmm, secretly"]), TextSpoken(["Yes."]), Reasoned(["secretly"]), ENDED)
    door = front_door(Fixtures(ScriptedConverse(*events)))

    answer = await request(door, body=hello(stream=stream))

    assert 200 == answer.status
    assert b"secretly" not in answer.body


@pytest.mark.parametrize(("asked", "mode"), [("worker", Mode.WORKER), ("Persona", Mode.PERSONA), ("", None)])
async def test_the_manner_may_be_asked_for_by_header(fixtures, door, asked, mode):
    await request(door, body=hello(), headers=LOCAL_HEADERS | {"x-librarian-mode": asked})

    assert mode is fixtures.converse.asks[0].mode


async def test_an_unknown_manner_is_refused(fixtures, door):
    answer = await request(door, body=hello(), headers=LOCAL_HEADERS | {"x-librarian-mode": "wizard"})

    assert (400, "X-Librarian-Mode") == (answer.status, answer.error["param"])
    assert [] == fixtures.converse.asks


@pytest.mark.parametrize(("body", "param"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_input_is_refused_and_changes_nothing(fixtures, door, body, param, stream):
    if isinstance(body, dict) and "stream" not in body:
        body = body | {"stream": stream}

    answer = await request(door, body=body)

    assert (400, ENVELOPE, param) == (answer.status, list(answer.error), answer.error["param"])
    assert "false" == answer.headers["x-should-retry"]
    assert [] == fixtures.converse.asks


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["model", "messages", "prompt", "tools", "tool_choice", "n", "user", "stop", "response_format", "stream_options"]
)


@given(body=anything | st.dictionaries(fields, anything).map(lambda wild: hello() | {"prompt": "x"} | wild))
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_no_json_is_our_fault(path, body):
    answer = await request(front_door(Fixtures(ScriptedConverse())), path=path, body=json.dumps(body).encode())

    assert answer.status in {200, 400}


@given(body=st.binary())
async def test_no_bytes_are_our_fault(body):
    answer = await request(front_door(Fixtures(ScriptedConverse())), body=body)

    assert answer.status in {200, 400}


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (UnknownModel("nobody"), 404, "model_not_found", "false"),
        (InvalidRequest("No.", param="messages"), 400, None, "false"),
        (PoolExhausted(2), 429, "pool_exhausted", "true"),
        (StoreUnavailable(), 503, "store_unavailable", "true"),
        (ValueError("the secret is 42"), 500, "internal_error", "false"),
    ],
)
@pytest.mark.parametrize("before", [(), (BEGAN,)], ids=["at once", "once it began"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_frame_is_a_status(*, error, status, code, retry, before, stream):
    door = front_door(Fixtures(ScriptedConverse(*before, error)))

    answer = await request(door, body=hello(stream=stream))

    assert (status, code, retry) == (answer.status, answer.error["code"], answer.headers["x-should-retry"])
    assert "application/json" == answer.headers["content-type"]
    assert b"secret" not in answer.body


@pytest.mark.parametrize("error", [StoreUnavailable(), ValueError("the secret is 42")])
async def test_an_error_after_the_first_frame_is_the_last_one(error):
    door = front_door(Fixtures(ScriptedConverse(BEGAN, TextSpoken(["In"]), error)))

    answer = await request(door, body=hello(stream=True))

    assert 200 == answer.status
    assert ENVELOPE == list(json.loads(answer.frames[-1])["error"])
    assert "[DONE]" not in answer.frames
    assert b"secret" not in answer.body


async def test_what_was_recorded_is_not_told_again():
    """The first prompt of two is settled when the second is refused: a retry would tell it twice."""
    converse = ScriptedConverse()
    door = front_door(Fixtures(converse))
    events = iter([INDEED, (PoolExhausted(1.0),)])

    def turns(ask):
        converse.events = next(events)
        return ScriptedConverse.__call__(converse, ask)

    door = front_door(Fixtures(turns))

    answer = await request(door, path=COMPLETIONS, body={"model": "librarian", "prompt": ["a", "b"]})

    assert (429, "false") == (answer.status, answer.headers["x-should-retry"])
    assert "retry-after" not in answer.headers


async def test_each_prompt_is_a_choice(fixtures, door):
    answer = await request(door, path=COMPLETIONS, body={"model": "librarian", "prompt": ["a", "b"], "echo": True})

    assert [(0, "aIndeed."), (1, "bIndeed.")] == [
        (choice["index"], choice["text"]) for choice in answer.json["choices"]
    ]
    assert 2 * (USAGE.input_tokens + USAGE.output_tokens) == answer.json["usage"]["total_tokens"]
    assert 2 == len(fixtures.converse.asks)


async def test_each_prompt_is_a_choice_frame_by_frame(door):
    body = {"model": "librarian", "prompt": ["a", "b"], "echo": True, "stream": True}

    answer = await request(door, path=COMPLETIONS, body=body | {"stream_options": {"include_usage": True}})

    said = {0: "", 1: ""}
    finished = {}
    *chunks, last = answer.chunks
    for chunk in chunks:
        (choice,) = chunk["choices"]
        said[choice["index"]] += choice["text"]
        if choice["finish_reason"]:
            finished[choice["index"]] = choice["finish_reason"]
    assert ({0: "aIndeed.", 1: "bIndeed."}, {0: "stop", 1: "stop"}) == (said, finished)
    assert ([], 18) == (last["choices"], last["usage"]["total_tokens"])
    assert "[DONE]" == answer.frames[-1]


async def test_a_completion_calls_no_tools():
    ended = TurnEnded(StopReason.TOOL_CALLS, USAGE)
    door = front_door(Fixtures(ScriptedConverse(BEGAN, ToolCalled(0, "call_1", "look", "{}"), ended)))

    answer = await request(door, path=COMPLETIONS, body={"model": "librarian", "prompt": "a"})

    assert "stop" == answer.json["choices"][0]["finish_reason"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/models", "/nowhere"])
async def test_a_large_body_is_refused(fixtures, door, path):
    answer = await request(door, path=path, body=b" " * (LIMIT_BYTES + 1))

    expected = {"/v1/models": 405, "/nowhere": 404}.get(path, 413)
    assert (expected, ENVELOPE) == (answer.status, list(answer.error))
    assert [] == fixtures.converse.asks


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/models", 405, "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/models/librarian", 405, "GET, HEAD, OPTIONS"),
        ("GET", CHAT, 405, "POST, OPTIONS"),
        ("PATCH", COMPLETIONS, 405, "POST, OPTIONS"),
        ("GET", "/v1/models/nobody", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("GET", "/v1/models/a/b/c", 404, None),
        ("GET", "//", 404, None),
        ("GET", "/v1/chat/completions/", 404, None),
        ("BREW", "/coffee", 404, None),
    ],
)
async def test_what_is_not_there_is_refused_in_openais_words(door, method, path, status, allow):
    answer = await request(door, method, path)

    assert (status, ENVELOPE) == (answer.status, list(answer.error))
    assert allow == answer.headers.get("allow")
    assert "false" == answer.headers["x-should-retry"]


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/models/librarian", "/health", "/health/live", "/metrics"])
async def test_head_is_get_without_a_body(door, path):
    got, head = [await request(door, method, path) for method in ("GET", "HEAD")]

    assert (200, b"") == (head.status, head.body)
    assert got.headers | {"x-request-id": ""} == head.headers | {"x-request-id": ""}


@pytest.mark.parametrize(("path", "allow"), [(CHAT, "POST, OPTIONS"), ("/v1/models", "GET, HEAD, OPTIONS")])
async def test_options_are_told(door, path, allow):
    answer = await request(door, "OPTIONS", path)

    assert (204, allow, b"") == (answer.status, answer.headers["allow"], answer.body)


async def test_the_models_are_listed(door):
    answer = await request(door, "GET", "/v1/models")

    models = {model["id"]: model for model in answer.json["data"]}
    assert "list" == answer.json["object"]
    assert {"librarian", "librarian-worker", "librarian-persona", "qwen/qwen3:8b", "gpt-4"} == models.keys()
    assert all(["id", "object", "created", "owned_by"] == list(model) for model in models.values())
    assert 1_600_000_000 == models["qwen/qwen3:8b"]["created"]


async def test_a_models_name_may_have_slashes(door):
    answer = await request(door, "GET", "/v1/models/qwen/qwen3:8b")

    assert ("qwen/qwen3:8b", "model") == (answer.json["id"], answer.json["object"])


async def test_trouble_with_the_models_has_an_envelope(fixtures, door):
    fixtures.trouble = StoreUnavailable()
    assert 503 == (await request(door, "GET", "/v1/models")).status

    fixtures.trouble = ValueError("the secret is 42")
    answer = await request(door, "GET", "/v1/models")

    assert (500, "internal_error") == (answer.status, answer.error["code"])
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("well", "needed", "status", "word"),
    [(True, True, 200, "ok"), (False, False, 200, "degraded"), (False, True, 503, "unavailable")],
)
async def test_the_house_knows_how_it_is(*, fixtures, door, well, needed, status, word):
    fixtures.findings = (Finding("store", well=True, detail="fine"), Finding("model", well, "so so", needed))

    for path in ("/health", "/health/ready"):
        answer = await request(door, "GET", path)
        assert (status, word) == (answer.status, answer.json["status"])

    assert (200, {"status": "ok"}) == ((await request(door, "GET", "/health/live")).status, {"status": "ok"})


async def test_details_of_health_are_not_for_everyone(fixtures):
    fixtures.findings = (Finding("store", well=False, detail="/srv/ada/x.db"),)
    door = front_door(fixtures, secret="lib_secret")

    answer = await request(door, "GET", "/health/ready")

    assert b"ada" not in answer.body


async def test_the_service_says_what_it_is(door):
    answer = await request(door, "GET", "/")

    assert ("librarian", "9.9.9", "/docs") == tuple(answer.json[name] for name in ("service", "version", "docs"))
    assert {CHAT, COMPLETIONS, "/v1/models", "/metrics"} <= set(answer.json["endpoints"])


async def test_metrics_are_text(door):
    answer = await request(door, "GET", "/metrics")

    assert (b"# nothing\n", "text/plain; version=0.0.4; charset=utf-8") == (answer.body, answer.headers["content-type"])


async def test_there_may_be_no_metrics_and_no_docs(fixtures):
    door = front_door(fixtures, render_metrics=None, docs=False)

    assert [404, 404, 404] == [
        (await request(door, "GET", path)).status for path in ("/metrics", "/docs", "/openapi.json")
    ]


async def test_the_api_is_described(door):
    described = (await request(door, "GET", "/openapi.json")).json
    page = await request(door, "GET", "/docs")

    chat = described["paths"][CHAT]["post"]
    shape = chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert {"model", "messages", "stream"} <= described["components"]["schemas"][shape]["properties"].keys()
    assert "ErrorResponse" in described["components"]["schemas"]
    assert b"/v1/chat/completions" in page.body
    assert b"<script" not in page.body


async def test_every_reference_in_the_description_leads_somewhere(door):
    described = await request(door, "GET", "/openapi.json")

    schemas = described.json["components"]["schemas"]
    named = {part.partition('"')[0] for part in described.body.decode().split("#/components/schemas/")[1:]}
    assert named <= schemas.keys()


REQUESTS = [
    ("POST", CHAT, hello(), 200, CHAT),
    ("POST", CHAT, hello(stream=True), 200, CHAT),
    ("POST", CHAT, {}, 400, CHAT),
    ("GET", CHAT, b"", 405, CHAT),
    ("POST", CHAT, b" " * (LIMIT_BYTES + 1), 413, CHAT),
    ("GET", "/v1/models", b"", 200, "/v1/models"),
    ("GET", "/v1/models/librarian", b"", 200, "/v1/models/{id}"),
    ("GET", "/v1/models/a-secret", b"", 404, "/v1/models/{id}"),
    ("GET", "/a-secret", b"", 404, "other"),
    ("GET", "/health/live", b"", 200, "/health/live"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "endpoint"), REQUESTS)
async def test_every_request_is_served_once_and_named(*, fixtures, door, method, path, body, status, endpoint):
    with structlog.testing.capture_logs() as lines:
        answer = await request(door, method, path, body=body)

    (line,) = [line for line in lines if line["event"] == "request_served"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert (method, endpoint, status) == (line["method"], line["endpoint"], line["status"])
    assert [[endpoint, status]] == [facts[:2] for facts in fixtures.meter.of("request_served")]
    assert "secret" not in str(lines)


async def test_what_was_not_foreseen_is_logged_whole():
    door = front_door(Fixtures(ScriptedConverse(ValueError("what went wrong"))))

    with structlog.testing.capture_logs() as lines:
        answer = await request(door, body=hello())

    (failed,) = [line for line in lines if line["event"] == "request_failed"]
    assert 500 == answer.status
    assert "what went wrong" == str(failed["exc_info"])


async def test_the_first_thing_said_is_timed(fixtures, door):
    await request(door, body=hello(stream=True))

    assert 1 == len(fixtures.meter.of("turn_spoke"))
