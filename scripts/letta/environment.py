"""Letta's own environment, `.venv-letta`: its packages, a PostgreSQL, and its tables as a file. It is made once."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from scripts.letta.keeper import Unavailable
from scripts.letta.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-letta"
PYTHON = HOME / "bin" / "python"
SCHEMA = HOME / "letta.sql"
STAMP = HOME / "made.stamp"
REQUIREMENTS = ROOT / "requirements" / "letta.txt"
TABLES = Path(__file__).with_name("tables.py")

PATIENCE_S = 900.0
NEWEST_PYTHON = (3, 13)

Say = Callable[[str], None]


def make(say: Say = print) -> None:
    """Nothing, where it is made already. Raises Unavailable."""
    if os.name != "posix":
        raise Unavailable("Letta is run on Linux and macOS only.")
    if sys.version_info[:2] > NEWEST_PYTHON:
        raise Unavailable(f"Letta runs on Python 3.11 to 3.13, and this is {platform.python_version()}.")
    with _alone():
        if not is_made():
            began = time.monotonic()
            say(f"Making Letta's environment, once: {HOME.name}, about 1 GB.")
            _install()
            _make_schema()
            STAMP.write_text(_wanted())
            say(f"Made it in {time.monotonic() - began:.0f} s.")


def is_made() -> bool:
    return STAMP.exists() and STAMP.read_text() == _wanted()


def packages() -> Path:
    (folder,) = (HOME / "lib").glob("python3*/site-packages")
    return folder


def _wanted() -> str:
    files = b"".join(path.read_bytes() for path in (REQUIREMENTS, TABLES))
    return f"{platform.python_version()} {sha256(files).hexdigest()}\n"


@contextmanager
def _alone() -> Iterator[None]:
    """Two that make it at once would spoil it."""
    import fcntl  # noqa: PLC0415  not on Windows, where this module is imported all the same

    folder = os.open(TABLES.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _install() -> None:
    _run("no environment can be made", sys.executable, "-m", "venv", "--clear", str(HOME))
    # Every package and version is listed, so nothing is to be resolved; one comes as source.
    pip = (str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--retries=2", "--no-deps")
    pinned = ("--require-hashes", "--no-build-isolation")
    _run("its packages cannot be had", *pip, *pinned, "--requirement=/dev/stdin", text=_pins("setuptools", "uv"))
    uv = (str(HOME / "bin" / "uv"), "--no-config", "pip", "install", "--quiet", "--no-deps", "--compile-bytecode")
    try:
        _run("uv failed", *uv, *pinned, f"--python={PYTHON}", f"--requirements={REQUIREMENTS}")
    except Unavailable:
        # uv is five times as fast, but pip may have been told of another index.
        _run("its packages cannot be had", *pip, *pinned, "--use-pep517", f"--requirement={REQUIREMENTS}")


def _pins(*names: str) -> str:
    entries = re.split(r"\n(?=\S)", REQUIREMENTS.read_text())
    return "\n".join(entry for entry in entries if entry.split("==")[0] in names)


def _make_schema() -> None:
    with Postgres(packages()) as postgres:
        postgres.create("letta")
        environment = {
            "HOME": str(postgres.folder),
            "LETTA_PG_URI": postgres.uri("letta"),
            "PATH": os.environ["PATH"],
        }
        command = (str(PYTHON), "-I", str(TABLES), postgres.url("letta"))
        _run("its tables cannot be made", *command, env=environment)
        SCHEMA.write_text(postgres.run("pg_dump", "--no-owner", "letta"))


def _run(complaint: str, *command: str, text: str | None = None, env: dict[str, str] | None = None) -> None:
    # PYTHONPATH and the like are about another Python.
    env = env or {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        run = subprocess.run(
            command, input=text, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"Letta: {complaint} within {PATIENCE_S:.0f} s.") from late
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise Unavailable(f"Letta: {complaint}: " + "\n".join(said[-5:]))
