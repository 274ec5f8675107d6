"""Make Letta's tables in the empty database of a URL: its wheel brings none of the migrations that would.

Letta's own Python runs this.
"""

import asyncio
import importlib
import pkgutil
import sys

import letta.orm
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

# What the migrations set and the models leave out. No message can be stored without it.
FORGOTTEN = (
    "create sequence message_seq_id",
    "alter table messages alter column sequence_id set default nextval('message_seq_id')",
)


async def make_tables(url: str) -> None:
    for module in pkgutil.iter_modules(letta.orm.__path__):
        importlib.import_module(f"letta.orm.{module.name}")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("create extension vector"))
        await connection.run_sync(importlib.import_module("letta.orm.base").Base.metadata.create_all)
        for statement in FORGOTTEN:
            await connection.execute(text(statement))
    await engine.dispose()


asyncio.run(make_tables(sys.argv[1]))
