"""Up, down and up again; what the migrations make is what `tables.py` says."""

import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from librarian.adapters.sql.database import HEAD, Database
from librarian.adapters.sql.migrate import configuration, migrate
from librarian.adapters.sql.tables import metadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "100% librarian.db"


def shape(path):
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def test_the_code_knows_the_newest_migration():
    assert HEAD == ScriptDirectory.from_config(configuration()).get_current_head()


def test_up_down_and_up_again(path):
    migrate(path)
    first = shape(path)

    migrate(path, "base")
    below = shape(path)
    migrate(path)

    assert {"alembic_version"} == {name for kind, name, _ in below if kind == "table"}
    assert first == shape(path)


def test_up_again_changes_nothing(path):
    migrate(path)
    before = path.read_bytes()

    migrate(path)

    assert before == path.read_bytes()


def test_the_migrations_make_the_tables_as_they_are_described(path):
    migrate(path)
    engine = create_engine(URL.create("sqlite", database=str(path)))

    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert [] == differences


def test_opening_brings_an_old_file_up_to_date(path):
    migrate(path)
    migrate(path, "base")
    database = Database(f"sqlite:///{path}")

    database.open()

    assert database.identity()
    database.close()


def test_the_tables_can_be_made_elsewhere():
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
