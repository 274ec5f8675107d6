"""Several processes on one file, and processes that are killed."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.domain.transcript import Digest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration

SETTLES = """
import asyncio, sys
from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.domain.transcript import assistant, user
from tests.contract.test_conversation_store import new_conversation, new_digest, record
from tests.contract import test_conversation_store
from itertools import count

database = Database(sys.argv[1])
store = SqlConversations(database=database)
test_conversation_store.serial = count(int(sys.argv[2]))

async def go_on(turns):
    conversation = new_conversation()
    for _ in range(turns):
        turn = record(conversation, heard=(user("x" * 5000),), reply=assistant("y" * 5000))
        await store.settle(turn)
        print(turn.digest.hex(), flush=True)
        conversation = await store.at((turn.digest,))

async def main():
    await asyncio.gather(*(go_on(int(sys.argv[3])) for _ in range(8)))

asyncio.run(main())
database.close()
"""


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/librarian.db")
    yield database
    database.close()


def settling(database, first, turns):
    """A process in which 8 conversations go on; it prints the digest of each turn that was settled."""
    return subprocess.Popen(
        [sys.executable, "-c", SETTLES, f"sqlite:///{database.path}", str(first), str(turns)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


async def found(database, digests):
    store = SqlConversations(database=database)
    return [await store.at((Digest(bytes.fromhex(digest)),)) for digest in digests]


async def test_two_processes_begin_and_write_one_file_at_once(database):
    processes = [settling(database, first, 10) for first in (0, 10**6)]
    digests = [line.strip() for process in processes for line in process.communicate()[0].splitlines()]

    conversations = await found(database, digests)

    assert [0, 0] == [process.returncode for process in processes]
    assert 160 == len(digests)
    assert None not in conversations
    assert 16 == len({conversation.id for conversation in conversations})


async def test_a_killed_process_leaves_whole_turns(database):
    process = settling(database, 0, 10**6)
    digests = [process.stdout.readline().strip() for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    rest = process.communicate()[0]
    digests += [line for line in rest.splitlines() if len(line) == 64]

    conversations = await found(database, digests)

    assert -signal.SIGKILL == process.returncode
    assert None not in conversations
    with closing(sqlite3.connect(database.path)) as file:
        assert [("ok",)] == file.execute("PRAGMA integrity_check").fetchall()
        assert (
            []
            == file.execute(
                "SELECT number FROM turn t LEFT JOIN conversation c ON c.id = t.conversation WHERE c.head IS NULL"
                " UNION ALL SELECT head FROM conversation WHERE head NOT IN (SELECT number FROM turn)"
            ).fetchall()
        )
        for heard, reply in file.execute("SELECT heard, reply FROM turn"):
            assert [[["user", "x" * 5000]], [["assistant", "y" * 5000]]] == [json.loads(heard), json.loads(reply)]
