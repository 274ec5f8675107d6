"""What Letta does in its own way, and what of it a client sees."""

import pytest

from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Purpose
from librarian.domain.prompt import Sampling
from librarian.domain.transcript import Image, Message, Role, assistant, user
from librarian.domain.turn import Ignored, Reasoned, StopReason, TextSpoken
from tests.letta.talk import opened, said, shown, spoken_of, taken

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
async def house(letta, tmp_path):
    house = opened(letta, tmp_path)
    yield house
    await house.lifetime().aclose()


def words(events):
    return "".join(fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments)


async def test_a_compaction_is_not_told(house, letta):
    chat = [user("My cat is called Bertrand.")]
    for number in range(4):
        chat += [await said(house, *chat), user(f"And {number}?")]
    async with letta.client() as client:
        (agent,) = (await client.get("/v1/agents/", params={"tags": "librarian"})).json()
        await client.patch(f"/v1/agents/{agent['id']}", json={"context_window_limit": 5000})
    letta.model.forget()
    letta.model.say("Indeed.", usage=(4600, 10))
    letta.model.say("They spoke of a cat.")
    events = await taken(house, *chat)

    assert "Indeed." == words(events)
    assert 2 == len(letta.model.requests)
    letta.model.forget()
    chat += [assistant("Indeed."), user("And now?")]
    assert "echo: And now?" == (await said(house, *chat)).text
    (request,) = letta.model.requests
    assert "They spoke of a cat." in str(request.messages[1])
    assert spoken_of(*chat)[-3:] == shown(request)[-3:]
    assert 1 == str(request.messages).count("And now?")
    letta.model.forget()
    await said(house, *chat[:-3], user("Something else."))
    assert [spoken_of(*chat[:-3], user("Something else."))] == [shown(request) for request in letta.model.requests]


async def test_an_answer_that_met_its_limit(house, letta):
    letta.model.say("One, two,", usage=(11, 7), finish="length")
    events = await taken(house, user("Count."), sampling=Sampling(7, {"max_tokens": b"7"}))

    assert StopReason.LENGTH is events[-1].reason


async def test_thoughts_are_not_words(house, letta):
    letta.model.say("Yes.", reasoning="Hmm.")
    events = await taken(house, user("Is it so?"))

    assert "Yes." == words(events)
    assert "Hmm." == "".join(word for event in events if isinstance(event, Reasoned) for word in event.fragments)


async def test_a_picture_reaches_the_model(house, letta):
    url = f"data:image/png;base64,{PNG}"
    await said(house, Message(Role.USER, "What is it?", ("What is it?", Image(url))))

    parts = letta.model.requests[-1].messages[-1]["content"]
    assert [url] == [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


async def test_no_picture_is_fetched(house, letta):
    first = await said(house, user("Hello."))
    address = Image("https://example.com/cat.png")
    with pytest.raises(InvalidRequest) as refused:
        await said(house, user("Hello."), first, Message(Role.USER, "Look.", ("Look.", address)))
    assert "messages.[2].content.[1].image_url" == refused.value.param
    letta.model.forget()
    await said(house, user("Hello."), first, user("Never mind."))

    assert [spoken_of(user("Hello."), first, user("Never mind."))] == [shown(one) for one in letta.model.requests]


async def test_a_task_leaves_no_thread(house, letta):
    letta.model.say("A title.")
    reply = await said(house, user("Name this chat."), purpose=Purpose.TASK)
    async with letta.client() as client:
        agents = (await client.get("/v1/agents/", params={"tags": "librarian"})).json()
        chats = [
            chat
            for agent in agents
            for chat in (await client.get("/v1/conversations/", params={"agent_id": agent["id"]})).json()
        ]

    assert "A title." == reply.text
    assert [("user", "Name this chat.")] == shown(letta.model.requests[-1])
    assert [] == chats


async def test_what_letta_cannot_do_is_named(house, letta):
    asked = dict.fromkeys(("n", "seed", "top_p", "presence_penalty", "temperature"), b"1")
    events = await taken(house, user("Hello."), sampling=Sampling(None, asked))

    (ignored,) = [event for event in events if isinstance(event, Ignored)]
    assert {"seed", "top_p", "presence_penalty"} <= set(ignored.names)
    assert "temperature" not in ignored.names


async def test_what_letta_cannot_do_is_refused_where_that_is_wished(letta, tmp_path):
    house = opened(letta, tmp_path, strict=True)
    with pytest.raises(InvalidRequest) as refused:
        await taken(house, user("Hello."), sampling=Sampling(None, {"temperature": b"1", "seed": b"1"}))
    await said(house, user("Hello."), sampling=Sampling(None, {"temperature": b"1", "stop": b'"x"'}))
    await house.lifetime().aclose()

    assert ("seed", "unsupported_parameter") == (refused.value.param, refused.value.code)
    assert 1 == len(letta.model.requests)
