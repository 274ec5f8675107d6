"""No statement of the adapters goes through a whole table."""

import sqlite3
from contextlib import closing

import pytest

from librarian.adapters.recall import fts
from librarian.adapters.sql import conversations, database, memory, register, threads
from librarian.adapters.sql.database import Database

PLANNED = ("SELECT", "UPDATE", "DELETE", "INSERT")


def statements(*modules):
    return [
        pytest.param(value, id=f"{module.__name__.rpartition('.')[2]}.{name}")
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and value.startswith(PLANNED)
    ]


def scans(connection, statement):
    """The steps that go through a table, rows of a function's making (json_each) and full-text look-ups apart."""
    unknown = dict.fromkeys(
        ("match", "shelf", "roles", "tags", "tags_needed", "without", "since_s", "until_s", "limit")
    )
    values = unknown if ":match" in statement or ":limit" in statement else [None] * _places(statement)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
    return [step for *_, step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]


def _places(statement):
    return max((n for n in range(1, 10) if f"?{n}" in statement), default=statement.count("?"))


# The rest of the register is for those who look after agents, and may go through its table.
ON_THE_WAY = [
    *statements(conversations, memory, threads),
    *(p for p in statements(register) if "ABANDONED" in p.id or "UNSETTLED" in p.id or "STANDING" in p.id),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('plans')}/librarian.db")
    opened.open()
    with closing(sqlite3.connect(opened.path)) as connection:
        yield connection
    opened.close()


@pytest.fixture(scope="module")
def index():
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in fts.TABLES:
            connection.execute(statement)
        yield connection


@pytest.mark.parametrize("statement", ON_THE_WAY)
def test_the_stores_look_things_up(stores, statement):
    assert [] == scans(stores, statement)


@pytest.mark.parametrize("statement", statements(fts))
def test_the_index_looks_things_up(index, statement):
    assert [] == scans(index, statement)


def test_a_scan_would_be_seen(stores):
    assert ["SCAN turn"] == scans(stores, "SELECT * FROM turn WHERE model = ?")
    assert len(statements(conversations, memory, fts)) > 20
    assert ["database.MIGRATED", "database.VERSION", "database.IDENTITY"] == [p.id for p in statements(database)]
