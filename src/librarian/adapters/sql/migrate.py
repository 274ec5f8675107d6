"""Brings a database to the tables that this release knows. Apart, because what it needs takes 0.2 s to import."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from librarian.domain.errors import StoreUnavailable

SCRIPTS = Path(__file__).parent / "migrations"


def migrate(path: Path, revision: str = "head") -> None:
    """Up or down to `revision`, in one transaction. Safe to run at once. Raises StoreUnavailable."""
    config = configuration()
    try:
        with writing(URL.create("sqlite", database=str(path))) as connection:
            config.attributes["connection"] = connection
            if revision == "base":
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    except CommandError as error:
        raise StoreUnavailable(f"{path} was made by another release, and this one cannot read it: {error}") from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{path} cannot be brought to this release: {error}") from error


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


@contextmanager
def writing(address: str | URL) -> Iterator[Connection]:
    """A connection in a transaction that is committed at the end; nobody else writes meanwhile."""
    engine = create_engine(address, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _begin_by_hand)
        event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _begin_by_hand(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """The driver would commit before each CREATE TABLE (SQLAlchemy's documentation of pysqlite)."""
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
