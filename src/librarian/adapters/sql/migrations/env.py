"""How migrations are run: on the connection in `attributes`, else on `-x url=...`, else on alembic.ini's address."""

from alembic import context
from sqlalchemy import Connection

from librarian.adapters.sql.migrate import writing
from librarian.adapters.sql.tables import metadata


def _address() -> str:
    address = context.get_x_argument(as_dictionary=True).get("url") or context.config.get_main_option("sqlalchemy.url")
    if not address:
        raise ValueError("Say which database: alembic -x url=sqlite:///... upgrade head")
    return address


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def _print() -> None:
    context.configure(url=_address(), target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _print()
elif (given := context.config.attributes.get("connection")) is not None:
    _run(given)
else:
    with writing(_address()) as opened:
        _run(opened)
