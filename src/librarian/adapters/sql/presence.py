"""Whether other processes have the same store open."""

import os
from pathlib import Path


class Presence:
    """A lock on a file beside the store, shared by all who have it open; it goes with the process."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(f"{store.name}.lock")
        self._file: int | None = None

    def enter(self) -> bool:
        """Whether nobody else was there. Where locks cannot be had (Windows), that is never certain."""
        try:
            import fcntl  # noqa: PLC0415  not on Windows
        except ImportError:
            return False
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        else:
            alone = True
        fcntl.flock(self._file, fcntl.LOCK_SH)
        return alone

    def leave(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
