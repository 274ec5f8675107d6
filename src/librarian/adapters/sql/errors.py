"""SQLite's errors, in the language of the house."""

import sqlite3
from types import TracebackType
from typing import Literal

from librarian.domain.errors import StoreUnavailable


class _Translated:
    """A class, for it is entered at every read: a generator would cost four times as much."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if isinstance(error, sqlite3.Error):
            raise StoreUnavailable from error
        return False


TRANSLATED = _Translated()
