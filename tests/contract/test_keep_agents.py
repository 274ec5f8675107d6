"""Looking after agents is the same wherever they live."""

import pytest

from librarian.application.bootstrap import FIRST
from librarian.application.converse import Ask
from librarian.container import House
from librarian.domain.errors import AgentPaused, InvalidRequest, MemoryRefused, UnknownAgent, UnknownPassage
from librarian.domain.identity import Principal, PrincipalId
from librarian.domain.memory import BLOCK_LIMIT_CHARS
from librarian.domain.transcript import Transcript, user
from librarian.domain.turn import collected
from librarian.settings import Settings

HOUSES = ["embedded", pytest.param("letta", marks=pytest.mark.live)]


@pytest.fixture(params=HOUSES)
async def house(request, tmp_path):
    told = {"base_url": request.getfixturevalue("letta").base_url} if request.param == "letta" else {}
    opened = House(settings=Settings(_env_file=None, data_dir=tmp_path, letta=told, upstream={"discover": False}))
    yield opened
    await opened.lifetime().aclose()


@pytest.fixture
def keep(house):
    return house.keep_agents()


@pytest.fixture
async def ada(keep):
    view, made = await keep.create("librarian", "Ada")
    assert made
    return view.card.id


async def said(house, text, person="Ada"):
    ask = Ask(model="librarian", transcript=Transcript((user(text),)), person=person)
    return (await collected(house.converse()(ask))).text


async def test_bootstrap_makes_the_first_agent_once(house):
    bootstrap = house.bootstrap()
    assert (await bootstrap(dry_run=True)).changes
    assert await house.register().find(FIRST) is None
    assert (await bootstrap()).changes
    assert await house.register().find(FIRST) is not None
    again = await bootstrap()

    assert ((), ()) == (again.changes, again.troubles)


async def test_an_agent_is_listed_and_shown(keep, ada):
    await keep.create("librarian", "Ben")
    listed = await keep.list()
    rest = await keep.list(after=listed[0].card.id)

    assert ["user:Ada", "user:Ben"] == [view.card.key.owner.subject for view in listed]
    assert listed[1:] == rest
    assert listed[0] == await keep.show(ada)
    assert listed[0].model


async def test_it_is_made_once(keep, ada):
    view, made = await keep.create("librarian", "Ada")

    assert (ada, False) == (view.card.id, made)


async def test_only_what_the_catalog_knows_is_made(keep):
    with pytest.raises(InvalidRequest, match="There are: librarian"):
        await keep.create("nobody")


async def test_a_paused_agent_takes_no_turns_until_it_may(house, keep, ada):
    await said(house, "Hello.")
    await keep.pause(ada)
    with pytest.raises(AgentPaused, match="paused"):
        await said(house, "Hello?")
    assert await said(house, "Hello!", person="Ben")
    await keep.resume(ada)

    assert await said(house, "Hello again.")


async def test_a_retired_agent_comes_back_with_what_it_remembers(house, keep, ada):
    await keep.edit(ada, "human", "Ada likes tea.")
    await keep.retire(ada)
    with pytest.raises(AgentPaused, match="retired"):
        await said(house, "Hello?")
    with pytest.raises(InvalidRequest, match="Create it again"):
        await keep.resume(ada)
    _, made = await keep.create("librarian", "Ada")

    assert made
    assert "Ada likes tea." in {block.value for block in await keep.blocks(ada)}
    assert await said(house, "Hello again.")


async def test_a_forgotten_agent_remembers_nothing(house, keep, ada):
    await keep.edit(ada, "human", "Ada likes tea.")
    await keep.add_passage(ada, "Ada was born by the sea.")
    await said(house, "My zebra is called Ludwig.")
    await keep.retire(ada, forget=True)
    await keep.create("librarian", "Ada")
    database = house.settings().data_dir / "librarian.db"
    await house.lifetime().aclose()

    kept = database.read_bytes() + b"".join(
        file.read_bytes() for file in house.settings().data_dir.glob("recall/*") if file.is_file()
    )
    assert b"born by the sea" not in kept
    assert b"Ludwig" not in kept
    assert b"likes tea" not in kept


async def test_blocks_are_edited_within_their_limits(keep, ada):
    assert "Ada." == (await keep.edit(ada, "human", "Ada.")).value
    with pytest.raises(MemoryRefused):
        await keep.edit(ada, "human", "x" * (BLOCK_LIMIT_CHARS + 1))

    assert "Ada." == {block.label: block.value for block in await keep.blocks(ada)}["human"]


async def test_passages_are_put_by_listed_and_deleted(house, keep, ada):
    first = await keep.add_passage(ada, "Her cat is called Bertrand.", ["cat"])
    second = await keep.add_passage(ada, "Her dog is called Ludwig.")
    assert [first, second] == await keep.passages(ada)
    assert [second] == await keep.passages(ada, after=first.number)
    await keep.delete_passage(ada, first.number)
    third = await keep.add_passage(ada, "Her cat is called Bertrand.")

    assert [second, third] == await keep.passages(ada)
    assert third.number > second.number
    with pytest.raises(UnknownPassage):
        await keep.delete_passage(ada, first.number)


async def test_another_principals_agents_are_not_there(keep, ada):
    other = Principal(PrincipalId("other"))

    assert [] == await keep.list(of=other)
    for asked in (keep.show, keep.pause, keep.retire, keep.blocks, keep.passages):
        with pytest.raises(UnknownAgent):
            await asked(ada, of=other)
