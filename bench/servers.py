"""The servers that are measured, as processes of our own: start, watch in /proc, end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import socket
from typing import Protocol

from workloads import WARMING_MODEL

HERE = Path(__file__).resolve().parent
START_S = 60.0
FOREIGN = ("LIBRARIAN_", "LETTA_", "OPENAI_")
"""Settings of whoever runs this, which the servers measured must not read."""


class NotReady(Exception):
    """A server that did not come up."""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid


class Measured(Protocol):
    """Whatever runs as a process of ours."""

    @property
    def pid(self) -> int: ...


def commands(mock_port: int, folder: Path) -> Mapping[str, tuple[list[str], dict[str, str]]]:
    """How each is started, but for its port, and with what in its environment."""
    upstream = f"http://127.0.0.1:{mock_port}/v1"
    quiet = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    plain = [sys.executable, "-m", "uvicorn", "passthrough:app", "--app-dir", str(HERE), *quiet]
    ours = [sys.executable, "-m", "librarian", "serve"]
    house = {"LIBRARIAN_UPSTREAM__BASE_URL": upstream, "LIBRARIAN_UPSTREAM__MODEL": WARMING_MODEL}
    return {
        "fastapi_httpx": (plain, {"UPSTREAM": upstream}),
        "librarian": (
            ours,
            house | {"LIBRARIAN_DATA_DIR": str(folder / "librarian"), "LIBRARIAN_RECALL__BUDGET_S": "0"},
        ),
        "librarian_recall": (ours, house | {"LIBRARIAN_DATA_DIR": str(folder / "librarian_recall")}),
    }


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(names: Sequence[str], mock: Path, models: Sequence[str], folder: Path) -> Iterator[list[Server]]:
    """The mock first, named `direct`. Ends all it started. Raises NotReady."""
    env = _environment(folder)
    servers: list[Server] = []
    try:
        mock_port = free_port()
        servers.append(_start("direct", mock_port, [str(mock), str(mock_port), *models], env, folder))
        for name, (command, more) in commands(mock_port, folder).items():
            if name in names:
                port = free_port()
                servers.append(_start(name, port, [*command, "--port", str(port)], env | more, folder))
        for server in servers:
            _await_answer(server, folder)
        yield servers
    finally:
        for server in reversed(servers):
            _end(server)


@contextlib.contextmanager
def serving(
    name: str, command: Sequence[str], settings: Mapping[str, str], folder: Path, *, model: str
) -> Iterator[Server]:
    """One server alone; `model`: what it is asked for until it answers. Raises NotReady."""
    port = free_port()
    server = _start(name, port, [*command, "--port", str(port)], _environment(folder) | settings, folder)
    try:
        _await_answer(server, folder, model)
        yield server
    finally:
        _end(server)


def _environment(folder: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return env | {"NO_PROXY": "127.0.0.1", "TMPDIR": str(folder)}


def _start(name: str, port: int, command: Sequence[str], env: Mapping[str, str], folder: Path) -> Server:
    home = folder / name
    home.mkdir()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(name, port, process)


def _await_answer(server: Server, folder: Path, model: str = WARMING_MODEL) -> None:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Are you there?"}]})
    give_up_at = time.monotonic() + START_S
    said = "nothing"
    while time.monotonic() < give_up_at and server.process.poll() is None:
        line = HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            line.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            reply = line.getresponse()
            said = f"{reply.status} {reply.read(500).decode(errors='replace')}"
            if '"choices"' in said:
                return
        except (OSError, HTTPException) as error:
            said = repr(error)
        finally:
            line.close()
        time.sleep(0.2)
    log = (folder / f"{server.name}.log").read_text(errors="replace")[-2000:]
    raise NotReady(f"{server.name} did not come up. Its last answer: {said}\n{log}")


def _end(server: Server) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)  # it leads a group of its own
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(10)
            return


def _tree(pid: int) -> list[int]:
    """A process and its descendants, as far as they still live."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
            found.append(pid)
    return found


Spent = Mapping[tuple[int, str], int]


def spent_ns(server: Measured) -> Spent:
    """CPU of each thread of the process tree so far, the kernel's share included."""
    spent = {}
    for pid in _tree(server.pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                spent[pid, task.name] = int((task / "schedstat").read_text().split()[0])
    return spent


def between_s(before: Spent, after: Spent) -> float:
    return sum(ns - before.get(thread, 0) for thread, ns in after.items()) / 1e9


def memory_kib(server: Server) -> int:
    """What the process tree holds in memory; what its processes share counts for each."""
    total = 0
    for pid in _tree(server.pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return total
