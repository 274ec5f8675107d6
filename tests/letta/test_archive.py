"""What others keep in an agent's archive in Letta, and what the agent finds of it."""

import asyncio
import json

import pytest

from librarian.adapters.letta import blocks
from librarian.application.ports.memory import AgentKey
from librarian.domain.identity import LOCAL, owner_of
from librarian.domain.prompt import DEFAULT_BLOCKS
from librarian.domain.transcript import Role, user
from tests.letta.proxy import standing_before
from tests.letta.talk import opened, said

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]
SEARCH = "GET .*/archival-memory/search$"


@pytest.fixture
async def proxy(letta):
    async with standing_before(letta.base_url) as proxy:
        yield proxy


@pytest.fixture
async def open_house(letta, proxy, tmp_path):
    houses = []

    def open_one(folder="house"):
        houses.append(opened(letta, tmp_path / folder, at=proxy.url))
        return houses[-1]

    yield open_one
    proxy.mend()
    for house in houses:
        await house.lifetime().aclose()


async def put_by_in_letta(house, text, *tags):
    """By somebody who knows nothing of the house."""
    agent = await house.memory().agent(AgentKey("librarian", owner_of(LOCAL, person="Ada")), DEFAULT_BLOCKS)
    ref = await house.threads().agent(house.settings().letta.address, agent)
    await house.letta().memory.put_by(ref, text, tags)


async def found(house, letta, query="animals", **more):
    """What the agent reads of the archive, and that it answers."""
    letta.model.forget()
    letta.model.call("archival_memory_search", {"query": query, **more})
    letta.model.say("So it is.")
    assert "So it is." == (await said(house, user("What do you know?"))).text
    (result,) = [m["content"] for m in letta.model.requests[-1].messages if m["role"] == Role.TOOL]
    return json.loads(result) if result.startswith("[") else result


async def told(house, letta, text, **more):
    letta.model.forget()
    letta.model.call("archival_memory_insert", {"content": text, **more})
    await said(house, user(f"Note: {text}"))
    await house.letta_memory().aclose()  # its copy is there


async def test_what_others_put_by_is_found_beside_what_the_house_did_and_nothing_twice(open_house, letta):
    house = open_house()
    await told(house, letta, "The cat of the animals is called Bertrand.", tags=["pets"])
    await put_by_in_letta(house, "The dog of the animals is called Ludwig.", "pets", "dog")
    await put_by_in_letta(house, "The cat of the animals is called Bertrand.")

    first, second = await found(house, letta)
    assert ("The cat of the animals is called Bertrand.", ["pets"]) == (first["content"], first["tags"])
    assert "source" not in first
    assert ("The dog of the animals is called Ludwig.", "Letta") == (second["content"], second["source"])
    assert {"pets", "dog"} == set(second["tags"])
    assert "just now" == second["time_ago"]

    assert [second["content"]] == [one["content"] for one in await found(house, letta, tags=["dog"])]
    assert [first["content"]] == [one["content"] for one in await found(house, letta, top_k=1)]
    assert "Nothing was found." == await found(house, letta, end_datetime="2020-01-01")


async def test_another_house_finds_what_this_one_put_by(open_house, letta):
    house, other = open_house(), open_house("other")
    await told(house, letta, "The cat is called Bertrand.", tags=["pets"])
    await said(other, user("Hello."))

    (passage,) = await found(other, letta)
    assert ("The cat is called Bertrand.", ["pets"], "Letta") == (
        passage["content"],
        passage["tags"],
        passage["source"],
    )


async def test_an_archive_that_cannot_be_searched_is_left_out(open_house, letta, proxy, monkeypatch):
    monkeypatch.setattr(blocks, "ELSEWHERE_S", 0.3)
    house = open_house()
    await told(house, letta, "The cat of the animals is called Bertrand.")

    async def never(_):
        await asyncio.Event().wait()

    for spoil in (
        lambda: proxy.fail(SEARCH, 500, b'{"detail": "SQL"}'),
        lambda: proxy.break_off(SEARCH),
        lambda: proxy.do(SEARCH, never),
    ):
        spoil()
        (passage,) = await found(house, letta)
        assert "The cat of the animals is called Bertrand." == passage["content"]
        proxy.mend()
