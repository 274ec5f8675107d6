"""Full-text search in SQLite (FTS5): a file for each owner, so that nothing of one can be found by another."""

import asyncio
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec import json

from librarian.adapters.recall.query import match_of
from librarian.domain.conversation import ConversationId
from librarian.domain.errors import StoreUnavailable
from librarian.domain.identity import OwnerId
from librarian.domain.recall import Entry, Hit, Search, Shelf
from librarian.domain.transcript import Role

VERSION = 1
"""Of the tables below. A file of another version is begun anew: all of it can be had from the stores."""

TABLES = (
    """
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY, shelf TEXT NOT NULL, number INTEGER NOT NULL, role TEXT NOT NULL, at_s REAL NOT NULL,
        conversation TEXT, tags TEXT NOT NULL, body TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX entry_by_number ON entry (shelf, number, role)",
    "CREATE INDEX entry_by_time ON entry (at_s)",
    """
    CREATE VIRTUAL TABLE words USING fts5(
        body, tags, content='entry', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
    )
    """,
    "INSERT INTO words (words, rank) VALUES ('rank', 'bm25(1.0, 0.5)')",
    "CREATE TABLE reach (shelf TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE origin (store TEXT PRIMARY KEY) WITHOUT ROWID",
    f"PRAGMA user_version = {VERSION}",
)
COME_FROM = "INSERT INTO origin (store) VALUES (?)"
COMES_FROM = "SELECT 1 FROM origin WHERE store = ?"
NEWEST = "SELECT number FROM reach WHERE shelf = ?"
ADD = (
    "INSERT INTO entry (shelf, number, role, at_s, conversation, tags, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (shelf, number, role) DO NOTHING"
)
ADD_WORDS = "INSERT INTO words (rowid, body, tags) VALUES (?, ?, ?)"
EXTEND = (
    "INSERT INTO reach (shelf, number) VALUES (?, ?)"
    " ON CONFLICT (shelf) DO UPDATE SET number = max(number, excluded.number)"
)
# The index is asked first, and in its own order of rank: an entry is only read until there are enough.
BEST = (
    "SELECT e.shelf, e.number, e.body, e.at_s, e.role, e.conversation, e.tags, -words.rank"
    " FROM words CROSS JOIN entry e ON e.id = words.rowid WHERE words MATCH :match"
    " AND (:shelf IS NULL OR e.shelf = :shelf)"
    " AND (:roles IS NULL OR e.role IN (SELECT value FROM json_each(:roles)))"
    " AND (:tags IS NULL OR :tags_needed <= (SELECT count(DISTINCT had.value) FROM json_each(e.tags) had"
    " WHERE had.value IN (SELECT value FROM json_each(:tags))))"
    " AND (:without IS NULL OR e.conversation IS NOT :without)"
    " AND e.at_s >= :since_s AND e.at_s < :until_s"
    " ORDER BY words.rank LIMIT :limit"
)
LATEST = (
    "SELECT e.shelf, e.number, e.body, e.at_s, e.role, e.conversation, e.tags, 0.0 FROM entry e"
    " WHERE e.at_s >= :since_s AND e.at_s < :until_s"
    " AND (:shelf IS NULL OR e.shelf = :shelf)"
    " AND (:roles IS NULL OR e.role IN (SELECT value FROM json_each(:roles)))"
    " AND (:tags IS NULL OR :tags_needed <= (SELECT count(DISTINCT had.value) FROM json_each(e.tags) had"
    " WHERE had.value IN (SELECT value FROM json_each(:tags))))"
    " AND (:without IS NULL OR e.conversation IS NOT :without)"
    " ORDER BY e.at_s DESC, e.id DESC LIMIT :limit"
)

LONG_AGO_S, NEVER_S = -1e18, 1e18
HITS_LIMIT = 200
THREADS = 2
FILES_OPEN = 64
"""Three file descriptors each."""
PATIENCE_S = 5.0
USELESS = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
"""What says that a file is better begun anew than tried again."""

T = TypeVar("T")
Work = Callable[["_File"], T]


class FtsIndex:
    """Works in threads of its own. A file that cannot be read is begun anew, and `newest` says 0 again."""

    def __init__(self, *, folder: Path, store: Callable[[], str], files_open: int = FILES_OPEN) -> None:
        """`store` names the store that is indexed: what is left of another one is forgotten."""
        self._folder = folder
        self._store = store
        self._files_open = files_open
        self._files: OrderedDict[OwnerId, _File] = OrderedDict()
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, "recall")
        self._closed = False

    async def newest(self, owner: OwnerId, shelf: Shelf) -> int:
        known = self._files.get(owner)
        if known is not None and (number := known.reach.get(shelf)) is not None:
            return number

        def work(file: _File) -> int:
            row = file.opened().execute(NEWEST, (shelf,)).fetchone()
            file.reach[shelf] = row[0] if row else 0
            return file.reach[shelf]

        return await self._in_thread(owner, work)

    async def add(self, owner: OwnerId, shelf: Shelf, entries: Sequence[Entry], upto: int) -> None:
        def work(file: _File) -> None:
            connection = file.opened()
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                for entry in entries:
                    _add(connection, entry)
                connection.execute(EXTEND, (shelf, upto))
            file.reach.pop(shelf, None)  # another process may have reached further

        await self._in_thread(owner, work)

    async def search(self, owner: OwnerId, search: Search) -> Sequence[Hit]:
        """At most HITS_LIMIT. Nothing, where the text has no word to look for."""
        match = match_of(search.text)
        if search.text.strip() and not match:
            return ()
        sql, values = BEST if match else LATEST, _values(search, match)

        def work(file: _File) -> Sequence[Hit]:
            return [_hit(row) for row in file.opened().execute(sql, values)]

        return await self._in_thread(owner, work)

    async def forget(self, owner: OwnerId) -> None:
        def work(file: _File) -> None:
            file.remove()

        await self._in_thread(owner, work)

    async def aclose(self) -> None:
        """What is under way is done first."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        while self._files:
            self._files.popitem()[1].close()

    async def _in_thread(self, owner: OwnerId, work: Work[T]) -> T:
        if self._closed:
            raise StoreUnavailable("The index is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._do, owner, work)

    def _do(self, owner: OwnerId, work: Work[T]) -> T:
        with _translated(), self._borrowed(owner) as file:
            try:
                return work(file)
            except _Foreign:
                pass
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in USELESS:
                    raise
            file.remove()
            return work(file)

    @contextmanager
    def _borrowed(self, owner: OwnerId) -> Iterator["_File"]:
        """For this thread alone. The one not used for longest is closed when there are too many."""
        with self._guard:
            file = self._files.get(owner)
            if file is None:
                file = self._files[owner] = _File(self._folder / f"{owner.hex()}.db", self._store)
            self._files.move_to_end(owner)
            file.borrowers += 1
        try:
            with file.lock:
                yield file
        finally:
            with self._guard:
                file.borrowers -= 1
                if len(self._files) > self._files_open:
                    self._close_oldest()

    def _close_oldest(self) -> None:
        owner = next((owner for owner, file in self._files.items() if not file.borrowers), None)
        if owner is not None:
            self._files.pop(owner).close()


class _Foreign(Exception):
    """A file of another version, or of another store."""


class _File:
    """One owner's index, open or not."""

    def __init__(self, path: Path, store: Callable[[], str]) -> None:
        self.lock = threading.Lock()
        self.borrowers = 0
        self._path = path
        self._store = store
        self._connection: sqlite3.Connection | None = None
        self.reach: dict[Shelf, int] = {}
        """What `newest` says, while the file is open: asking it would cost a thread's hand-over each time."""

    def opened(self) -> sqlite3.Connection:
        """Raises _Foreign, sqlite3.Error, OSError."""
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
            with ExitStack() as unfinished:
                unfinished.enter_context(closing(connection))
                _prepare(connection, self._store())
                unfinished.pop_all()
            self._connection = connection
        return self._connection

    def close(self) -> None:
        self.reach.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def remove(self) -> None:
        self.close()
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable from error


def _prepare(connection: sqlite3.Connection, store: str) -> None:
    """Makes the tables of an empty file. Raises _Foreign."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not version:
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(COME_FROM, (store,))
        elif version != VERSION or connection.execute(COMES_FROM, (store,)).fetchone() is None:
            raise _Foreign


def _add(connection: sqlite3.Connection, entry: Entry) -> None:
    tags = json.encode(entry.tags).decode()
    role = entry.role or ""
    values = (entry.shelf, entry.number, role, entry.at_s, entry.conversation, tags, entry.text)
    added = connection.execute(ADD, values)
    if added.rowcount:
        connection.execute(ADD_WORDS, (added.lastrowid, entry.text, tags))


def _values(search: Search, match: str) -> dict[str, object]:
    return {
        "match": match,
        "shelf": search.shelf,
        "roles": json.encode(search.roles).decode() if search.roles else None,
        "tags": json.encode(search.tags).decode() if search.tags else None,
        "tags_needed": len(set(search.tags)) if search.all_tags else 1,
        "without": search.without,
        "since_s": LONG_AGO_S if search.since_s is None else search.since_s,
        "until_s": NEVER_S if search.until_s is None else search.until_s,
        "limit": max(0, min(search.limit, HITS_LIMIT)),
    }


def _hit(row: tuple[Any, ...]) -> Hit:
    shelf, number, text, at_s, role, conversation, tags, score = row
    entry = Entry(
        Shelf(shelf),
        number,
        text,
        at_s,
        Role(role) if role else None,
        ConversationId(conversation) if conversation else None,
        tuple(json.decode(tags)),
    )
    return Hit(entry, score)
