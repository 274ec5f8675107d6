"""What every ThreadStore owes its callers."""

import asyncio
from dataclasses import replace

import pytest

from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.adapters.sql.threads import SqlThreads
from librarian.application.ports.memory import AgentId
from librarian.application.ports.threads import AgentRef, Backend, KeptResult, MessageRef, Thread, ThreadRef
from librarian.domain.conversation import Conversation, ConversationId, TurnId
from tests.contract.test_conversation_store import new_digest, record

HERE = Backend("http://127.0.0.1:8283")
ADA = AgentRef("agent-ada")
CHAT = ConversationId("conv_1")
THREAD = Thread(
    HERE, ThreadRef("conv-x"), ADA, CHAT, MessageRef("m2"), '{"temperature":1}', (KeptResult("call_1", "Done.", True),)
)


@pytest.fixture
async def database(tmp_path):
    opened = Database(f"sqlite:///{tmp_path}/librarian.db")
    yield opened
    await opened.aclose()


@pytest.fixture
def store(database):
    return SqlThreads(database=database)


@pytest.fixture
def conversations(database):
    return SqlConversations(database=database)


async def test_of_two_agents_made_at_once_the_first_is_kept(store):
    kept = await asyncio.gather(
        *(store.keep_agent(HERE, AgentId("a"), AgentRef(ref)) for ref in ("agent-1", "agent-2"))
    )

    assert {kept[0]} == {*kept, await store.agent(HERE, AgentId("a"))}
    assert await store.agent(Backend("elsewhere"), AgentId("a")) is None


async def test_a_thread_is_found_by_its_tip_as_it_was(store):
    await store.heard(THREAD, TurnId("turn_1"), ["m1", "m2"])

    assert THREAD == await store.engage(HERE, TurnId("turn_1"))


async def test_a_thread_in_use_is_nobody_elses(store):
    await store.heard(THREAD, TurnId("turn_1"), [])

    engaged = await asyncio.gather(*(store.engage(HERE, TurnId("turn_1")) for _ in range(4)))

    assert 1 == sum(thread is not None for thread in engaged)


async def test_a_thread_moves_on_with_its_turns(store):
    await store.heard(THREAD, TurnId("turn_1"), [])
    thread = await store.engage(HERE, TurnId("turn_1"))
    await store.heard(replace(thread, settings="", kept=()), TurnId("turn_2"), [])

    assert await store.engage(HERE, TurnId("turn_1")) is None
    assert replace(THREAD, settings="", kept=()) == await store.engage(HERE, TurnId("turn_2"))


async def test_a_thread_that_heard_nothing_is_given_back(store):
    await store.heard(THREAD, TurnId("turn_1"), [])
    await store.give_back(await store.engage(HERE, TurnId("turn_1")), TurnId("turn_1"))

    assert THREAD == await store.engage(HERE, TurnId("turn_1"))


async def settled(conversations, conversation, id_):
    digest = new_digest()
    await conversations.settle(record(conversation, id=TurnId(id_), digest=digest))
    return await conversations.at((digest,))


async def test_the_path_to_a_turn_is_all_that_was_added_on_the_way(store, conversations):
    first = await settled(conversations, Conversation(CHAT), "turn_1")
    second = await settled(conversations, first, "turn_2")
    await settled(conversations, second, "turn_3")
    await store.heard(THREAD, TurnId("turn_1"), ["m1", "m2"])
    await store.heard(THREAD, TurnId("turn_2"), ["m3"])
    await store.heard(THREAD, TurnId("turn_3"), ["m4"])

    assert (ADA, ["m1", "m2", "m3"]) == await store.path(HERE, TurnId("turn_2"))
    assert await store.path(Backend("elsewhere"), TurnId("turn_2")) is None
    assert await store.path(HERE, TurnId("turn_9")) is None


async def test_a_path_with_a_gap_or_through_two_agents_is_none(store, conversations):
    first = await settled(conversations, Conversation(CHAT), "turn_1")
    await settled(conversations, first, "turn_2")
    await store.heard(THREAD, TurnId("turn_2"), ["m3"])
    assert await store.path(HERE, TurnId("turn_2")) is None

    await store.heard(replace(THREAD, agent=AgentRef("agent-other")), TurnId("turn_1"), ["m1"])
    assert await store.path(HERE, TurnId("turn_2")) is None


async def test_old_threads_are_pruned_and_the_newest_kept(store):
    for number in range(5):
        await store.heard(replace(THREAD, ref=ThreadRef(f"conv-{number}")), TurnId(f"turn_{number}"), [])

    pruned = await store.prune(CHAT, 2)

    assert {"conv-0", "conv-1", "conv-2"} == {thread.ref for thread in pruned}
    assert await store.engage(HERE, TurnId("turn_0")) is None
    assert await store.engage(HERE, TurnId("turn_4")) is not None


async def test_an_agent_that_is_gone_takes_its_threads_with_it(store):
    await store.keep_agent(HERE, AgentId("a"), ADA)
    await store.heard(THREAD, TurnId("turn_1"), [])

    await store.forget_agent(HERE, ADA)

    assert await store.agent(HERE, AgentId("a")) is None
    assert await store.engage(HERE, TurnId("turn_1")) is None
