"""One SQLite file: brought up to date, opened, read where one stands, written by one thread."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from librarian.adapters.sql.errors import TRANSLATED
from librarian.adapters.sql.presence import Presence
from librarian.adapters.sql.writer import Job, T, Writer
from librarian.domain.errors import StoreUnavailable

HEAD = "0005"
"""The newest migration. Known here, so that nothing need be imported to see that there is nothing to do."""
PREFIX = "sqlite:///"
WRITER_PATIENCE_S = 5.0
READER_PATIENCE_S = 0.5
"""Shorter: a reader waits in the loop's own thread, though in WAL mode it hardly ever has to."""

MIGRATED = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
VERSION = "SELECT version_num FROM alembic_version"
IDENTITY = "SELECT id FROM store"

Row = tuple[Any, ...]


class Database:
    """Safe to use from several threads and loops. Opens itself at first use."""

    def __init__(self, url: str) -> None:
        """`sqlite:///relative/path` or `sqlite:////absolute/path`. Raises ValueError for anything else."""
        self.path = _path(url).absolute()
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._closed = False
        self._readers: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._presence = Presence(self.path)
        self._alone = False

    def open(self) -> None:
        """Makes what is missing. Does nothing if it is open. Raises StoreUnavailable."""
        with self._lock:
            if self._writer is None:
                connection = _opened(self.path)
                self._alone = self._presence.enter()
                self._writer = Writer(connection)
                self._closed = False

    def close(self) -> None:
        """What waits to be written is written first. Only `open` opens it again."""
        with self._lock:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            if self._writer is not None:
                self._writer.close()  # last: who closes last brings all that is in the log into the file
                self._writer = None
                self._presence.leave()
            self._local = threading.local()

    async def aclose(self) -> None:
        """As `close`, while the loop goes on: what still reads in it is told so, and not cut off in the middle."""
        with self._lock:
            self._closed = True
            reader: sqlite3.Connection | None = getattr(self._local, "reader", None)
            if reader in self._readers:
                self._readers.remove(reader)
                del self._local.reader
                reader.close()  # here, where it is used: closed in another thread, a read would crash the process
        await asyncio.to_thread(self.close)

    async def write(self, job: Job[T]) -> T:
        """As `Writer.run`."""
        return await (self._writer or self._opened_writer()).run(job)

    def row(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The first row. Raises StoreUnavailable."""
        with TRANSLATED:
            row: Row | None = self._reader().execute(sql, values).fetchone()
            return row

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Raises StoreUnavailable."""
        with TRANSLATED:
            return self._reader().execute(sql, values).fetchall()

    def was_alone(self) -> bool:
        """Whether no other process had it open when this one opened it."""
        return self._alone

    def identity(self) -> str:
        """Which store this is: another one in the same place has another. Raises StoreUnavailable."""
        row = self.row(IDENTITY)
        if row is None:
            raise StoreUnavailable
        return str(row[0])

    def _opened_writer(self) -> Writer:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        self.open()
        if self._writer is None:
            raise StoreUnavailable("The store is closed.")
        return self._writer

    def _reader(self) -> sqlite3.Connection:
        """This thread's own."""
        try:
            reader: sqlite3.Connection = self._local.reader
        except AttributeError:
            reader = self._local.reader = self._new_reader()
        return reader

    def _new_reader(self) -> sqlite3.Connection:
        self._opened_writer()
        reader = _connection(f"{self.path.as_uri()}?mode=ro", READER_PATIENCE_S)
        with self._lock:
            self._readers.append(reader)
        return reader


def _path(url: str) -> Path:
    if not url.startswith("sqlite:"):
        raise ValueError(f"The database is of the kind `{url.partition(':')[0]}`; only SQLite is supported so far.")
    path = url.removeprefix(PREFIX)
    if not url.startswith(PREFIX) or path in ("", ":memory:") or "?" in path:
        raise ValueError("The address of a SQLite database is `sqlite:///` and the path of a file, and nothing else.")
    return Path(path)


def _opened(path: Path) -> sqlite3.Connection:
    """For writing; the tables are those of this release. Raises StoreUnavailable, and says why."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = _connection(path.as_uri(), WRITER_PATIENCE_S)
        with ExitStack() as unfinished:
            unfinished.callback(connection.close)
            _prepare(connection, path)
            unfinished.pop_all()
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"The database {path} cannot be opened: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _keep_log(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    if _version(connection) != HEAD:
        from librarian.adapters.sql.migrate import migrate  # noqa: PLC0415  seldom needed, and slow to import

        migrate(path)


def _keep_log(connection: sqlite3.Connection) -> None:
    """Two processes that begin a new file at once: SQLite refuses one of them without waiting for the other."""
    until_s = time.monotonic() + WRITER_PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until_s:
                raise
            time.sleep(0.02)
        else:
            return


def _connection(uri: str, patience_s: float) -> sqlite3.Connection:
    """Statements begin no transaction by themselves."""
    return sqlite3.connect(uri, uri=True, timeout=patience_s, isolation_level=None, check_same_thread=False)


def _version(connection: sqlite3.Connection) -> str | None:
    if connection.execute(MIGRATED).fetchone() is None:
        return None
    row = connection.execute(VERSION).fetchone()
    return row[0] if row else None
