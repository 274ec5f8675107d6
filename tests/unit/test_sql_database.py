"""The SQLite file: where it is, how it is opened and closed, and what is kept when something goes wrong."""

import asyncio
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.domain.errors import StoreUnavailable
from tests.contract.test_conversation_store import ADA, new_conversation, record

COUNT = "SELECT count(*) FROM turn"


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/librarian.db")
    yield database
    database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:secret@db/librarian", "of the kind `postgresql`; only SQLite is supported so far"),
        ("librarian.db", "only SQLite is supported so far"),
        ("sqlite://librarian.db", "`sqlite:///` and the path of a file"),
        ("sqlite:///", "the path of a file"),
        ("sqlite:///:memory:", "the path of a file"),
        ("sqlite:///librarian.db?mode=ro", "the path of a file"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_once(url, said):
    with pytest.raises(ValueError, match=said) as refused:
        Database(url)

    assert "secret" not in str(refused.value)


def test_a_relative_path_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///data/librarian.db")

    database.open()
    database.close()

    assert (tmp_path / "data" / "librarian.db").exists()


def test_any_path_can_be_opened(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/100% sure #1/my librarian é.db")

    database.open()

    assert database.identity()
    database.close()


def test_what_is_kept_is_for_its_owner_alone(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/deep/data/librarian.db")

    database.open()
    database.close()

    assert 0o700 == stat.S_IMODE((tmp_path / "deep" / "data").stat().st_mode)
    assert 0o600 == stat.S_IMODE((tmp_path / "deep" / "data" / "librarian.db").stat().st_mode)


def test_a_place_where_nothing_can_be_kept_says_so(tmp_path):
    (tmp_path / "data").write_text("a file, not a folder")
    database = Database(f"sqlite:///{tmp_path}/data/librarian.db")

    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        database.open()


def test_a_file_that_is_no_database_says_so_and_is_left_alone(tmp_path):
    path = tmp_path / "librarian.db"
    path.write_bytes(b"Dear diary, " * 1000)

    with pytest.raises(StoreUnavailable, match="cannot be opened: file is not a database"):
        Database(f"sqlite:///{path}").open()

    assert b"Dear diary, " * 1000 == path.read_bytes()


def test_it_can_be_opened_by_many_threads_at_once(database):
    before = _writers()
    with ThreadPoolExecutor(8) as threads:
        for opened in [threads.submit(database.open) for _ in range(8)]:
            opened.result()

    assert 1 == _writers() - before


def _writers():
    return sum(thread.name == "sql-writer" for thread in threading.enumerate())


def test_several_open_one_new_file_at_once(tmp_path):
    databases = [Database(f"sqlite:///{tmp_path}/librarian.db") for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for opened in [threads.submit(database.open) for database in databases]:
            opened.result()

    assert 1 == len({database.identity() for database in databases})
    for database in databases:
        database.close()


def test_an_identity_stays_with_its_store(tmp_path):
    identities = []
    for name in ("one", "one", "other"):
        database = Database(f"sqlite:///{tmp_path}/{name}.db")
        identities.append(database.identity())
        database.close()

    assert identities[0] == identities[1] != identities[2]


def test_it_serves_one_loop_after_another(database):
    store = SqlConversations(database=database)
    turns = [record(new_conversation()) for _ in range(3)]

    for turn in turns:
        asyncio.run(store.settle(turn))
    found = [asyncio.run(store.at((turn.digest,))) for turn in turns]

    assert [turn.conversation.id for turn in turns] == [conversation.id for conversation in found]


def test_it_serves_several_loops_at_once(database):
    store = SqlConversations(database=database)

    async def settle_many():
        await asyncio.gather(*(store.settle(record(new_conversation())) for _ in range(50)))

    with ThreadPoolExecutor(4) as threads:
        for settled in [threads.submit(asyncio.run, settle_many()) for _ in range(4)]:
            settled.result()

    assert (200,) == database.row(COUNT)


async def test_closing_writes_what_waits(database):
    store = SqlConversations(database=database)
    waiting = [asyncio.ensure_future(store.settle(record(new_conversation()))) for _ in range(100)]
    await asyncio.sleep(0)

    await database.aclose()
    await asyncio.gather(*waiting)

    database.open()
    assert (100,) == database.row(COUNT)


async def test_who_reads_while_it_is_closed_is_told_so(database):
    """Closed by another thread than it is used in, a connection takes the process with it."""

    async def read():
        while True:
            database.rows("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200) SELECT i FROM n")
            await asyncio.sleep(0)

    for _ in range(50):
        database.open()
        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.001)
        await database.aclose()
        with pytest.raises(StoreUnavailable):
            await reading


async def test_what_is_closed_is_not_opened_by_accident(database):
    store = SqlConversations(database=database)
    turn = record(new_conversation())
    await store.settle(turn)
    database.close()
    database.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await store.settle(record(new_conversation()))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.at((turn.digest,))


async def test_a_reader_cannot_write(database):
    with pytest.raises(StoreUnavailable):
        database.rows("DELETE FROM turn")


async def test_a_turn_that_cannot_be_settled_leaves_nothing(database):
    store = SqlConversations(database=database)

    def forbid(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TRIGGER forbid BEFORE INSERT ON conversation WHEN new.template = 'forbidden'"
            " BEGIN SELECT raise(ABORT, 'forbidden'); END"
        )

    await database.write(forbid)
    turns = [record(new_conversation(), template="forbidden" if n % 2 else "librarian") for n in range(10)]

    outcomes = await asyncio.gather(*(store.settle(turn) for turn in turns), return_exceptions=True)
    found = [await store.at((turn.digest,)) is not None for turn in turns]

    assert [type(None), StoreUnavailable] * 5 == [type(outcome) for outcome in outcomes]
    assert [True, False] * 5 == found
    assert (5,) == database.row(COUNT)


async def test_a_database_that_is_gone_is_an_error_of_the_house(database):
    store = SqlConversations(database=database)
    await store.settle(record(new_conversation()))

    await database.write(lambda connection: connection.execute("DROP TABLE turn") and None)

    with pytest.raises(StoreUnavailable):
        await store.said_since(ADA.id, 0, 10)
    with pytest.raises(StoreUnavailable):
        await store.settle(record(new_conversation()))


def test_a_database_of_a_later_release_is_left_alone(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/librarian.db")
    database.open()
    database.close()
    with closing(sqlite3.connect(database.path)) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreUnavailable, match="another release"):
        database.open()

    with closing(sqlite3.connect(database.path)) as file:
        assert ("9999",) == file.execute("SELECT version_num FROM alembic_version").fetchone()
