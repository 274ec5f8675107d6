"""Every MemoryStore keeps to its port. Another one is added to STORES."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from librarian.adapters.sql.database import Database
from librarian.adapters.sql.memory import SqlMemory
from librarian.adapters.system.clock import SystemClock, TimelyIds
from librarian.application.ports.memory import AgentKey, MemoryStore
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.errors import MemoryRefused
from librarian.domain.identity import Owner, PrincipalId, Subject
from librarian.domain.memory import (
    PASSAGE_LIMIT_CHARS,
    Append,
    Author,
    Insert,
    MemoryBlock,
    Provenance,
    Replace,
    Rethink,
    edited,
)
from librarian.domain.recall import Entry, Search, Shelf

ADA = AgentKey("librarian", Owner(PrincipalId("local"), Subject("user:ada")))
BEN = AgentKey("librarian", Owner(PrincipalId("local"), Subject("user:ben")))
BLOCKS = (
    MemoryBlock("persona", "I am the Librarian.", 200, "About yourself."),
    MemoryBlock("human", "", 120, "About the reader."),
    MemoryBlock("rules", "Be kind.", 100, read_only=True),
)
serial = count(1)


@asynccontextmanager
async def sql(folder) -> AsyncIterator[MemoryStore]:
    database = Database(f"sqlite:///{folder}/librarian.db")
    yield SqlMemory(database=database, clock=SystemClock(), ids=TimelyIds())
    await database.aclose()


STORES = {"sql": sql}


@pytest.fixture(params=STORES)
async def store(request, tmp_path) -> AsyncIterator[MemoryStore]:
    async with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def ada(store):
    return await store.agent(ADA, BLOCKS)


def new_turn():
    return TurnId(f"turn_{next(serial)}")


def by(turn=None, call_id=None):
    return Provenance(Author.AGENT, 1_790_000_000.5, ConversationId("conv_1"), turn or new_turn(), call_id)


async def values(store, agent):
    return {block.label: block.value for block in await store.blocks(agent)}


async def test_an_agent_begins_with_the_blocks_it_is_given(store, ada):
    assert list(BLOCKS) == list(await store.blocks(ada))


async def test_nothing_is_found_elsewhere_where_there_is_nobody_else(store, ada):
    await store.put_by(ada, "Ada likes sloe gin.", (), by())

    assert () == tuple(await store.elsewhere(ada, Search("sloe gin")))


async def test_a_key_has_one_agent(store, ada):
    other = (MemoryBlock("human", "Somebody else."),)

    assert ada == await store.agent(ADA, other)
    assert list(BLOCKS) == list(await store.blocks(ada))


async def test_each_template_tenant_and_person_has_an_agent_of_its_own(store, ada):
    keys = [BEN, AgentKey("clerk", ADA.owner), AgentKey("librarian", Owner(PrincipalId("acme"), ADA.owner.subject))]

    others = [await store.agent(key, BLOCKS) for key in keys]

    assert 4 == len({ada, *others})


async def test_an_agent_asked_for_by_many_at_once_is_made_once(store):
    agents = await asyncio.gather(*(store.agent(BEN, BLOCKS) for _ in range(32)))

    assert 1 == len(set(agents))
    assert list(BLOCKS) == list(await store.blocks(agents[0]))


async def test_an_edit_is_there_at_once(store, ada):
    after = await store.edit(ada, Append("human", "Ada likes sloe gin."), by())

    assert MemoryBlock("human", "Ada likes sloe gin.", 120, "About the reader.") == after
    assert after in await store.blocks(ada)


async def test_an_agent_edits_its_own_blocks_only(store, ada):
    ben = await store.agent(BEN, BLOCKS)

    await store.edit(ada, Append("human", "Ada likes sloe gin."), by())

    assert list(BLOCKS) == list(await store.blocks(ben))


async def test_a_new_block_comes_last(store, ada):
    await store.edit(ada, Rethink("plans", "To Rome."), by())

    assert ["persona", "human", "rules", "plans"] == [block.label for block in await store.blocks(ada)]


@pytest.mark.parametrize(
    "edit",
    [
        Append("human", "x" * 121),
        Append("unknown", "x"),
        Append("rules", "Be rude."),
        Insert("human", "x", 7),
        Replace("persona", "not there", "x"),
        Rethink("no spaces", "x"),
    ],
)
async def test_a_refused_edit_changes_nothing(store, ada, edit):
    with pytest.raises(MemoryRefused):
        await store.edit(ada, edit, by())

    assert list(BLOCKS) == list(await store.blocks(ada))


async def test_a_refused_edit_is_refused_alone(store, ada):
    edits = [Append("human", f"Fact {n}.") if n % 2 else Append("rules", "x") for n in range(10)]

    outcomes = await asyncio.gather(*(store.edit(ada, edit, by()) for edit in edits), return_exceptions=True)

    assert [MemoryRefused, MemoryBlock] * 5 == [type(outcome) for outcome in outcomes]
    assert 5 == len((await values(store, ada))["human"].split("\n"))


async def test_thirty_two_edits_of_one_block_at_once_are_all_kept(store):
    agent = await store.agent(BEN, [MemoryBlock("human", "")])
    facts = [f"Fact {n}." for n in range(32)]

    await asyncio.gather(*(store.edit(agent, Insert("human", fact), by()) for fact in facts))

    assert sorted(facts) == sorted((await values(store, agent))["human"].split("\n"))


async def test_a_call_edits_once(store, ada):
    turn = new_turn()
    await store.edit(ada, Append("human", "One."), by(turn, "call_1"))
    await store.edit(ada, Append("human", "Two."), by(turn, "call_2"))

    again = await store.edit(ada, Append("human", "One."), by(turn, "call_1"))

    assert "One.\nTwo." == again.value == (await values(store, ada))["human"]


async def test_calls_of_the_same_name_in_other_turns_are_other_calls(store, ada):
    await store.edit(ada, Append("human", "One."), by(call_id="call_1"))

    await store.edit(ada, Append("human", "Two."), by(call_id="call_1"))

    assert "One.\nTwo." == (await values(store, ada))["human"]


labels = st.sampled_from(["persona", "human", "rules", "plans"])
said = st.text(max_size=80)
edits = st.one_of(
    st.builds(Append, labels, said),
    st.builds(Insert, labels, said, st.integers(-2, 5)),
    st.builds(Replace, labels, st.text(max_size=2), said),
    st.builds(Rethink, labels, said),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(edits, max_size=12))
async def test_blocks_are_what_the_rules_make_of_the_edits(store, steps):
    agent = await store.agent(AgentKey(f"template {next(serial)}", ADA.owner), BLOCKS)
    expected = {block.label: block for block in BLOCKS}
    for edit in steps:
        try:
            _, after = edited(edit, list(expected.values()))
        except MemoryRefused:
            with pytest.raises(MemoryRefused):
                await store.edit(agent, edit, by())
        else:
            expected[after.label] = after
            assert after == await store.edit(agent, edit, by())

    blocks = await store.blocks(agent)
    assert list(expected.values()) == list(blocks)
    assert all(len(block.value) <= block.limit_chars for block in blocks)


async def test_what_a_turn_wrote_is_taken_back_after_others_wrote_too(store, ada):
    turn = new_turn()
    await store.edit(ada, Append("human", "Before."), by())
    await store.edit(ada, Append("human", "Wrong."), by(turn))
    await store.edit(ada, Replace("persona", "the Librarian", "a clerk"), by(turn))
    await store.edit(ada, Append("human", "After."), by())

    undone = await store.take_back(turn)

    assert 2 == undone
    assert "Before.\nAfter." == (await values(store, ada))["human"]
    assert "I am the Librarian." == (await values(store, ada))["persona"]


async def test_edits_upon_edits_are_taken_back_from_the_last(store, ada):
    turn = new_turn()
    await store.edit(ada, Append("human", "Ada likes gin."), by(turn))
    await store.edit(ada, Replace("human", "gin", "sloe gin"), by(turn))
    await store.edit(ada, Rethink("human", "Nothing is known."), by(turn))

    assert 3 == await store.take_back(turn)
    assert list(BLOCKS) == list(await store.blocks(ada))


async def test_a_block_that_a_turn_made_goes_with_it(store, ada):
    turn = new_turn()
    await store.edit(ada, Rethink("plans", "To Rome."), by(turn))

    assert 1 == await store.take_back(turn)
    assert list(BLOCKS) == list(await store.blocks(ada))


async def test_a_block_that_others_wrote_into_stays(store, ada):
    turn = new_turn()
    await store.edit(ada, Rethink("plans", "To Rome."), by(turn))
    await store.edit(ada, Append("plans", "By train."), by())

    await store.take_back(turn)

    assert "By train." == (await values(store, ada))["plans"]


async def test_what_cannot_be_told_apart_any_more_stays(store, ada):
    turn = new_turn()
    await store.edit(ada, Append("human", "Ada likes gin."), by(turn))
    await store.edit(ada, Replace("human", "likes gin", "loves gin"), by())

    assert 0 == await store.take_back(turn)
    assert "Ada loves gin." == (await values(store, ada))["human"]


async def test_taking_back_never_exceeds_a_limit(store, ada):
    turn = new_turn()
    await store.edit(ada, Append("human", "x" * 100), by())
    await store.edit(ada, Replace("human", "x" * 100, "short"), by(turn))
    await store.edit(ada, Append("human", "y" * 80), by())

    assert 0 == await store.take_back(turn)
    assert "short\n" + "y" * 80 == (await values(store, ada))["human"]


async def test_a_turn_is_taken_back_once(store, ada):
    turn = new_turn()
    await store.edit(ada, Append("human", "Wrong."), by(turn))
    await store.put_by(ada, "Wrong.", (), by(turn))

    assert 2 == await store.take_back(turn)
    assert 0 == await store.take_back(turn)
    assert 0 == await store.take_back(new_turn())


async def test_a_passage_is_put_by_with_its_tags(store, ada):
    passage = await store.put_by(ada, "  Ada was born in 1815. ", ("life", "dates"), by())

    entries = await store.put_by_since(ADA.owner.id, 0, 10)

    assert ("Ada was born in 1815.", ("life", "dates")) == (passage.text, passage.tags)
    assert [
        Entry(
            Shelf.PUT_BY,
            passage.number,
            "Ada was born in 1815.",
            1_790_000_000.5,
            conversation=ConversationId("conv_1"),
            tags=("life", "dates"),
        )
    ] == entries


@pytest.mark.parametrize("text", ["", " \n", "x" * (PASSAGE_LIMIT_CHARS + 1)])
async def test_a_passage_has_some_text_and_not_too_much(store, ada, text):
    with pytest.raises(MemoryRefused):
        await store.put_by(ada, text, (), by())


async def test_a_text_is_put_by_once(store, ada):
    first = await store.put_by(ada, "Ada was born in 1815.", ("life",), by())

    again = await asyncio.gather(*(store.put_by(ada, "Ada was born in 1815.", (), by()) for _ in range(8)))

    assert [first] * 8 == again
    assert 1 == len(await store.put_by_since(ADA.owner.id, 0, 10))


async def test_a_call_puts_by_once(store, ada):
    turn = new_turn()
    first = await store.put_by(ada, "One.", (), by(turn, "call_1"))

    assert first == await store.put_by(ada, "Two.", (), by(turn, "call_1"))
    assert 1 == len(await store.put_by_since(ADA.owner.id, 0, 10))


async def test_every_agent_puts_by_for_itself(store, ada):
    ben = await store.agent(BEN, BLOCKS)
    mine = await store.put_by(ada, "Ada was born in 1815.", (), by())

    his = await store.put_by(ben, "Ada was born in 1815.", (), by())

    assert mine.number != his.number
    assert [his.number] == [entry.number for entry in await store.put_by_since(BEN.owner.id, 0, 10)]


async def test_a_passage_of_a_turn_that_is_taken_back_is_not_kept(store, ada):
    turn = new_turn()
    gone = await store.put_by(ada, "Wrong.", (), by(turn))
    kept = await store.put_by(ada, "Right.", (), by())

    assert 1 == await store.take_back(turn)
    assert {kept.number} == await store.passages_kept([gone.number, kept.number, 10**9])
    assert [kept.number] == [entry.number for entry in await store.put_by_since(ADA.owner.id, 0, 10)]


async def test_a_passage_that_two_turns_put_by_stays_until_both_are_taken_back(store, ada):
    one, other = new_turn(), new_turn()
    passage = await store.put_by(ada, "Ada was born in 1815.", (), by(one))
    await store.put_by(ada, "Ada was born in 1815.", (), by(other))

    await store.take_back(one)
    assert {passage.number} == await store.passages_kept([passage.number])

    await store.take_back(other)
    assert frozenset() == await store.passages_kept([passage.number])


async def test_what_was_taken_back_can_be_put_by_anew(store, ada):
    turn = new_turn()
    gone = await store.put_by(ada, "Ada was born in 1815.", (), by(turn))
    await store.take_back(turn)

    anew = await store.put_by(ada, "Ada was born in 1815.", (), by())

    assert anew.number > gone.number
    assert {anew.number} == await store.passages_kept([gone.number, anew.number])


async def test_passages_can_be_read_a_few_at_a_time(store, ada):
    numbers = [(await store.put_by(ada, f"Fact {n}.", (), by())).number for n in range(5)]

    read, upto = [], 0
    while entries := await store.put_by_since(ADA.owner.id, upto, 2):
        upto = entries[-1].number
        read += [entry.number for entry in entries]

    assert numbers == read
