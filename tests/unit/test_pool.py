"""The pool's promises, under any order of events; and the waiting that is done for it."""

import asyncio
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from librarian.adapters.pooling.local import LocalLeases
from librarian.application.ports.leases import Held
from librarian.domain.errors import ConversationEngaged, PoolExhausted
from librarian.domain.identity import PrincipalId
from librarian.domain.pool import AgentPool

ADA, BEN = PrincipalId("ada"), PrincipalId("ben")
PRINCIPALS = st.sampled_from([ADA, BEN, PrincipalId("cyd")])
THREADS = st.sampled_from([None, "a", "b", "c"])


class Pool(RuleBasedStateMachine):
    """A pool beside the simplest model of it: who sits, and who waits, in the order of asking."""

    @initialize(seats=st.integers(1, 4), places=st.integers(0, 6))
    def build(self, seats, places):
        self.seats = seats
        self.places = places
        self.pool = AgentPool(seats=seats, places=places, patience_s=10)
        self.seated = []
        self.waiting = []

    @rule(principal=PRINCIPALS, thread=THREADS, line=st.booleans())
    def ask(self, principal, thread, line):
        free = len(self.seated) < self.seats and not (line and thread in self.engaged())
        if not free and len(self.waiting) == self.places:
            with pytest.raises(PoolExhausted) as refused:
                self.pool.ask(principal, thread, 0.0, line=line)
            assert 0 < refused.value.retry_after_s <= 120
            return
        lease = self.pool.ask(principal, thread, 0.0, line=line)
        assert free is lease.seated
        (self.seated if lease.seated else self.waiting).append(lease)

    @precondition(lambda self: self.seated)
    @rule(data=st.data())
    def give_back(self, data):
        lease = data.draw(st.sampled_from(self.seated))
        self.seated.remove(lease)
        for heir in self.pool.give_back(lease):
            assert heir.seated
            self.waiting.remove(heir)
            self.seated.append(heir)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), late=st.booleans())
    def stop_waiting(self, data, late):
        lease = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(lease)
        if late:
            engaged = lease.line and lease.thread in self.engaged()
            refused = self.pool.give_up(lease)
            assert isinstance(refused, ConversationEngaged if engaged else PoolExhausted)
        assert () == tuple(self.pool.give_back(lease))

    def engaged(self):
        return {lease.thread for lease in self.seated if lease.thread is not None and not lease.beside}

    @invariant()
    def nobody_is_forgotten(self):
        if hasattr(self, "pool"):
            assert (len(self.seated), len(self.waiting)) == (self.pool.taken, self.pool.waiting)
            assert all(lease.seated for lease in self.seated)
            assert not any(lease.seated for lease in self.waiting)

    @invariant()
    def there_are_never_more_turns_than_seats(self):
        if hasattr(self, "pool"):
            assert len(self.seated) <= self.seats
            assert len(self.waiting) <= self.places

    @invariant()
    def a_thread_has_one_turn_at_most(self):
        if hasattr(self, "pool"):
            threads = [lease.thread for lease in self.seated if lease.thread is not None and not lease.beside]
            assert len(threads) == len(set(threads))
            assert not any(lease.line and lease.beside for lease in self.seated)

    @invariant()
    def nobody_waits_who_could_sit(self):
        if hasattr(self, "pool") and len(self.seated) < self.seats:
            assert all(lease.line and lease.thread in self.engaged() for lease in self.waiting)

    def teardown(self):
        """Everybody who waits is answered in the end."""
        if not hasattr(self, "pool"):
            return
        left = deque(self.seated)
        while left:
            left.extend(self.pool.give_back(left.popleft()))
        assert (0, 0) == (self.pool.taken, self.pool.waiting)


Pool.TestCase.settings = settings(deadline=None)
TestPool = Pool.TestCase


def test_principals_are_served_in_turn():
    pool = AgentPool(seats=1, places=10, patience_s=10)
    sitting = pool.ask(ADA, None, 0)
    waiting = [pool.ask(who, None, 0) for who in (ADA, ADA, ADA, BEN, BEN)]

    served = []
    while sitting is not None:
        sitting = next(iter(pool.give_back(sitting)), None)
        served.append(sitting)

    assert [ADA, BEN, ADA, BEN, ADA] == [lease.principal for lease in served if lease is not None]
    assert set(waiting) == {lease for lease in served if lease is not None}


def test_one_principal_is_served_in_the_order_of_asking():
    pool = AgentPool(seats=1, places=10, patience_s=10)
    sitting = pool.ask(ADA, None, 0)
    first, second = pool.ask(ADA, "a", 0), pool.ask(ADA, "b", 0)

    assert [first] == list(pool.give_back(sitting))
    assert [second] == list(pool.give_back(first))


class StoppedClock:
    """Time stands still: what waits, waits its whole patience."""

    def now_s(self):
        return 0.0

    def elapsed_s(self):
        return 0.0


def leases(*, seats=1, places=10, patience_s=10.0):
    return LocalLeases(AgentPool(seats=seats, places=places, patience_s=patience_s), clock=StoppedClock())


AT_ONCE = Held(waited=False, beside=False)
WAITED = Held(waited=True, beside=False)


class Turn:
    """One turn in a task of its own."""

    def __init__(self, held, thread=None, *, line=False):
        self.seated, self.may_end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._take(held, thread, line=line))

    async def _take(self, held, thread, *, line):
        async with held.hold(ADA, thread, line=line) as place:
            self.seated.set()
            await self.may_end.wait()
            return place

    async def end(self):
        self.may_end.set()
        return await self.task


async def test_a_free_seat_is_taken_without_giving_way():
    others = []
    asyncio.get_running_loop().call_soon(others.append, "ran")

    async with leases().hold(ADA, "a") as place:
        assert (AT_ONCE, []) == (place, others)


async def test_who_waits_is_seated_when_a_seat_comes_back():
    held = leases()
    first = Turn(held)
    await first.seated.wait()
    second = Turn(held)

    assert AT_ONCE == await first.end()
    await second.seated.wait()
    assert WAITED == await second.end()


async def test_nobody_waits_for_a_thread():
    held = leases(seats=5)
    first = Turn(held, "a")
    await first.seated.wait()

    assert Held(waited=False, beside=True) == await Turn(held, "a").end()
    assert AT_ONCE == await first.end()
    assert AT_ONCE == await Turn(held, "a").end()


async def test_a_line_is_waited_for_and_others_go_on():
    held = leases(seats=5)
    first = Turn(held, "a", line=True)
    await first.seated.wait()
    second, other = Turn(held, "a", line=True), Turn(held, "b", line=True)
    await other.seated.wait()

    assert not second.seated.is_set()
    assert [AT_ONCE, AT_ONCE, WAITED] == [await turn.end() for turn in (other, first, second)]


async def test_a_line_that_stays_engaged_is_refused_in_its_own_words():
    held = leases(seats=5, patience_s=0.01)
    first = Turn(held, "a", line=True)
    await first.seated.wait()

    with pytest.raises(ConversationEngaged):
        async with held.hold(ADA, "a", line=True):
            pass
    await first.end()


async def test_patience_ends():
    held = leases(patience_s=0.01)
    first = Turn(held)
    await first.seated.wait()

    with pytest.raises(PoolExhausted):
        async with held.hold(ADA, None):
            pass
    await first.end()
    assert AT_ONCE == await Turn(held, "b").end()


async def test_a_full_queue_refuses_at_once():
    held = leases(places=0)
    first = Turn(held)
    await first.seated.wait()

    with pytest.raises(PoolExhausted):
        async with held.hold(ADA, None):
            pass
    await first.end()


async def test_an_error_gives_the_seat_back():
    held = leases()

    with pytest.raises(ValueError, match="trouble"):
        async with held.hold(ADA, "a"):
            raise ValueError("trouble")

    assert AT_ONCE == await Turn(held, "a").end()


@pytest.mark.parametrize("already_seated", [False, True], ids=["while it waits", "in the moment it is seated"])
async def test_a_turn_that_is_cancelled_leaves_nothing_behind(already_seated):
    held = leases()
    first = held.ask(ADA, None)
    leaving, third = Turn(held), Turn(held)
    await asyncio.sleep(0)  # both ask for their seats

    if already_seated:
        held.give_back(first)  # to the one that leaves, which has not run since
    leaving.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving.task
    if not already_seated:
        held.give_back(first)

    await third.seated.wait()
    assert WAITED == await third.end()


async def test_a_seat_that_comes_in_the_last_moment_is_taken():
    held = leases(patience_s=0.01)
    first = held.ask(ADA, None)
    second = Turn(held)
    await asyncio.sleep(0)  # it asks for its seat
    loop = asyncio.get_running_loop()
    loop.call_later(0.011, held.give_back, first)
    late_s = loop.time() + 0.02
    while loop.time() < late_s:
        pass  # so that its patience ends and the seat comes in one round of the loop

    await second.seated.wait()
    assert WAITED == await second.end()
    assert AT_ONCE == await Turn(held, "b").end()
