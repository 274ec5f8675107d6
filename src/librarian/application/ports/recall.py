"""An index over what was said and put by. A cache: it can be rebuilt from the stores at any time."""

from collections.abc import Sequence
from typing import Protocol

from librarian.domain.identity import OwnerId
from librarian.domain.recall import Entry, Hit, Search, Shelf


class RecallIndex(Protocol):
    """One store for each owner: nothing of one is in another's. Works off the loop's thread."""

    async def newest(self, owner: OwnerId, shelf: Shelf) -> int:
        """The highest number indexed on this shelf; 0 if there is none."""
        ...

    async def add(self, owner: OwnerId, shelf: Shelf, entries: Sequence[Entry], upto: int) -> None:
        """Adding what is there already changes nothing. `upto` is what `newest` says from then on."""
        ...

    async def search(self, owner: OwnerId, search: Search) -> Sequence[Hit]:
        """The best first; the newest first where no text is searched for."""
        ...

    async def forget(self, owner: OwnerId) -> None:
        """Nothing of what was indexed is left; `newest` says 0 again."""
        ...

    async def aclose(self) -> None: ...
