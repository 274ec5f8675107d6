"""Many at once, on one Letta: chats, requests of one chat, and gateways."""

import asyncio
from collections import Counter

import pytest

from librarian.domain.transcript import assistant, user
from tests.letta.talk import opened, said, shown, spoken_of, taken

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]


@pytest.fixture
async def house(letta, tmp_path):
    house = opened(letta, tmp_path)
    yield house
    await house.lifetime().aclose()


def all_shown(letta):
    return Counter(tuple(shown(request)) for request in letta.model.requests)


async def test_sixteen_chats_keep_apart(house, letta):
    async def chat(name):
        first = await said(house, user(f"{name} begins."))
        await said(house, user(f"{name} begins."), first, user(f"{name} goes on."))
        return [
            spoken_of(user(f"{name} begins.")),
            spoken_of(user(f"{name} begins."), first, user(f"{name} goes on.")),
        ]

    chats = await asyncio.gather(*(chat(f"Chat {number}") for number in range(16)))

    assert Counter(tuple(expected) for both in chats for expected in both) == all_shown(letta)


@pytest.mark.parametrize("news", [("One way.", "Another way."), ("The same.", "The same.")])
async def test_two_requests_of_one_chat_at_once(house, letta, news):
    first = await said(house, user("Hello."))
    letta.model.forget()
    both = await asyncio.gather(*(taken(house, user("Hello."), first, user(text)) for text in news))
    replies = [f"echo: {text}" for text in news]

    assert ["Branch", "Continue"] == sorted(events[0].plan for events in both)
    expected = [spoken_of(user("Hello."), first, user(text)) for text in news]
    assert Counter(map(tuple, expected)) == all_shown(letta)
    letta.model.forget()
    for text, reply in zip(news, replies, strict=True):
        await said(house, user("Hello."), first, user(text), assistant(reply), user("And then?"))
    expected = [
        spoken_of(user("Hello."), first, user(text), assistant(reply), user("And then?"))
        for text, reply in zip(news, replies, strict=True)
    ]
    assert expected == [shown(request) for request in letta.model.requests]


@pytest.mark.parametrize("folders", [("one", "one"), ("one", "other")], ids=["one store", "two stores"])
async def test_two_gateways(letta, tmp_path, folders):
    """A person's chat and memory go on in either."""
    houses = [opened(letta, tmp_path / folder) for folder in folders]
    for number, house in enumerate(houses):
        letta.model.call("memory_insert", {"label": "human", "new_string": f"Fact {number}."})
        await said(house, user(f"Note fact {number}."))
    letta.model.forget()
    chat = [user("Hello.")]
    for turn in range(4):
        chat += [await said(houses[turn % 2], *chat), user(f"Turn {turn}.")]
    async with letta.client() as client:
        agents = (await client.get("/v1/agents/", params={"tags": "librarian"})).json()
    for house in houses:
        await house.lifetime().aclose()

    assert 1 == len(agents)
    assert [spoken_of(*chat[: 2 * turn + 1]) for turn in range(4)] == [shown(one) for one in letta.model.requests]
    for request in letta.model.requests[-2:]:
        assert ["Fact 0.", "Fact 1."] == sorted({"Fact 0.", "Fact 1."} & set(_lines(request)))


@pytest.mark.parametrize("folders", [("one", "one"), ("one", "other")], ids=["one store", "two stores"])
async def test_two_gateways_at_once(letta, tmp_path, folders):
    houses = [opened(letta, tmp_path / folder) for folder in folders]
    for house in houses:
        await said(house, user("Hello."))
    for number in range(6):
        letta.model.when(lambda asked, n=number: asked.messages[-1]["content"] == f"Note fact {n}.").call(
            "memory_insert", {"label": "human", "new_string": f"This is fact {number}."}
        )
    await asyncio.gather(*(said(houses[number % 2], user(f"Note fact {number}.")) for number in range(6)))
    for house in houses * 2:
        await said(house, user("What do you know?"))
    last = letta.model.requests[-2:]
    for house in houses:
        await house.lifetime().aclose()

    for request in last:
        assert [] == [n for n in range(6) if f"This is fact {n}." not in _lines(request)]


def _lines(request):
    return request.messages[0]["content"].splitlines()
