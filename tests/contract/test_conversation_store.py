"""Every ConversationStore keeps to its port. Another one is added to STORES."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.application.ports.conversations import Answered, ConversationStore, Request, TurnRecord
from librarian.domain.conversation import (
    EMPTY,
    Context,
    Conversation,
    ConversationId,
    HiddenSteps,
    PastTurn,
    Summary,
    TurnId,
)
from librarian.domain.identity import Owner, PrincipalId, Subject
from librarian.domain.recall import Entry, Shelf
from librarian.domain.transcript import Digest, Image, Message, OtherPart, Role, ToolCall, assistant, user
from librarian.domain.turn import StopReason, Usage

DAY_S = 86_400.0
ADA = Owner(PrincipalId("local"), Subject("user:ada"))
BEN = Owner(PrincipalId("local"), Subject("user:ben"))
serial = count(1)


@asynccontextmanager
async def sql(folder) -> AsyncIterator[ConversationStore]:
    database = Database(f"sqlite:///{folder}/librarian.db")
    yield SqlConversations(database=database)
    await database.aclose()


STORES = {"sql": sql}


@pytest.fixture(params=STORES)
async def store(request, tmp_path) -> AsyncIterator[ConversationStore]:
    async with STORES[request.param](tmp_path) as opened:
        yield opened


def new_digest():
    return Digest(sha256(b"%d" % next(serial)).digest())


def new_conversation(key=None):
    return Conversation(ConversationId(f"conv_{next(serial)}"), key=key)


def new_request(*, key=None):
    return Request(new_digest(), key)


def record(conversation, **given_values):
    values = {
        "parent": conversation.known.number if conversation.known else None,
        "id": TurnId(f"turn_{next(serial)}"),
        "conversation": conversation,
        "owner": ADA,
        "template": "librarian",
        "model": "librarian",
        "mode": "auto",
        "digest": new_digest(),
        "seed": (),
        "heard": (user("My cat is called Bertrand."),),
        "reply": assistant("Noted."),
        "reason": StopReason.END_OF_TURN,
        "context": EMPTY,
        "usage": Usage(12, 3),
        "at_s": 1_790_000_000.5,
    }
    return TurnRecord(**(values | given_values))


async def settled(store, conversation, **given_values):
    """The conversation with the new turn known."""
    turn = record(conversation, **given_values)
    await store.settle(turn)
    found = await store.at((turn.digest,), conversation.id)
    assert found is not None
    return found


async def on_path(store, *known):
    """Which of the turns, by their place in the argument list, lie on the path."""
    numbers = [conversation.known.number for conversation in known]
    return {numbers.index(number) for number in await store.on_path(numbers)}


async def test_nothing_is_found_where_nothing_was_settled(store):
    assert await store.at((new_digest(),)) is None


async def test_a_first_turn_is_the_head_of_its_conversation(store):
    conversation = new_conversation()

    turn = record(conversation)
    await store.settle(turn)
    found = await store.at((turn.digest,))

    assert conversation.id == found.id
    assert turn.digest == found.known.digest
    assert EMPTY == found.known.context
    assert found.head == found.known.number


async def test_a_conversation_goes_on_from_its_head(store):
    first = await settled(store, new_conversation())

    second = await settled(store, first)
    before = await store.at((first.known.digest,))

    assert first.id == second.id
    assert second.head == second.known.number > first.known.number
    assert second.head == before.head
    assert replace(first.known, tip=False) == before.known


async def test_what_a_branch_goes_on_from_is_off_the_path(store):
    first = await settled(store, new_conversation())
    left = await settled(store, first)
    lower = await settled(store, left)

    again = await store.at((first.known.digest,))
    sibling = await settled(store, again)

    assert {0, 3} == await on_path(store, first, left, lower, sibling)


async def test_a_branch_that_is_gone_back_to_is_on_the_path_again(store):
    first = await settled(store, new_conversation())
    left = await settled(store, first)
    lower = await settled(store, left)
    sibling = await settled(store, await store.at((first.known.digest,)))

    back = await settled(store, await store.at((lower.known.digest,)))

    assert {0, 1, 2, 4} == await on_path(store, first, left, lower, sibling, back)


async def test_a_head_that_moved_meanwhile_stays_where_it_is(store):
    first = await settled(store, new_conversation())
    winner = await settled(store, first)

    loser = await settled(store, first)

    assert winner.known.number == loser.head
    assert {0, 1} == await on_path(store, first, winner, loser)


async def test_of_two_first_turns_of_one_conversation_one_is_its_head(store):
    conversation = new_conversation()
    winner = await settled(store, conversation)

    loser = await settled(store, conversation)

    assert winner.known.number == loser.head
    assert {0} == await on_path(store, winner, loser)


async def test_what_lost_the_race_can_be_gone_on_from(store):
    first = await settled(store, new_conversation())
    winner = await settled(store, first)
    loser = await settled(store, first)

    after = await settled(store, loser)

    assert after.known.number == after.head
    assert {0, 2, 3} == await on_path(store, first, winner, loser, after)


async def test_of_chats_alike_so_far_the_one_that_ended_there_is_found(store):
    alike = new_digest()
    ended = await settled(store, new_conversation(), digest=alike)
    newer = await settled(store, new_conversation(), digest=alike)
    await settled(store, newer)

    found = await store.at((alike,))

    assert ended == found


async def test_of_chats_alike_the_newest_is_found(store):
    alike = new_digest()
    await settled(store, new_conversation(), digest=alike)

    newest = await settled(store, new_conversation(), digest=alike)

    assert newest == await store.at((alike,))


async def test_sixty_four_turns_at_once_are_all_kept(store):
    turns = [record(new_conversation()) for _ in range(64)]

    await asyncio.gather(*(store.settle(turn) for turn in turns))
    found = [await store.at((turn.digest,)) for turn in turns]

    assert [turn.conversation.id for turn in turns] == [conversation.id for conversation in found]
    assert all(conversation.head == conversation.known.number for conversation in found)


async def test_of_thirty_two_that_go_on_from_one_head_one_moves_it(store):
    first = await settled(store, new_conversation())
    turns = [record(first) for _ in range(32)]

    await asyncio.gather(*(store.settle(turn) for turn in turns))
    found = [await store.at((turn.digest,)) for turn in turns]

    assert 1 == len({conversation.head for conversation in found})
    assert 1 == len(await on_path(store, *found))


async def test_the_first_that_is_known_of_several_is_found(store):
    upper = await settled(store, new_conversation())
    lower = await settled(store, upper)
    strange = new_digest()

    found = await store.at((strange, lower.known.digest, upper.known.digest))
    deeper = await store.at((strange, upper.known.digest, lower.known.digest))

    assert lower == found
    assert (upper.id, replace(upper.known, tip=False), lower.head) == (deeper.id, deeper.known, deeper.head)
    assert await store.at((strange, new_digest())) is None
    assert await store.at(()) is None


async def test_of_several_that_are_alike_the_one_that_ended_there_is_found(store):
    alike, strange = new_digest(), new_digest()
    ended = await settled(store, new_conversation(), digest=alike)
    newer = await settled(store, new_conversation(), digest=alike)
    await settled(store, newer)

    assert ended == await store.at((strange, alike))


async def test_of_several_that_all_went_on_the_newest_is_found(store):
    alike = new_digest()
    for _ in range(2):
        newest = await settled(store, new_conversation(), digest=alike)
        await settled(store, newest)

    for parents in [(alike,), (new_digest(), alike)]:
        found = await store.at(parents)
        assert (newest.id, False) == (found.id, found.known.tip)


@pytest.mark.parametrize("strange", [(), (new_digest(),)], ids=["one", "several"])
async def test_a_conversation_with_a_name_is_found_by_it_alone(store, strange):
    alike = new_digest()
    named = await settled(store, new_conversation("my chat"), digest=alike)
    assert await store.at((*strange, alike)) is None

    nameless = await settled(store, new_conversation(), digest=alike)

    assert nameless == await store.at((*strange, alike))
    assert named == await store.at((*strange, alike), named.id)
    assert nameless == await store.at((*strange, alike), nameless.id)
    assert await store.at((*strange, alike), new_conversation().id) is None
    assert "my chat" == named.key


async def test_a_branch_of_the_same_name_that_ended_there_is_found(store):
    first = await settled(store, new_conversation("my chat"))
    alike = new_digest()
    ended = await settled(store, first, digest=alike)
    newer = await settled(store, await store.at((first.known.digest,), first.id), digest=alike)
    assert newer.known == (await store.at((alike,), first.id)).known
    await settled(store, newer)

    assert ended.known == (await store.at((alike,), first.id)).known


async def test_a_conversation_is_found_by_its_name(store):
    first = await settled(store, new_conversation("my chat"))
    second = await settled(store, first)

    found = await store.named(first.id, ADA.id, "librarian")

    assert Conversation(first.id, second.head, None, "my chat") == found


@pytest.mark.parametrize(("owner", "template"), [(BEN, "librarian"), (ADA, "archivist")])
async def test_a_name_is_nothing_to_another_owner_or_template(store, owner, template):
    conversation = await settled(store, new_conversation())

    assert await store.named(conversation.id, owner.id, template) is None


async def test_a_name_that_was_never_given_is_of_nothing(store):
    await settled(store, new_conversation())

    assert await store.named(ConversationId("conv_nobody"), ADA.id, "librarian") is None


async def test_a_reply_is_found_by_the_clients_name_for_it(store):
    first = await settled(store, new_conversation("my chat"), ref="msg_1", context=Context(Summary("Earlier.", 1)))
    other = await settled(store, new_conversation("another"), ref="msg_1")
    await settled(store, first, ref="msg_2")

    assert replace(first.known, tip=False) == await store.referred(first.id, "msg_1")
    assert other.known == await store.referred(other.id, "msg_1")
    assert await store.referred(other.id, "msg_2") is None
    assert await store.referred(first.id, "msg_3") is None


async def test_of_replies_that_a_client_calls_the_same_the_newest_is_found(store):
    first = await settled(store, new_conversation("my chat"), ref="msg_1")

    second = await settled(store, first, ref="msg_1")

    assert second.known == await store.referred(first.id, "msg_1")


async def test_the_newest_turns_that_said_the_same_are_found(store):
    said = new_digest()
    turns = [await settled(store, new_conversation("my chat"), said=said)]
    for _ in range(4):
        turns.append(await settled(store, turns[-1], said=said))
    await settled(store, new_conversation("another"), said=said)
    await settled(store, turns[-1])

    found = await store.saying(turns[0].id, said, 3)

    assert [turn.known.number for turn in turns[:1:-1]] == [known.number for known in found]
    assert [turn.known.digest for turn in turns[:1:-1]] == [known.digest for known in found]
    assert not any(known.tip for known in found)
    assert [] == list(await store.saying(turns[0].id, new_digest(), 3))


async def test_the_past_of_a_turn_is_told_from_its_beginning_to_its_owner_alone(store):
    first = await settled(store, new_conversation())
    second = await settled(store, first, names=("a", "b"))
    other = await settled(store, first)

    conversation, turns = await store.past(second.known.id, ADA.id)
    _, last = await store.past(second.known.id, ADA.id, most=1)
    assert first.id == conversation
    assert [first.known.id, second.known.id] == [turn.id for turn in turns]
    assert [(("a", "b"), second.known.id)] == [(turn.names, turn.id) for turn in last]
    assert await store.past(other.known.id, BEN.id) is None
    assert await store.past(TurnId("turn_unknown"), ADA.id) is None


async def test_a_path_leads_upwards_with_all_that_was_new_in_it(store):
    seed, results = (user("Before."), assistant("Long ago.")), (Message(Role.TOOL, "42", answers="call_1"),)
    call = assistant("", (ToolCall("call_1", "look", "{}"),))
    first = await settled(store, new_conversation(), seed=seed, heard=(user("Look."),), reply=call)
    second = await settled(store, first, heard=results, reply=assistant("It is 42."))
    await settled(store, first, heard=(user("Never mind."),))
    third = await settled(store, second)
    numbers = [turn.known.number for turn in (third, second, first)]

    path = [
        PastTurn(numbers[0], (), (user("My cat is called Bertrand."),), assistant("Noted."), third.known.id),
        PastTurn(numbers[1], (), results, assistant("It is 42."), second.known.id),
        PastTurn(numbers[2], seed, (user("Look."),), call, first.known.id),
    ]
    assert path == [
        replace(turn, seed=tuple(turn.seed), heard=tuple(turn.heard)) for turn in await store.path(numbers[0], 9)
    ]
    assert numbers[:2] == [turn.number for turn in await store.path(numbers[0], 2)]
    assert [] == list(await store.path(10**9, 9))


async def test_another_of_several_answers_leaves_the_head_where_it_is(store):
    first = await settled(store, new_conversation())

    aside = await settled(store, first, aside=True)

    assert first.known.number == aside.head
    assert {0} == await on_path(store, first, aside)


async def test_another_of_several_answers_can_be_gone_on_from(store):
    first = await settled(store, new_conversation("my chat"))
    chosen = await settled(store, first)
    aside = await settled(store, chosen, parent=first.known.number, aside=True)
    assert chosen.known.number == aside.head

    after = await settled(store, aside)

    assert after.known.number == after.head
    assert {0, 2, 3} == await on_path(store, first, chosen, aside, after)


async def test_of_first_turns_at_once_under_one_name_all_are_kept_and_one_is_the_head(store):
    conversation = new_conversation("my chat")
    turns = [record(conversation) for _ in range(8)]

    await asyncio.gather(*(store.settle(turn) for turn in turns))
    found = [await store.at((turn.digest,), conversation.id) for turn in turns]

    assert {(conversation.id, "my chat")} == {(one.id, one.key) for one in found}
    (head,) = {one.head for one in found}
    assert [head] == [one.known.number for one in found if await store.on_path([one.known.number])]


async def test_a_conversation_that_began_anew_leaves_its_first_branch(store):
    """The first message was edited: nothing stands above the new turn."""
    first = await settled(store, new_conversation("my chat"))
    left = await settled(store, first)

    anew = await settled(store, replace(left, known=None))

    assert anew.known.number == anew.head
    assert {2} == await on_path(store, first, left, anew)
    assert [anew.known.number] == [turn.number for turn in await store.path(anew.known.number, 9)]


# Requests that come again

USED = Usage(12, 3, 4, 2)


async def test_what_was_answered_is_told_whole(store):
    request = new_request()
    call = ToolCall("call_1", "look", '{"at": "it"}')
    turn = record(
        new_conversation(),
        request=request,
        reply=assistant("Let me see.", (call,)),
        reason=StopReason.TOOL_CALLS,
        usage=USED,
        mode="persona",
        at_s=100.0,
    )
    await store.settle(turn)

    answered = await store.answered(request, 0.0)

    expected = Answered(
        turn=turn.id,
        request=request.digest,
        conversation=turn.conversation.id,
        mode="persona",
        reply=turn.reply,
        reason=StopReason.TOOL_CALLS,
        usage=USED,
        at_s=100.0,
    )
    assert expected == answered


async def test_what_was_not_asked_was_not_answered(store):
    await store.settle(record(new_conversation(), request=new_request(), at_s=100.0))
    await store.settle(record(new_conversation(), at_s=100.0))

    assert await store.answered(new_request(), 0.0) is None
    assert await store.answered(new_request(key=new_digest()), 0.0) is None


async def test_the_newest_answer_counts_and_only_for_a_time(store):
    request = new_request()
    for at_s in (100.0, 200.0):
        await store.settle(record(new_conversation(), request=request, at_s=at_s))

    assert 200.0 == (await store.answered(request, 199.0)).at_s
    assert await store.answered(request, 200.0) is None


async def test_an_idempotency_key_finds_its_request_and_that_may_be_another(store):
    request = new_request(key=new_digest())
    await store.settle(record(new_conversation(), request=request, at_s=100.0))

    other = replace(new_request(), idempotency=request.idempotency)

    assert request.digest == (await store.answered(request, 0.0)).request
    assert request.digest == (await store.answered(other, 0.0)).request
    assert await store.answered(replace(request, idempotency=new_digest()), 0.0) is None
    assert request.digest == (await store.answered(Request(request.digest), 0.0)).request


async def test_requests_are_forgotten_after_a_day_and_turns_are_not(store):
    old = [new_request() for _ in range(3)]
    turns = [record(new_conversation(), request=request, at_s=100.0) for request in old]
    for turn in turns:
        await store.settle(turn)
    for _ in range(2):
        await store.settle(record(new_conversation(), request=new_request(), at_s=100.0 + DAY_S + 1))

    assert [None] * 3 == [await store.answered(request, 0.0) for request in old]
    assert None not in [await store.at((turn.digest,)) for turn in turns]


async def test_within_a_day_no_request_is_forgotten(store):
    kept = [new_request() for _ in range(5)]
    for hour, request in enumerate(kept):
        await store.settle(record(new_conversation(), request=request, at_s=100.0 + hour * 3600))

    assert None not in [await store.answered(request, 0.0) for request in kept]


async def test_what_was_said_comes_in_order_and_without_anything_else(store):
    call = ToolCall("call_1", "look", "{}")
    first = await settled(
        store,
        new_conversation(),
        seed=(user("An old question."), assistant("An old answer.")),
        heard=(Message(Role.SYSTEM, "It is noon."), user("Who is it?"), user("And why?")),
        reply=assistant("It is Bertrand."),
        at_s=10.0,
    )
    await settled(store, first, heard=(user("Look it up."),), reply=assistant("", (call,)), at_s=20.0)

    said = await store.said_since(ADA.id, 0, 10)

    number = first.known.number
    assert [
        Entry(Shelf.SAID, number, "Who is it?\n\nAnd why?", 10.0, Role.USER, first.id),
        Entry(Shelf.SAID, number, "It is Bertrand.", 10.0, Role.ASSISTANT, first.id),
        Entry(Shelf.SAID, number + 1, "Look it up.", 20.0, Role.USER, first.id),
    ] == said


async def test_what_was_said_can_be_read_a_few_turns_at_a_time(store):
    numbers = [(await settled(store, new_conversation())).known.number for _ in range(5)]

    read, upto = [], 0
    while entries := await store.said_since(ADA.id, upto, 2):
        assert len({entry.number for entry in entries}) <= 2
        upto = max(entry.number for entry in entries)
        read += [entry.number for entry in entries if entry.role is Role.USER]

    assert numbers == read


async def test_turns_in_which_nothing_was_said_do_not_hide_later_ones(store):
    silent = {"heard": (Message(Role.TOOL, "42", answers="call_1"),), "reply": assistant("")}
    conversation = new_conversation()
    for _ in range(5):
        conversation = await settled(store, conversation, **silent)
    last = await settled(store, conversation, heard=(user("And?"),), reply=assistant(""))

    said = await store.said_since(ADA.id, 0, 2)

    assert [last.known.number] == [entry.number for entry in said]


async def test_nobody_finds_what_somebody_else_said(store):
    await settled(store, new_conversation(), owner=ADA)

    assert [] == list(await store.said_since(BEN.id, 0, 10))


async def test_turns_nobody_knows_are_on_no_path(store):
    await settled(store, new_conversation())

    assert frozenset() == await store.on_path([10**9])
    assert frozenset() == await store.on_path([])


texts = st.text(max_size=40).filter(lambda text: text.isprintable() or "\x00" not in text)
parts = st.one_of(
    texts,
    st.builds(Image, texts, st.none() | texts),
    st.builds(OtherPart, texts, texts),
)
calls = st.lists(st.builds(ToolCall, texts, texts, texts), max_size=2).map(tuple)
messages = st.builds(
    Message,
    st.sampled_from(Role),
    texts,
    st.lists(parts, max_size=3).map(tuple),
    calls,
    st.none() | texts,
    st.none() | texts,
)
contexts = st.builds(
    Context,
    st.none() | st.builds(Summary, texts, st.integers(0, 100)),
    st.lists(st.builds(HiddenSteps, st.integers(0, 100), st.lists(messages, max_size=3).map(tuple)), max_size=3).map(
        tuple
    ),
    st.sampled_from([0, 1, 2**40]),
)
IN_ONE_STORE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@IN_ONE_STORE
@given(context=contexts)
async def test_messages_come_back_as_they_were(store, context):
    found = await settled(store, new_conversation(), context=context)

    assert context == found.known.context
    assert _types(context) == _types(found.known.context)


def _types(context):
    """NamedTuples of different types may be equal."""
    return [[type(part) for part in message.parts] for steps in context.steps for message in steps.messages]


@IN_ONE_STORE
@given(parents=st.lists(st.integers(0, 30), min_size=1, max_size=25))
async def test_the_path_leads_from_the_head_to_the_root(store, parents):
    """Each turn goes on from one of those before it, chosen at random."""
    turns = [await settled(store, new_conversation())]
    above = {0: None}
    for place, chosen in enumerate(parents, 1):
        above[place] = chosen % place
        parent = await store.at((turns[above[place]].known.digest,))
        turns.append(await settled(store, parent))

    expected, at = set(), len(parents)
    while at is not None:
        expected.add(at)
        at = above[at]
    assert expected == await on_path(store, *turns)
