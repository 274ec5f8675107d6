"""One thread, many jobs to a commit: each is kept whole or not at all, and answered when it is."""

import asyncio
import sqlite3
import threading

import pytest

from librarian.adapters.sql import writer as writers
from librarian.adapters.sql.writer import Writer
from librarian.domain.errors import StoreUnavailable

PATIENCE_S = 0.05


@pytest.fixture
def path(tmp_path):
    with sqlite3.connect(tmp_path / "numbers.db") as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE number (value INTEGER PRIMARY KEY)")
    made.close()
    return tmp_path / "numbers.db"


@pytest.fixture
def writer(path):
    writer = Writer(sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=PATIENCE_S))
    yield writer
    writer.close()


@pytest.fixture
def other(path):
    """Somebody else with the same file open."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def kept(connection):
    return {value for (value,) in connection.execute("SELECT value FROM number")}


def add(value):
    def job(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO number VALUES (?)", (value,))
        return value

    return job


def fail(value):
    def job(connection: sqlite3.Connection) -> None:
        add(value)(connection)
        raise KeyError(value)

    return job


class Gate:
    """A job that the writer is busy with until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, _: sqlite3.Connection) -> None:
        self._reached.set()
        self._open.wait()

    async def reached(self):
        await asyncio.to_thread(self._reached.wait)

    def open(self):
        self._open.set()


async def at_once(writer, *jobs):
    """Run in one commit: they wait together while the writer is busy."""
    gate = Gate()
    busy = asyncio.ensure_future(writer.run(gate))
    await gate.reached()
    waiting = [asyncio.ensure_future(writer.run(job)) for job in jobs]
    await asyncio.sleep(0)
    gate.open()
    await busy
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_result_comes_when_it_is_kept(writer, other):
    assert 7 == await writer.run(add(7))
    assert {7} == kept(other)


async def test_who_fails_alone_leaves_nothing(writer, other):
    with pytest.raises(KeyError):
        await writer.run(fail(7))

    assert set() == kept(other)


async def test_who_fails_in_company_fails_alone(writer, other):
    outcomes = await at_once(writer, add(1), fail(2), add(3), add(3), add(4))

    assert [1, KeyError, 3, StoreUnavailable, 4] == [
        type(outcome) if isinstance(outcome, Exception) else outcome for outcome in outcomes
    ]
    assert {1, 3, 4} == kept(other)


async def test_an_error_of_sqlite_is_told_as_the_cause(writer):
    await writer.run(add(7))

    with pytest.raises(StoreUnavailable) as failed:
        await writer.run(add(7))

    assert isinstance(failed.value.__cause__, sqlite3.IntegrityError)


async def test_while_somebody_else_holds_the_file_all_fail(writer, other):
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(*(writer.run(add(value)) for value in range(5)), return_exceptions=True)
    other.execute("ROLLBACK")

    assert [StoreUnavailable] * 5 == [type(outcome) for outcome in outcomes]
    assert 9 == await writer.run(add(9))
    assert {9} == kept(other)


async def test_who_makes_sqlite_give_up_all_of_them_fails_alone_too(writer, other):
    def give_up(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR ROLLBACK INTO number VALUES (1)")

    outcomes = await at_once(writer, add(1), give_up, add(2))

    assert [int, StoreUnavailable, int] == [type(outcome) for outcome in outcomes]
    assert {1, 2} == kept(other)


async def test_a_job_runs_though_nobody_waits_any_more(writer, other):
    gate = Gate()
    busy = asyncio.ensure_future(writer.run(gate))
    await gate.reached()
    left = asyncio.ensure_future(writer.run(add(1)))
    await asyncio.sleep(0)
    left.cancel()
    gate.open()
    await busy

    await writer.run(add(2))

    assert left.cancelled()
    assert {1, 2} == kept(other)


async def test_no_more_wait_than_can_be_served(writer, other, monkeypatch):
    monkeypatch.setattr(writers, "WAITING_LIMIT", 3)

    outcomes = await at_once(writer, *(add(value) for value in range(5)))

    assert [0, 1, 2] == outcomes[:3]
    assert [StoreUnavailable] * 2 == [type(outcome) for outcome in outcomes[3:]]
    assert {0, 1, 2} == kept(other)


async def test_more_than_fit_one_commit_are_all_kept(writer, other):
    outcomes = await at_once(writer, *(add(value) for value in range(600)))

    assert list(range(600)) == outcomes
    assert set(range(600)) == kept(other)


def test_who_waits_in_a_loop_that_ends_does_not_trouble_others(writer, other):
    gate = Gate()

    async def leave():
        waiting = asyncio.ensure_future(writer.run(gate))
        await gate.reached()
        waiting.cancel()

    asyncio.run(leave())
    gate.open()

    assert 7 == asyncio.run(writer.run(add(7)))
    assert {7} == kept(other)


async def test_a_closed_writer_says_so(writer):
    writer.close()

    with pytest.raises(StoreUnavailable):
        await writer.run(add(7))
