"""A model's server on loopback, and every kind of trouble there is with one."""

import asyncio
import json
import socket
from contextlib import ExitStack, aclosing

import pytest

from librarian.adapters.upstream.chat import UpstreamModel
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import InvalidRequest, LibrarianError, UpstreamBusy, UpstreamRefused, UpstreamTimedOut
from librarian.domain.prompt import Prompt
from librarian.domain.transcript import user
from librarian.domain.turn import Reasoned, StepEnded, StopReason, TextSpoken, Usage
from tests.scripted import wire as sent
from tests.scripted.server import GARBAGE, Gate, ScriptedServer

KEY = "sekret-key-0123456789"
HELLO = Prompt("scripted", "", (user("Hello."),))
WHOLE = Prompt("scripted", "", (user("Hello."),), whole=True)
BOTH = pytest.mark.parametrize("prompt", [HELLO, WHOLE], ids=["streamed", "whole"])


@pytest.fixture
async def upstream(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url, api_key=KEY, first_event_s=5, idle_s=5)
    yield model
    await model.aclose()


async def step(model, prompt=HELLO):
    async with asyncio.timeout(10), aclosing(model.speak(prompt)) as events:
        return [event async for event in events]


def text_of(events):
    return "".join(fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments)


async def refused(model, prompt=HELLO):
    with pytest.raises(LibrarianError) as error:
        await step(model, prompt)
    assert KEY not in str(error.value)
    return error.value


@BOTH
async def test_what_was_said_thought_and_counted(upstream, scripted_model, prompt):
    scripted_model.say("In", "deed.", reasoning="Hmm.", usage=(3, 4))

    events = await step(upstream, prompt)

    assert "Indeed." == text_of(events)
    assert ["Hmm."] == [fragment for event in events if isinstance(event, Reasoned) for fragment in event.fragments]
    assert StepEnded(StopReason.END_OF_TURN, Usage(3, 4)) == events[-1]


async def test_what_the_server_is_told(scripted_model, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    headers = {"x-team": "reading room"}
    model = UpstreamModel(base_url=f"{scripted_model.base_url}/?v=1", api_key=KEY, headers=headers)
    scripted_model.headers["set-cookie"] = "a=b"

    await step(model)
    await step(model)

    for asked in scripted_model.requests:
        assert f"Bearer {KEY}" == asked.headers["authorization"]
        assert "reading room" == asked.headers["x-team"]
        assert "application/json" == asked.headers["content-type"]
        assert "cookie" not in asked.headers
        assert "/v1/chat/completions?v=1" == asked.path
    await model.aclose()


async def test_a_key_goes_before_a_name_in_the_address(scripted_model):
    address = scripted_model.base_url.replace("http://", "http://ada:lovelace@")
    model = UpstreamModel(base_url=address, api_key=KEY)

    await step(model)

    assert f"Bearer {KEY}" == scripted_model.requests[0].headers["authorization"]
    await model.aclose()


async def test_without_a_key_none_is_sent(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url)

    await step(model)

    assert "authorization" not in scripted_model.requests[0].headers
    await model.aclose()


@BOTH
async def test_a_connection_is_used_again(upstream, scripted_model, prompt):
    for _ in range(3):
        await step(upstream, prompt)
        await asyncio.to_thread(scripted_model.requests[-1].answered.wait)

    assert 1 == len({asked.peer for asked in scripted_model.requests})


async def test_words_arrive_as_they_are_spoken(upstream, scripted_model):
    gate = Gate()
    scripted_model.say("In", gate, "deed.")

    async with asyncio.timeout(10), aclosing(upstream.speak(HELLO)) as events:
        assert TextSpoken(["In"]) == await anext(events)
        gate.open()
        assert TextSpoken(["deed."]) == await anext(events)


async def test_bytes_one_by_one(upstream, scripted_model):
    scripted_model.say("In", "deed.", bytes_at_once=1)

    assert "Indeed." == text_of(await step(upstream))


async def test_a_large_request(upstream, scripted_model):
    text = "word " * 600_000
    scripted_model.say("So")

    await step(upstream, Prompt("scripted", "", (user(text),)))

    assert text == scripted_model.requests[-1].said


async def test_the_end_is_not_waited_for_once_all_is_said(upstream, scripted_model):
    gate = Gate()
    scripted_model.send(sent.chunk({"content": "So"}, "stop"), sent.DONE, gate)

    assert "So" == text_of(await step(upstream))
    gate.open()


@pytest.mark.parametrize("end", ["closed", "broken off", "silent"])
async def test_an_end_without_done_is_an_end(scripted_model, end):
    model = UpstreamModel(base_url=scripted_model.base_url, first_event_s=5, idle_s=0.1)
    last = sent.chunk({"content": "So"}, "length")
    if end == "broken off":
        scripted_model.break_off(after=last)
    else:
        scripted_model.send(*([last] if end == "closed" else [last, Gate()]))

    events = await step(model)

    assert "So" == text_of(events)
    assert StepEnded(StopReason.LENGTH, None) == events[-1]
    await model.aclose()


async def test_a_server_that_does_not_stream_when_asked(upstream, scripted_model):
    scripted_model.send(sent.completion({"content": "So"}, "stop", (3, 4)), content_type="application/json")

    assert [TextSpoken(["So"]), StepEnded(StopReason.END_OF_TURN, Usage(3, 4))] == await step(upstream)


async def test_a_server_that_streams_unasked(upstream, scripted_model):
    scripted_model.send(sent.chunk({"content": "So"}, "stop"), sent.DONE)

    assert [TextSpoken(["So"]), StepEnded(StopReason.END_OF_TURN, None)] == await step(upstream, WHOLE)


@BOTH
@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage(upstream, scripted_model, prompt, kind):
    scripted_model.garbage(kind)

    error = await refused(upstream, prompt)

    assert isinstance(error, UpstreamRefused)
    assert error.heard
    assert "echo: Hello." == text_of(await step(upstream, prompt))


@BOTH
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidRequest),
        (401, UpstreamRefused),
        (403, UpstreamRefused),
        (404, UpstreamRefused),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (429, UpstreamBusy),
        (500, UpstreamRefused),
        (503, UpstreamRefused),
    ],
)
async def test_refusals(upstream, scripted_model, prompt, status, expected):
    scripted_model.fail(status, f"No, says {KEY}.")

    error = await refused(upstream, prompt)

    assert expected is type(error)
    assert not getattr(error, "heard", False)
    assert "echo: Hello." == text_of(await step(upstream, prompt))


async def test_a_busy_server_says_for_how_long(upstream, scripted_model):
    scripted_model.fail(429, retry_after=7)

    assert 7 == (await refused(upstream)).retry_after_s


async def test_a_refusal_that_does_not_come_to_an_end(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url, first_event_s=0.1)
    scripted_model.send(b'{"error": {', Gate(), status=500)

    assert "(500)." in str(await refused(model))
    await model.aclose()


async def test_a_request_is_not_sent_elsewhere(upstream, scripted_model):
    scripted_model.fail(307, headers={"location": f"{scripted_model.base_url}/chat/completions"})

    assert isinstance(await refused(upstream), UpstreamRefused)
    assert 1 == len(scripted_model.requests)


@BOTH
@pytest.mark.parametrize("how", [{}, {"after": "In"}, {"after": "In", "mid_event": True}])
async def test_a_server_that_breaks_off_is_not_asked_again(upstream, scripted_model, prompt, how):
    scripted_model.break_off(**how)

    error = await refused(upstream, prompt)

    assert isinstance(error, UpstreamRefused)
    assert error.heard
    assert 1 == len(scripted_model.requests)


@BOTH
async def test_a_server_that_never_answers(scripted_model, prompt):
    model = UpstreamModel(base_url=scripted_model.base_url, first_event_s=0.1, idle_s=5)
    scripted_model.hang()

    error = await refused(model, prompt)

    assert isinstance(error, UpstreamTimedOut)
    assert 0.1 == error.waited_s
    assert await scripted_model.requests[-1].left(within_s=1)
    await model.aclose()


async def test_a_server_that_answers_and_says_nothing(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url, first_event_s=0.1, idle_s=5)
    scripted_model.say(Gate())

    assert 0.1 == (await refused(model)).waited_s
    await model.aclose()


async def test_a_server_that_falls_silent(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url, first_event_s=5, idle_s=0.1)
    scripted_model.hang(after="In")

    assert 0.1 == (await refused(model)).waited_s
    assert await scripted_model.requests[-1].left(within_s=1)
    await model.aclose()


@BOTH
async def test_a_listener_who_leaves_stops_the_server(upstream, scripted_model, prompt):
    scripted_model.hang(after="In")
    listening = asyncio.create_task(step(upstream, prompt))
    asked = await scripted_model.asked()

    listening.cancel()

    assert await asked.left(within_s=1)


async def test_closing_the_stream_closes_the_connection_at_once(upstream, scripted_model):
    scripted_model.hang(after="In")
    events = upstream.speak(HELLO)
    await anext(events)

    await events.aclose()

    assert await scripted_model.requests[-1].left(within_s=1)


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


async def test_connecting_is_tried_again():
    server = ScriptedServer(port=free_port())
    slept = []
    with ExitStack() as stack:

        async def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 2:
                stack.enter_context(server)

        model = UpstreamModel(base_url=f"http://127.0.0.1:{server.port}/v1", connect_tries=4, sleep=sleep)

        assert "echo: Hello." == text_of(await step(model))
        await model.aclose()
    assert 1 == len(server.requests)
    assert 2 == len(slept)


async def test_a_server_that_is_not_there():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    model = UpstreamModel(base_url=f"http://127.0.0.1:{free_port()}/v1", api_key=KEY, connect_tries=4, sleep=sleep)

    error = await refused(model)

    assert isinstance(error, UpstreamRefused)
    assert not error.heard
    assert 2 == len(slept)
    assert all(0 <= seconds <= 0.5 for seconds in slept)
    await model.aclose()


async def test_a_server_of_another_kind(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url.replace("http:", "https:"))

    assert not (await refused(model)).heard
    await model.aclose()


async def test_text_that_is_no_unicode(upstream, scripted_model):
    assert isinstance(await refused(upstream, Prompt("scripted", "", (user("\ud800"),))), InvalidRequest)
    assert [] == scripted_model.requests


def entries(*names):
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


async def test_the_default_is_listed_first(scripted_model):
    scripted_model.listed = entries("a", "nomic-embed-text", "b")

    for configured, listed in ((None, ["a", "b"]), ("b", ["b", "a"]), ("c", ["c", "a", "b"])):
        model = UpstreamModel(base_url=scripted_model.base_url, model=configured)

        assert listed == [card.name for card in await model.models()]
        await model.aclose()


async def test_a_server_that_does_not_say_what_it_has(upstream, scripted_model):
    scripted_model.listed = None

    assert () == await upstream.models()


@pytest.mark.parametrize("listed", ["nonsense", {"data": 5}])
async def test_a_list_that_cannot_be_read(upstream, scripted_model, listed):
    scripted_model.listed = listed

    with pytest.raises(UpstreamRefused):
        await upstream.models()


async def test_a_list_that_is_refused(upstream, scripted_model):
    scripted_model.listing_status = 401

    with pytest.raises(UpstreamRefused) as error:
        await upstream.models()

    assert not error.value.heard


async def test_the_configured_model_is_asked_where_none_is_named(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url, model="b")

    await step(model, Prompt(None, "", (user("Hello."),)))

    assert "b" == scripted_model.requests[-1].body["model"]
    assert 0 == scripted_model.listings
    await model.aclose()


async def test_else_the_first_one_listed_which_is_looked_up_once(upstream, scripted_model):
    scripted_model.listed = entries("nomic-embed-text", "a", "b")
    unnamed = Prompt(None, "", (user("Hello."),))

    await step(upstream, unnamed)
    await step(upstream, unnamed)

    assert ["a", "a"] == [asked.body["model"] for asked in scripted_model.requests]
    assert 1 == scripted_model.listings


async def test_a_first_one_that_is_gone_is_looked_up_again(upstream, scripted_model):
    unnamed = Prompt(None, "", (user("Hello."),))
    await step(upstream, unnamed)
    scripted_model.listed = entries("b")
    scripted_model.fail(404, "model 'scripted' not found")

    assert isinstance(await refused(upstream, unnamed), UpstreamRefused)
    await step(upstream, unnamed)

    assert "b" == scripted_model.requests[-1].body["model"]


async def test_no_model_at_all(upstream, scripted_model):
    scripted_model.listed = entries()

    error = await refused(upstream, Prompt(None, "", (user("Hello."),)))

    assert not error.heard
    assert "LIBRARIAN_UPSTREAM__MODEL" in str(error)


async def test_the_window_of_a_model(upstream, scripted_model):
    scripted_model.listed = {"data": [{"id": "a", "max_model_len": 8192, "created": 3}]}

    assert (ModelCard("a", 8192, 3),) == await upstream.models()


def test_a_loop_that_ends_takes_its_connections_along(scripted_model):
    model = UpstreamModel(base_url=scripted_model.base_url)

    for _ in range(2):
        assert "echo: Hello." == text_of(asyncio.run(step(model)))

    assert 2 == len({asked.peer for asked in scripted_model.requests})


async def test_what_was_sent_can_be_read_back(upstream, scripted_model):
    scripted_model.call("get_weather", {"place": "Paris"})

    events = await step(upstream)

    assert {"place": "Paris"} == json.loads("".join(getattr(event, "arguments", "") for event in events))
    assert {"stream": True, "model": "scripted"}.items() <= scripted_model.requests[-1].body.items()
