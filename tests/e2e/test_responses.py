"""Responses and conversations through the official client, against a running server on a real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from dependency_injector import providers

from librarian.container import House
from librarian.domain.errors import UpstreamRefused
from librarian.domain.identity import LOCAL
from librarian.domain.transcript import assistant, user
from librarian.domain.turn import StopReason, TextSpoken, ToolCalled
from librarian.settings import Settings
from librarian.testing import ScriptedModel
from tests.fakes.overheard import Overheard, called, ended
from tests.unit.edge_house import served

pytestmark = pytest.mark.e2e
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": False,
}


@pytest.fixture
def model():
    return Overheard(ScriptedModel())


@pytest.fixture
async def house(tmp_path, model) -> AsyncIterator[House]:
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path))
    house.model.override(providers.Object(model))
    yield house
    await house.lifetime().aclose()


@pytest.fixture
async def client(house):
    async with speaking(house) as client:
        yield client


@asynccontextmanager
async def speaking(house):
    async with (
        served(house.front_door()) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def says(model, *texts):
    model.acts += [[TextSpoken((text,)), ended()] for text in texts]


def shown(model):
    return [(message.role.value, message.text) for message in model.prompts[-1].messages]


async def refused(kind, awaitable):
    with pytest.raises(kind) as refusal:
        await awaitable
    return refusal.value.body


async def test_a_response_is_answered_kept_and_gone_on_from(client, model):
    says(model, "Bertrand.", "Still Bertrand.")
    first = await client.responses.create(
        model="librarian", input="What is my cat called?", instructions="Be brief.", metadata={"for": "a test"}
    )
    second = await client.responses.create(model="librarian", input="And now?", previous_response_id=first.id)

    assert ("completed", "Bertrand.") == (first.status, first.output_text)
    assert first == await client.responses.retrieve(first.id)
    assert [user("What is my cat called?"), assistant("Bertrand."), user("And now?")] == list(
        model.prompts[-1].messages
    )
    assert "Be brief." in model.prompts[0].system
    assert "Be brief." not in model.prompts[1].system
    assert (first.id, "Still Bertrand.") == (second.previous_response_id, second.output_text)


async def test_from_one_response_two_branches_go_on(client, model):
    says(model, "One.", "Two.", "Three.")
    first = await client.responses.create(model="librarian", input="a")
    await client.responses.create(model="librarian", input="b", previous_response_id=first.id)
    await client.responses.create(model="librarian", input="c", previous_response_id=first.id)

    assert [("user", "a"), ("assistant", "One."), ("user", "c")] == shown(model)


async def test_a_system_message_in_the_input_stays_and_instructions_do_not(client, model):
    said = [{"role": "developer", "content": "Answer like a pirate."}, {"role": "user", "content": "Hello."}]
    first = await client.responses.create(model="librarian", input=said, instructions="Only now.")
    await client.responses.create(model="librarian", input="Again.", previous_response_id=first.id)

    assert "Answer like a pirate." in model.prompts[-1].system
    assert "Only now." not in model.prompts[-1].system


async def test_a_stream_has_every_event_in_its_place(client, model):
    model.acts.append([TextSpoken(("In", "deed")), TextSpoken((".",)), ended()])
    stream = await client.responses.create(model="librarian", input="Hello.", stream=True)
    events = [event async for event in stream]

    assert [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ] == [event.type for event in events]
    assert list(range(len(events))) == [event.sequence_number for event in events]
    assert "Indeed." == "".join(event.delta for event in events if event.type == "response.output_text.delta")
    final = events[-1].response
    assert final == await client.responses.retrieve(final.id)
    again = [event async for event in await client.responses.retrieve(final.id, stream=True, starting_after=3)]
    assert ("Indeed.", final) == (again[0].delta, again[-1].response)


async def test_a_tool_of_the_clients_is_called_and_answered(client, model):
    model.acts += [
        [called("get_weather", '{"place": "Paris"}'), ended(StopReason.TOOL_CALLS)],
        [TextSpoken(("Sunny.",)), ended()],
    ]
    first = await client.responses.create(model="librarian", input="Weather in Paris?", tools=[WEATHER])
    (call,) = first.output
    second = await client.responses.create(
        model="librarian",
        previous_response_id=first.id,
        tools=[WEATHER],
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
    )

    assert ("function_call", "get_weather", '{"place": "Paris"}') == (call.type, call.name, call.arguments)
    assert "Sunny." == second.output_text
    assert [("user", "Weather in Paris?"), ("assistant", ""), ("tool", "sunny")] == shown(model)


async def test_tools_that_the_house_runs_are_no_items(client, model):
    note = ToolCalled(0, "call_1", "memory_insert", '{"label": "human", "new_string": "Ada."}')
    model.acts += [[note, ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    response = await client.responses.create(model="librarian", input="I am Ada.")

    assert ["message"] == [item.type for item in response.output]


async def test_an_unanswered_call_is_refused_by_the_name_of_the_input(client, model):
    model.acts.append([called("get_weather", "{}"), ended(StopReason.TOOL_CALLS)])
    first = await client.responses.create(model="librarian", input="Weather?", tools=[WEATHER])
    body = await refused(
        openai.BadRequestError,
        client.responses.create(model="librarian", input="Never mind.", previous_response_id=first.id),
    )

    assert "input" == body["param"]


async def test_what_was_not_kept_cannot_be_gone_on_from(client):
    silent = await client.responses.create(model="librarian", input="Hello.", store=False)
    for unknown in (silent.id, "resp_0123456789abcdef01234567", "nonsense"):
        body = await refused(
            openai.NotFoundError,
            client.responses.create(model="librarian", input="And?", previous_response_id=unknown),
        )
        assert ("previous_response_id", "not_found") == (body["param"], body["code"])
        await refused(openai.NotFoundError, client.responses.retrieve(unknown))


async def test_somebody_elses_response_is_as_unknown_as_none(client):
    first = await client.responses.create(model="librarian", input="Hello.", user="ada")
    body = await refused(
        openai.NotFoundError,
        client.responses.create(model="librarian", input="And?", previous_response_id=first.id, user="ben"),
    )
    other = await refused(
        openai.NotFoundError, client.responses.retrieve(first.id, extra_headers={"X-OpenWebUI-User-Id": "ben"})
    )

    assert f"There is no response with the id '{first.id}'." == body["message"] == other["message"]
    assert first == await client.responses.retrieve(first.id)


async def test_both_points_at_once_are_refused(client):
    body = await refused(
        openai.BadRequestError,
        client.responses.create(model="librarian", input="x", previous_response_id="resp_1", conversation="conv_1"),
    )

    assert "previous_response_id" == body["param"]


async def test_what_was_said_is_named_by_reference(client, model):
    says(model, "I am the Librarian.")
    first = await client.responses.create(model="librarian", input="Who are you?")
    news = [
        {"role": "user", "content": "Who are you?"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "And who am I?"},
    ]
    await client.responses.create(model="librarian", input=news)
    unknown = [{"type": "item_reference", "id": "msg_0123456789abcdef01234567fff0"}]
    body = await refused(openai.NotFoundError, client.responses.create(model="librarian", input=unknown))

    assert [("user", "Who are you?"), ("assistant", "I am the Librarian."), ("user", "And who am I?")] == shown(model)
    assert "input" == body["param"]


async def test_a_conversation_is_kept_and_gone_on_with(client, model):
    says(model, "Hello Ada.", "You are Ada.")
    kept = await client.conversations.create(
        metadata={"topic": "names"}, items=[{"role": "user", "content": "I am Ada."}]
    )
    await client.responses.create(model="librarian", input="Hello.", conversation=kept.id)
    await client.responses.create(model="librarian", input="Who am I?", conversation=kept.id)
    items = [item async for item in client.conversations.items.list(kept.id, order="asc", limit=2)]

    assert ["I am Ada.", "Hello.", "Hello Ada.", "Who am I?", "You are Ada."] == [i.content[0].text for i in items]
    assert [("user", "I am Ada."), ("user", "Hello."), ("assistant", "Hello Ada."), ("user", "Who am I?")] == shown(
        model
    )
    assert kept == await client.conversations.retrieve(kept.id)
    assert items[2] == await client.conversations.items.retrieve(items[2].id, conversation_id=kept.id)


async def test_an_item_that_is_deleted_was_never_said(client, model):
    kept = await client.conversations.create(items=[{"role": "user", "content": "I am Ada."}])
    await client.responses.create(model="librarian", input="Hello.", conversation=kept.id)
    first, *rest = [item async for item in client.conversations.items.list(kept.id, order="asc")]
    await client.conversations.items.delete(first.id, conversation_id=kept.id)
    left = [item async for item in client.conversations.items.list(kept.id, order="asc")]
    await client.responses.create(model="librarian", input="Who am I?", conversation=kept.id)
    after = [item async for item in client.conversations.items.list(kept.id, order="asc")]

    assert rest == left
    assert [("user", "Hello."), ("assistant", "Indeed."), ("user", "Who am I?")] == shown(model)
    assert rest == after[:2]


async def test_a_conversation_that_is_deleted_is_gone_for_good(client, house, model):
    kept = await client.conversations.create()
    response = await client.responses.create(model="librarian", input="A secret: plugh.", conversation=kept.id)
    await client.conversations.delete(kept.id)
    await client.responses.create(model="librarian", input="What was the secret? plugh")

    assert "secret: plugh" not in model.prompts[-1].system
    await refused(openai.NotFoundError, client.conversations.retrieve(kept.id))
    await refused(openai.NotFoundError, client.responses.retrieve(response.id))
    assert b"secret: plugh" not in house.database().path.read_bytes()


async def test_a_chat_is_gone_on_with_as_a_conversation_and_back(client, model):
    says(model, "Hello Ada.", "You are Ada.", "Still Ada.")
    raw = await client.chat.completions.with_raw_response.create(
        model="librarian", messages=[{"role": "user", "content": "I am Ada."}]
    )
    name = raw.headers["x-librarian-conversation"]
    await client.responses.create(model="librarian", input="Who am I?", conversation=name)
    chat = [("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Who am I?"), ("assistant", "You are Ada.")]
    back = await client.chat.completions.with_raw_response.create(
        model="librarian",
        messages=[*({"role": role, "content": text} for role, text in chat), {"role": "user", "content": "Sure?"}],
        extra_headers={"X-Librarian-Debug": "1"},
    )

    assert (name, "Continue") == (back.headers["x-librarian-conversation"], back.headers["x-librarian-plan"])
    assert [*chat, ("user", "Sure?")] == shown(model)


async def test_turns_of_one_conversation_are_taken_one_by_one(client, model):
    kept = await client.conversations.create()
    await asyncio.gather(
        *(client.responses.create(model="librarian", input=f"n{n}", conversation=kept.id) for n in range(8))
    )
    items = [item async for item in client.conversations.items.list(kept.id, order="asc")]

    said = [(item.role, item.content[0].text) for item in items]
    assert {f"n{n}" for n in range(8)} == {text for role, text in said if role == "user"}
    assert ["user", "assistant"] * 8 == [role for role, _ in said]
    assert said[:-1] == shown(model)


async def test_in_the_background_a_response_is_queued_answered_and_cancelled(client, house, model):
    says(model, "Done.")
    asked = await client.responses.create(model="librarian", input="Take your time.", background=True)
    frames = [event async for event in await client.responses.retrieve(asked.id, stream=True)]
    done = await client.responses.retrieve(asked.id)
    async with house.leases().hold(LOCAL.id, None):
        seats = [house.leases().ask(LOCAL.id, None) for _ in range(255)]
        queued = await client.responses.create(model="librarian", input="Later.", background=True)
        cancelled = await client.responses.cancel(queued.id)
        for seat in seats:
            house.leases().give_back(seat)

    assert ("queued", "completed", "Done.") == (asked.status, done.status, done.output_text)
    assert "response.completed" == frames[-1].type
    assert ("queued", "cancelled") == (queued.status, cancelled.status)
    assert "cancelled" == (await client.responses.retrieve(queued.id)).status


async def test_one_that_fails_in_the_background_says_so(client, model):
    model.acts.append([UpstreamRefused("No.", heard=False)])
    asked = await client.responses.create(model="librarian", input="Try.", background=True)
    async for _ in await client.responses.retrieve(asked.id, stream=True):
        pass
    failed = await client.responses.retrieve(asked.id)

    assert ("failed", "server_error") == (failed.status, failed.error.code)


async def test_one_that_was_under_way_when_the_gateway_stopped_has_failed(tmp_path, model):
    never = asyncio.Event()
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path))
    waiting = ScriptedModel()
    waiting.wait(never)
    house.model.override(providers.Object(waiting))
    async with speaking(house) as client:
        asked = await client.responses.create(model="librarian", input="Wait.", background=True)
    again = House(settings=Settings(_env_file=None, data_dir=tmp_path))
    again.model.override(providers.Object(model))
    async with speaking(again) as client:
        found = await client.responses.retrieve(asked.id)

    assert found.status in {"failed", "cancelled"}


async def test_a_stream_that_breaks_says_so_in_its_own_words(client, model):
    model.acts.append([TextSpoken(("Half",)), UpstreamRefused("It broke off.", heard=True)])
    stream = await client.responses.create(model="librarian", input="Hello.", stream=True)
    failed, error = [event async for event in stream][-2:]

    assert ("response.failed", "failed") == (failed.type, failed.response.status)
    assert ("error", "upstream_refused", "It broke off.") == (error.type, error.code, error.message)


async def test_a_history_is_counted_and_made_short(client, model):
    says(model, "Ada has a dog.")
    history = [{"role": "user", "content": "I am Ada."}, {"role": "assistant", "content": "Hello."}]
    counted = await client.responses.input_tokens.count(model="librarian", input=history)
    short = await client.responses.compact(model="librarian", input=history)
    kept = [item.model_dump(exclude_none=True, warnings=False) for item in short.output]
    await client.responses.create(model="librarian", input=[*kept, {"role": "user", "content": "And?"}])

    assert counted.input_tokens > 5
    assert ["message", "compaction"] == [item.type for item in short.output]
    assert ["I am Ada.", "Earlier in this conversation:\nAda has a dog.", "And?"] == [
        message.text for message in model.prompts[-1].messages
    ]
