"""A request that comes again: who is told the same answer, and who a new one."""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from dependency_injector import providers

from librarian.application.converse import Ask
from librarian.application.replays import KEYS_HOLD_S, RETRIES_COME_S, UNDELIVERED_S, Attempt
from librarian.container import House
from librarian.domain.errors import IdempotencyMismatch, PoolExhausted, UpstreamRefused
from librarian.domain.identity import LOCAL, Principal, PrincipalId
from librarian.domain.tools import ClientTools, ToolSpec
from librarian.domain.transcript import Transcript, assistant, user
from librarian.domain.turn import StepEnded, StopReason, TextSpoken, ToolCalled, TurnBegan, TurnEnded
from librarian.settings import Settings
from tests.fakes.deliberate import Deliberate
from tests.fakes.numbered import TOOK, Numbered, SetClock

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
ONE_SEAT = {"seats": 1, "places": 1, "patience_s": 0.02}


@pytest.fixture
def model():
    return Numbered()


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
async def opened(tmp_path, model, clock):
    houses = []

    def make(**settings):
        house = House(settings=Settings(_env_file=None, data_dir=tmp_path, **settings))
        house.model.override(providers.Object(model))
        house.clock.override(providers.Object(clock))
        houses.append(house)
        return house

    yield make
    for house in houses:
        await house.lifetime().aclose()


@pytest.fixture
def house(opened):
    return opened()


def attempt(body="Hello.", *, key=None, **more):
    return Attempt(sha256(body.encode()).digest(), CHAT, idempotency_key=key, **more)


def ask(how, *spoken, **more):
    return Ask(model="librarian", transcript=Transcript(spoken or [user("Hello.")]), attempt=how, **more)


async def taken(house, how, *spoken, **more):
    async with aclosing(house.converse()(ask(how, *spoken, **more))) as events:
        return [event async for event in events]


async def broken_off(house, how, at=TurnEnded):
    """The client leaves at the last frame, or at another; what was sent by then."""
    heard = []
    async with aclosing(house.converse()(ask(how))) as events:
        async for event in events:
            heard.append(event)
            if isinstance(event, at):
                break
    return heard


def said(events):
    return "".join(part for event in events if isinstance(event, TextSpoken) for part in event.fragments)


def plan(events):
    assert isinstance(events[0], TurnBegan)
    return events[0].plan


def told_again(first, again):
    """All that a client can see is the same."""
    assert "Replay" == plan(again)
    assert (first[0].conversation, first[0].turn, first[0].mode.mode, first[0].at_s) == (
        again[0].conversation,
        again[0].turn,
        again[0].mode.mode,
        again[0].at_s,
    )
    assert (said(first), first[-1].reason, first[-1].usage) == (said(again), again[-1].reason, again[-1].usage)
    return True


KEYED = attempt(key="key 1")
RETRIED = attempt(retried=True)


async def test_a_key_stands_for_its_answer(house, model, clock):
    first = await taken(house, KEYED)
    clock.move_on(KEYS_HOLD_S - 1)

    assert told_again(first, await taken(house, KEYED))
    assert 1 == len(model.prompts)


async def test_an_answer_that_took_a_while_is_dated_the_same(house, model, clock):
    gate = model.hold()
    first = asyncio.ensure_future(taken(house, KEYED))
    await model.asked.wait()
    clock.move_on(5)
    gate.set()

    assert told_again(await first, await taken(house, KEYED))


async def test_after_a_day_it_does_no_more(house, clock):
    await taken(house, KEYED)
    clock.move_on(KEYS_HOLD_S + 1)

    assert "Start" == plan(await taken(house, KEYED))


async def test_a_key_is_for_one_body(house, model):
    await taken(house, KEYED)

    with pytest.raises(IdempotencyMismatch):
        await taken(house, attempt("Good day.", key="key 1"))

    assert 1 == len(model.prompts)


async def test_a_key_is_for_one_body_while_it_is_being_answered(house, model):
    gate = model.hold()
    first = asyncio.ensure_future(taken(house, KEYED))
    await model.asked.wait()

    with pytest.raises(IdempotencyMismatch):
        await taken(house, attempt("Good day.", key="key 1"))

    gate.set()
    assert "Answer 1." == said(await first)


async def test_a_key_is_for_one_endpoint(house):
    await taken(house, KEYED)

    with pytest.raises(IdempotencyMismatch):
        await taken(house, replace(KEYED, endpoint="/v1/completions"))


async def test_a_key_is_for_one_person(house):
    """One tenant's keys are its own: it would be told of a mismatch and never another person's answer."""
    await taken(house, KEYED, person="Ada")

    with pytest.raises(IdempotencyMismatch):
        await taken(house, KEYED, person="Ben")


async def test_a_key_is_nothing_to_another_tenant(house, model):
    await taken(house, KEYED)

    other = await taken(house, KEYED, principal=Principal(PrincipalId("other")))

    assert ("Start", 2) == (plan(other), len(model.prompts))


async def test_another_key_for_the_same_body_is_another_request(house, model):
    await taken(house, KEYED)

    assert "Start" == plan(await taken(house, attempt(key="key 2")))
    assert 2 == len(model.prompts)


@pytest.mark.parametrize(
    "other",
    [
        {"principal": Principal(PrincipalId("other"))},
        {"person": "Ben"},
        {"endpoint": "/v1/completions"},
        {"part": 1},
        {"body": sha256(b"Good day.").digest()},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_retry_is_of_the_same_request_of_the_same_person(house, model, other):
    await taken(house, attempt())
    who = {name: other.pop(name) for name in ("principal", "person") if name in other}

    assert "Start" == plan(await taken(house, replace(RETRIED, **other), **who))
    assert 2 == len(model.prompts)


async def test_a_client_that_says_it_retries_is_told_again(house, model, clock):
    first = await taken(house, attempt())
    clock.move_on(RETRIES_COME_S - 1)

    assert told_again(first, await taken(house, RETRIED))
    assert told_again(first, await taken(house, RETRIED))
    assert 1 == len(model.prompts)


async def test_but_not_for_ever(house, clock):
    await taken(house, attempt())
    clock.move_on(RETRIES_COME_S + 1)

    assert "Start" == plan(await taken(house, RETRIED))


async def test_a_retry_of_what_never_came_is_a_request(house):
    assert "Start" == plan(await taken(house, RETRIED))


async def test_the_same_body_without_evidence_is_a_new_request(house, model):
    first = await taken(house, attempt())
    second = await taken(house, attempt())

    assert ["Start", "Start"] == [plan(first), plan(second)]
    assert ("Answer 1.", "Answer 2.") == (said(first), said(second))


async def test_a_twin_that_is_still_running_is_not_waited_for(house, model):
    gate = model.hold()
    first = asyncio.ensure_future(taken(house, attempt()))
    await model.asked.wait()
    model.asked.clear()
    twin = asyncio.ensure_future(taken(house, attempt()))
    await model.asked.wait()
    gate.set()

    assert {"Answer 1.", "Answer 2."} == {said(await first), said(await twin)}


async def test_the_newest_answer_is_told_again(house):
    await taken(house, attempt())
    second = await taken(house, attempt())

    assert told_again(second, await taken(house, RETRIED))


async def test_what_never_reached_its_client_is_told_again(house, model, clock):
    first = await broken_off(house, attempt())
    clock.move_on(UNDELIVERED_S - 1)

    assert told_again(first, await taken(house, attempt()))
    assert 1 == len(model.prompts)


async def test_until_it_has_reached_it(house, model):
    first = await broken_off(house, attempt())
    again = await broken_off(house, attempt())
    assert told_again(first, again)

    assert told_again(first, await taken(house, attempt()))
    assert "Start" == plan(await taken(house, attempt()))
    assert 2 == len(model.prompts)


async def test_or_ten_minutes_have_passed(house, clock):
    await broken_off(house, attempt())
    clock.move_on(UNDELIVERED_S + 1)

    assert "Start" == plan(await taken(house, attempt()))


async def test_nobody_else_is_told_what_did_not_reach_its_client(house, model):
    await broken_off(house, attempt())

    assert "Start" == plan(await taken(house, attempt(), person="Ben"))
    assert "Start" == plan(await taken(house, replace(attempt(), endpoint="/v1/completions")))
    assert 3 == len(model.prompts)


@pytest.mark.parametrize("again", [attempt(), RETRIED, KEYED], ids=["same body", "retried", "key"])
@pytest.mark.parametrize("at", [TurnBegan, TextSpoken], ids=lambda at: at.__name__)
async def test_a_cancelled_turn_runs_anew(house, model, again, at):
    await broken_off(house, replace(again, retried=False), at)

    answered = await taken(house, again)

    assert "Start" == plan(answered)
    assert f"Answer {len(model.prompts)}." == said(answered)


@pytest.mark.parametrize("again", [attempt(), RETRIED, KEYED], ids=["same body", "retried", "key"])
async def test_a_failed_turn_runs_anew(house, model, again):
    model.trouble = UpstreamRefused("No.", heard=True)
    with pytest.raises(UpstreamRefused):
        await taken(house, replace(again, retried=False))
    model.trouble = None

    assert ("Start", "Answer 2.") == (plan(answered := await taken(house, again)), said(answered))


@pytest.mark.parametrize("again", [RETRIED, KEYED], ids=["retried", "key"])
async def test_a_retry_waits_for_the_turn_under_way(house, model, again):
    gate = model.hold()
    first = asyncio.ensure_future(taken(house, replace(again, retried=False)))
    await model.asked.wait()
    retries = [asyncio.ensure_future(taken(house, again)) for _ in range(3)]
    await asyncio.sleep(0)
    assert 1 == house.pool().taken
    gate.set()

    for retry in retries:
        assert told_again(await first, await retry)
    assert 1 == len(model.prompts)


async def test_of_many_that_wait_for_one_that_fails_one_runs(house, model):
    gate = model.hold()
    model.trouble = UpstreamRefused("No.", heard=True)
    first = asyncio.ensure_future(taken(house, KEYED))
    await model.asked.wait()
    retries = [asyncio.ensure_future(taken(house, KEYED)) for _ in range(3)]
    await asyncio.sleep(0)
    second = model.hold()
    gate.set()
    with pytest.raises(UpstreamRefused):
        await first
    await model.asked.wait()
    model.trouble = None
    second.set()
    answers = await asyncio.gather(*retries)

    assert ["Replay", "Replay", "Start"] == sorted(map(plan, answers))
    assert {"Answer 2."} == set(map(said, answers))


async def test_who_waits_and_leaves_disturbs_nobody(house, model):
    gate = model.hold()
    first = asyncio.ensure_future(taken(house, KEYED))
    await model.asked.wait()
    leaving, staying = (asyncio.ensure_future(taken(house, KEYED)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    gate.set()

    assert told_again(await first, await staying)


async def test_a_retry_is_of_the_last_attempt(opened, clock):
    """Answered once, asked again and refused: the retry is of what was refused."""
    house = opened(pool=ONE_SEAT)
    await taken(house, attempt())
    clock.move_on(1)
    async with house.leases().hold(LOCAL.id, None):
        with pytest.raises(PoolExhausted):
            await taken(house, attempt())

    assert ("Start", "Answer 2.") == (plan(answered := await taken(house, RETRIED)), said(answered))


async def test_what_is_told_again_needs_no_seat(opened):
    house = opened(pool=ONE_SEAT)
    first = await taken(house, KEYED)
    async with house.leases().hold(LOCAL.id, None):
        assert told_again(first, await taken(house, KEYED))


async def test_it_is_told_again_after_a_restart(opened, model):
    before = opened()
    first = await taken(before, KEYED)
    await before.lifetime().aclose()

    house = opened()
    assert told_again(first, await taken(house, KEYED))
    assert told_again(first, await taken(house, RETRIED))
    assert 1 == len(model.prompts)


async def test_what_was_told_again_is_gone_on_from(house):
    first = await broken_off(house, attempt())
    await taken(house, attempt())

    on = await taken(house, attempt("Go on."), user("Hello."), assistant(said(first)), user("Go on."))

    assert ("Continue", first[0].conversation) == (plan(on), on[0].conversation)


async def test_calls_are_told_again(house, model):
    class Calling(Numbered):
        async def speak(self, prompt):
            self.prompts.append(prompt)
            yield TextSpoken(("Let me see.",))
            yield ToolCalled(0, "call_1", "look", '{"at":')
            yield ToolCalled(0, "", "", '"it"}')
            yield ToolCalled(1, "call_2", "see", "{}")
            yield StepEnded(StopReason.TOOL_CALLS, TOOK)

    house.model.override(providers.Object(Calling()))
    tools = ClientTools((ToolSpec("look"), ToolSpec("see")))
    first = await taken(house, KEYED, tools=tools)
    again = await taken(house, KEYED, tools=tools)

    assert told_again(first, again)
    assert [
        ToolCalled(0, "call_1", "look", '{"at":"it"}'),
        ToolCalled(1, "call_2", "see", "{}"),
    ] == [event for event in again if isinstance(event, ToolCalled)]


@pytest.mark.parametrize("again", [attempt(), RETRIED, KEYED], ids=["same body", "retried", "key"])
async def test_a_client_that_leaves_while_it_is_written_down_is_told_again(house, model, again):
    store = Deliberate(house.conversations())
    house.conversations.override(providers.Object(store))
    leaving = asyncio.ensure_future(taken(house, replace(again, retried=False)))
    await store.begun.wait()
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    retry = asyncio.ensure_future(taken(house, again))
    await asyncio.sleep(0.01)
    store.may.set()

    assert ("Replay", "Answer 1.") == (plan(answered := await retry), said(answered))
    assert 1 == len(model.prompts)
