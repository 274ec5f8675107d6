"""SQLite, written by one thread, many jobs to a commit."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import structlog

from librarian.adapters.sql.errors import TRANSLATED
from librarian.domain.errors import StoreUnavailable

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

WAITING_LIMIT = 10_000
BATCH_LIMIT = 256


class _Waiting(NamedTuple):
    job: Job[Any]
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


class Writer:
    """Whatever arrives while one commit is under way goes into the next.

    A job alone waits for its own commit only, thirty-two at once share one.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`connection` is the writer's from now on, and closed by it."""
        self._connection = connection
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sql-writer", daemon=True)
        self._thread.start()

    async def run(self, job: Job[T]) -> T:
        """The job's result, once it is committed. It runs even if nobody waits for it any more.

        Raises what the job raises, and then nothing of it is kept; StoreUnavailable.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._door:
            if self._closed:
                raise StoreUnavailable("The store is closed.")
            if self._waiting.qsize() >= WAITING_LIMIT:
                raise StoreUnavailable("Too much is waiting to be written.")
            self._waiting.put(_Waiting(job, done))
        return await done

    def close(self) -> None:
        """What waits is written first."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._batch():
            _deliver(batch, self._outcomes([waiting.job for waiting in batch]))
        self._connection.close()

    def _batch(self) -> list[_Waiting]:
        """What waits, at least one; empty at the end."""
        batch: list[_Waiting] = []
        item = self._waiting.get()
        while item is not None:
            batch.append(item)
            if self._waiting.empty() or len(batch) == BATCH_LIMIT:
                return batch
            item = self._waiting.get()
        if batch:
            self._waiting.put(None)
        return batch

    def _outcomes(self, jobs: Sequence[Job[Any]]) -> Sequence[Any]:
        """The jobs' results, in their order; _Failed for each that failed, for all where there was no commit.

        Who fails, fails alone: then each is done again by itself. Savepoints would cost every job what few need.
        """
        try:
            with TRANSLATED:
                outcomes = self._in_one_transaction(jobs)
        except StoreUnavailable as error:
            log.warning("store_not_written", jobs=len(jobs), error=str(error.__cause__))
            return [_Failed(error)] * len(jobs)
        if len(jobs) > 1 and any(isinstance(outcome, _Failed) for outcome in outcomes):
            return [outcome for job in jobs for outcome in self._outcomes([job])]
        return outcomes

    def _in_one_transaction(self, jobs: Sequence[Job[Any]]) -> Sequence[Any]:
        """Committed where none of them failed."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes: list[Any] = []
            for job in jobs:
                outcomes.append(_attempt(job, connection))
                if isinstance(outcomes[-1], _Failed):
                    return outcomes
            connection.execute("COMMIT")
            return outcomes
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _attempt(job: Job[Any], connection: sqlite3.Connection) -> Any:  # noqa: ANN401  a job may return anything
    try:
        with TRANSLATED:
            return job(connection)
    except Exception as error:  # noqa: BLE001  it is raised again where the job is awaited
        return _Failed(error)


def _deliver(batch: Sequence[_Waiting], outcomes: Sequence[Any]) -> None:
    """One call for each loop."""
    answers: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for (_, done), outcome in zip(batch, outcomes, strict=True):
        answers.setdefault(done.get_loop(), []).append((done, outcome))
    for loop, its_own in answers.items():
        with suppress(RuntimeError):  # the loop has ended, and who waited in it with it
            loop.call_soon_threadsafe(_answer, its_own)


def _answer(answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, outcome in answers:
        if done.done():  # who waited has left
            continue
        if isinstance(outcome, _Failed):
            done.set_exception(outcome.error)
        else:
            done.set_result(outcome)
