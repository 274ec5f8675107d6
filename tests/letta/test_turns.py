"""Turns through the whole house, with agents in a real Letta server; what the model was shown is in its request log."""

import asyncio
import json
from contextlib import aclosing

import pytest

from librarian.application.ports.memory import AgentKey
from librarian.domain.errors import LibrarianError
from librarian.domain.identity import LOCAL, owner_of
from librarian.domain.prompt import DEFAULT_BLOCKS, Sampling
from librarian.domain.tools import ClientTools, ToolSpec
from librarian.domain.transcript import Message, Role, assistant, user
from librarian.domain.turn import TurnBegan, TurnEnded
from tests.letta.spoken import text_of
from tests.letta.talk import ask, opened, said, shown, taken

pytestmark = pytest.mark.live
WEATHER = ClientTools(
    (ToolSpec("get_weather", "Weather.", '{"type":"object","properties":{"place":{"type":"string"}}}'),)
)


@pytest.fixture
async def house(letta, tmp_path):
    house = opened(letta, tmp_path)
    yield house
    await house.lifetime().aclose()


async def test_a_chat_of_twenty_turns_costs_twenty_calls_and_doubles_nothing(house, letta):
    chat = []
    for number in range(20):
        chat.append(user(f"Question {number}."))
        letta.model.say(f"Answer {number}.")
        reply = await said(house, *chat)
        assert f"Answer {number}." == reply.text
        chat.append(assistant(reply.text))

    assert 20 == len(letta.model.requests)
    for number, request in enumerate(letta.model.requests):
        expected = [(message.role.value, message.text) for message in chat[: 2 * number + 1]]
        assert expected == shown(request)


async def test_the_system_message_is_the_houses_with_the_clients_in_it(house, letta):
    await said(house, Message(Role.SYSTEM, "Answer like a pirate."), user("Hello."))

    system = [m for m in letta.model.requests[-1].messages if m["role"] == "system"]
    assert 1 == len(system)
    assert "Answer like a pirate." in system[0]["content"]
    assert "[API]" in system[0]["content"]
    assert '<block label="human"' in system[0]["content"]


async def test_a_regenerate_and_an_edit_show_the_clients_transcript(house, letta):
    letta.model.say("One.")
    letta.model.say("Two.")
    letta.model.say("Two again.")
    letta.model.say("Three.")
    chat = [user("a"), assistant((await said(house, user("a"))).text)]
    await said(house, *chat, user("b"))
    await said(house, *chat, user("b"))
    events = await taken(house, *chat, user("c"))

    assert "Branch" == events[0].plan
    before = [("user", "a"), ("assistant", "One.")]
    assert [[*before, ("user", "b")], [*before, ("user", "b")], [*before, ("user", "c")]] == [
        shown(request) for request in letta.model.requests[1:]
    ]


async def test_an_unknown_history_is_told_once_and_gone_on_from(house, letta):
    history = [user("a"), assistant("b"), user("c"), assistant("d")]
    first = await taken(house, *history, user("e"))
    reply = letta.model.requests[-1]
    echoed = "echo: e"
    second = await taken(house, *history, user("e"), assistant(echoed), user("f"))

    assert ("Rebuild", "Continue") == (first[0].plan, second[0].plan)
    assert [(m.role.value, m.text) for m in [*history, user("e")]] == shown(reply)
    assert [("user", "e"), ("assistant", echoed), ("user", "f")] == shown(letta.model.requests[-1])[-3:]
    assert 2 == len(letta.model.requests)


async def test_a_fact_is_known_in_the_next_chat_and_to_nobody_else(house, letta):
    letta.model.call("memory_insert", {"label": "human", "new_string": "Her cat is called Bertrand."})
    letta.model.say("Noted.")
    assert "Noted." == (await said(house, user("My cat is called Bertrand."))).text

    await said(house, user("What is my cat called?"))
    assert "Bertrand" in letta.model.requests[-1].messages[0]["content"]
    await said(house, user("What is my cat called?"), person="Grace")
    assert "Bertrand" not in json.dumps(letta.model.requests[-1].messages)


async def test_sixteen_chats_at_once_store_sixteen_facts(house, letta):
    def notes(asked):
        return asked.messages[-1]["role"] == "user"

    for number in range(16):
        letta.model.when(lambda asked, n=number: notes(asked) and f"fact {n}." in text_of(asked.messages[-1])).call(
            "memory_insert", {"label": "human", "new_string": f"This is fact {number}."}
        )
    await asyncio.gather(*(said(house, user(f"Note fact {number}.")) for number in range(16)))

    memory = house.memory()
    agent = await memory.agent(AgentKey("librarian", owner_of(LOCAL, person="Ada")), DEFAULT_BLOCKS)
    human = next(block.value for block in await memory.blocks(agent) if block.label == "human")
    assert {f"This is fact {n}." for n in range(16)} == set(human.split("\n"))
    ref = await house.threads().agent(house.settings().letta.address, agent)
    theirs = await house.letta().memory.block(ref, "human")
    assert human == theirs.value


async def test_a_tool_loop_of_the_clients(house, letta):
    letta.model.calls(("get_weather", {"place": "Paris"}), ("get_weather", {"place": "Rome"}))
    letta.model.say("Sunny and wet.")
    reply = await said(house, user("Weather?"), tools=WEATHER)
    results = [Message(Role.TOOL, text, answers=c.id) for text, c in zip(("sunny", "wet"), reply.calls, strict=True)]
    final = await said(house, user("Weather?"), reply, *results, tools=WEATHER)

    assert [{"place": "Paris"}, {"place": "Rome"}] == [json.loads(call.arguments) for call in reply.calls]
    assert "Sunny and wet." == final.text
    assert ["user", "assistant", "tool", "tool"] == [role for role, _ in shown(letta.model.requests[-1])]
    assert ["sunny", "wet"] == [text for role, text in shown(letta.model.requests[-1]) if role == "tool"]


async def test_both_kinds_of_calls_in_one_step(house, letta):
    letta.model.calls(
        ("memory_insert", {"label": "human", "new_string": "Ada is in Paris."}), ("get_weather", {"place": "Paris"})
    )
    letta.model.say("Sunny.")
    reply = await said(house, user("Weather?"), tools=WEATHER)
    assert ["get_weather"] == [call.name for call in reply.calls]
    result = Message(Role.TOOL, "sunny", answers=reply.calls[0].id)
    assert "Sunny." == (await said(house, user("Weather?"), reply, result, tools=WEATHER)).text
    assert "Ada is in Paris." in letta.model.requests[-1].messages[0]["content"]


async def test_a_new_topic_instead_of_an_answer_is_another_branch(house, letta):
    letta.model.say("Hi.")
    letta.model.call("get_weather", {"place": "Paris"})
    letta.model.say("Fine.")
    first = await said(house, user("Hello."))
    await said(house, user("Hello."), first, user("Weather?"), tools=WEATHER)
    await said(house, user("Hello."), first, user("Never mind."))

    assert [("user", "Hello."), ("assistant", "Hi."), ("user", "Never mind.")] == shown(letta.model.requests[-1])


async def test_sampling_reaches_the_model_and_a_stop_cuts(house, letta):
    letta.model.say("One, two, STOP three.")
    reply = await said(
        house, user("Count."), sampling=Sampling(50, {"temperature": b"0.25", "stop": b'["STOP"]', "max_tokens": b"50"})
    )

    assert "One, two, " == reply.text
    body = letta.model.requests[-1].body
    assert (0.25, 50) == (body["temperature"], body.get("max_completion_tokens") or body.get("max_tokens"))
    await said(house, user("Count."), reply, user("Go on."))
    assert [("user", "Count."), ("assistant", "One, two, "), ("user", "Go on.")] == shown(letta.model.requests[-1])


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_model_that_refuses_is_an_error_and_the_turn_can_be_taken_again(house, letta, status):
    first = await said(house, user("Hello."))
    letta.model.forget()
    for _ in range(4):
        letta.model.fail(status)
    with pytest.raises(LibrarianError):
        await said(house, user("Hello."), first, user("Are you there?"))
    letta.model.forget()
    await said(house, user("Hello."), first, user("Are you there?"))

    assert [("user", "Hello."), ("assistant", first.text), ("user", "Are you there?")] == shown(
        letta.model.requests[-1]
    )


async def test_a_thread_deleted_behind_our_back_is_rebuilt(house, letta):
    first = await said(house, user("Hello."))
    async with letta.client() as client:
        for agent in (await client.get("/v1/agents/", params={"tags": "librarian"})).json():
            for chat in (await client.get("/v1/conversations/", params={"agent_id": agent["id"]})).json():
                await client.delete(f"/v1/conversations/{chat['id']}")
    await said(house, user("Hello."), first, user("Still there?"))

    assert [("user", "Hello."), ("assistant", first.text), ("user", "Still there?")] == shown(letta.model.requests[-1])


async def test_an_agent_deleted_behind_our_back_is_made_anew_with_its_memory(house, letta):
    letta.model.call("memory_insert", {"label": "human", "new_string": "Her cat is called Bertrand."})
    letta.model.say("Noted.")
    first = await said(house, user("My cat is called Bertrand."))
    async with letta.client() as client:
        for agent in (await client.get("/v1/agents/", params={"tags": "librarian"})).json():
            await client.delete(f"/v1/agents/{agent['id']}")
    await said(house, user("My cat is called Bertrand."), first, user("Still there?"))

    assert "Bertrand" in letta.model.requests[-1].messages[0]["content"]
    assert ("user", "Still there?") == shown(letta.model.requests[-1])[-1]


async def test_a_reader_who_leaves_leaves_nothing_behind(house, letta):
    first = await said(house, user("Hello."))
    letta.model.hang(after="In")
    async with aclosing(house.converse()(ask(user("Hello."), first, user("Go on.")))) as events:
        async for event in events:
            if not isinstance(event, TurnBegan):
                break
    letta.model.forget()
    events = await taken(house, user("Hello."), first, user("Something else."))

    assert isinstance(events[-1], TurnEnded)
    assert [("user", "Hello."), ("assistant", first.text), ("user", "Something else.")] == shown(
        letta.model.requests[-1]
    )
