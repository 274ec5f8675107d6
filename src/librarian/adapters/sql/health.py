"""Whether the store can be read and written."""

from librarian.adapters.sql.database import Database
from librarian.application.ports.health import Finding
from librarian.domain.errors import StoreUnavailable

WRITE = "UPDATE store SET id = id"
"""Changes nothing, and is written all the same: a full disk is no place to serve from."""


class StoreHealth:
    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def check(self) -> Finding:
        try:
            self._database.identity()
            await self._database.write(lambda connection: connection.execute(WRITE))
        except StoreUnavailable as error:
            return Finding("store", well=False, detail=str(error))
        return Finding("store", well=True, detail=str(self._database.path))
