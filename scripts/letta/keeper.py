"""A program that lasts no longer than whoever started it.

Run as a program, this is the keeper: it prints the pid of what it started, and stops that with its whole group when its
own standard input closes, which happens even where its master is killed.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOOK_EVERY_S = 0.1


class Unavailable(Exception):
    """Why there can be no Letta here, in a sentence."""


class Kept:
    def __init__(
        self,
        program: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path,
        user: str | None = None,
        stop_with: signal.Signals = signal.SIGTERM,
        grace_s: float = 5.0,
        afterwards_remove: Path | None = None,
    ) -> None:
        """Raises Unavailable where the program does not start at all."""
        self._log = log
        self._patience_s = grace_s + 10
        how = [str(grace_s), str(int(stop_with)), user or "", str(afterwards_remove or "")]
        with log.open("wb") as out:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", __file__, *how, *map(str, program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        assert self._keeper.stdin is not None  # noqa: S101  both are pipes
        assert self._keeper.stdout is not None  # noqa: S101
        self._lifeline = self._keeper.stdin
        with self._keeper.stdout as told:
            pid = told.readline()
        if not pid:
            self.stop()
            raise Unavailable(f"{program[0]} does not start:\n{self.last_words}")
        self.pid = int(pid)

    @property
    def runs(self) -> bool:
        return self._keeper.poll() is None

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:]) if self._log.exists() else ""

    def serves(self, ready: Callable[[], bool], within_s: float) -> bool:
        """Whether it is ready in time. It is asked until then, or until the program ends."""
        end = time.monotonic() + within_s
        while self.runs and time.monotonic() < end:
            if ready():
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def stop(self) -> None:
        """Asked to, and by force when that takes longer than its grace."""
        self._lifeline.close()
        self._keeper.wait(self._patience_s)

    def kill(self) -> None:
        """At once, with all that it started."""
        if self.runs:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.stop()


def keep(program: Sequence[str], *, grace_s: float, stop_with: int, user: str | None, folder: str) -> int:
    """The folder goes with the program that was stopped; one that ends by itself leaves its last words there."""
    running = subprocess.Popen(
        program,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        user=user,
        extra_groups=None if user is None else [],
        start_new_session=True,
    )
    print(running.pid, flush=True)
    released = False
    while running.poll() is None and not released:
        if select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
            running.send_signal(stop_with)
            with suppress(subprocess.TimeoutExpired):
                running.wait(grace_s)
            released = True
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)
    code = running.wait()
    if released and folder:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    grace, signal_number, other_user, folder_to_remove, *what = sys.argv[1:]
    sys.exit(
        keep(
            what,
            grace_s=float(grace),
            stop_with=int(signal_number),
            user=other_user or None,
            folder=folder_to_remove,
        )
    )
