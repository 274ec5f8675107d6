"""Measure what a turn of an agent on a real Letta server costs the gateway, beside what it costs Letta itself.

The server is started with a scripted model behind it; the gateway is a process of its own, the client and the model are
this one's threads. docs/performance.md says what the rows mean.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from statistics import median

from servers import Measured, NotReady, Server, between_s, serving, spent_ns

from scripts.letta import environment
from scripts.letta.keeper import Unavailable
from scripts.letta.postgres import Postgres
from scripts.letta.server import LettaServer
from tests.letta.model import LettaModel

TIMEOUT_S = 60.0
TRAILING_S = 0.5
"""Work that is put off until after the answer is counted, too."""
WARMING_TURNS = 4
AT_MOST_SHARE = 0.10
"""The gate: the gateway's CPU beside Letta's, in a chat that goes on."""
GATED = "chat"
ANSWER = ["It", "is", "so,", "as", "far", "as", "anybody", "knows.", ""]
NOTE = "Please note this"


@dataclass(frozen=True, slots=True)
class Load:
    """`turns` that each chat goes on for; `at_once` chats, one after another in as many lines."""

    name: str
    what: str
    turns: int
    at_once: int = 1
    stream: bool = False
    text: str = "How are things"


LOADS = (
    Load("new", "chats of one turn", 1),
    Load("chat", "a chat that goes on", 16),
    Load("stream", "the same, streamed", 16, stream=True),
    Load("memory", "the same, each turn with a memory tool: two calls of the model", 16, text=NOTE),
    Load("four", "four chats at once", 8, at_once=4),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One load in one round."""

    load: str
    turns: int
    calls: int
    gateway_ms: float
    letta_ms: float
    latency_ms: float

    @property
    def share(self) -> float:
        return self.gateway_ms / self.letta_ms


def main() -> int:
    asked = _arguments()
    if not Path("/proc/self/schedstat").exists():
        print("The benchmark needs Linux's /proc.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended
    try:
        with _running() as (gateway, letta, model):
            talk = _Talk(gateway.port, model)
            talk.take(Load("warming", "", WARMING_TURNS, stream=True))
            talk.take(Load("warming", "", WARMING_TURNS, text=NOTE))
            cells = [
                _measure(talk, load, gateway, letta, 8 if load.turns == 1 else 1)
                for _ in range(asked.rounds)
                for load in LOADS
            ]
    except (NotReady, Unavailable) as why:
        print(why, file=sys.stderr)
        return 2
    _print(cells, asked.rounds)
    share = median(cell.share for cell in cells if cell.load == GATED)
    print(f"\n{GATED}: {share:.3f} of Letta's own, at most {AT_MOST_SHARE:.2f} is wanted")
    return 1 if asked.check and share > AT_MOST_SHARE else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/letta.py", description="Measure the gateway beside a Letta server.")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="1..20", default=3, help="%(default)s")
    parser.add_argument("--check", action="store_true", help="exit 1 when the gate is passed over")
    return parser.parse_args()


@contextmanager
def _running() -> Iterator[tuple[Server, LettaServer, LettaModel]]:
    """Raises Unavailable and NotReady."""
    environment.make()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="librarian-bench-")))
        model = running.enter_context(LettaModel())
        model.when(_is_a_note).call("memory_insert", {"label": "human", "new_string": "It was noted."})
        model.when(lambda _: True).say(*(f"{word} " for word in ANSWER))
        postgres = running.enter_context(Postgres(environment.packages()))
        letta = running.enter_context(LettaServer(postgres, model.base_url))
        house = {"LETTA_BASE_URL": letta.base_url, "LIBRARIAN_DATA_DIR": str(folder / "data")}
        house["LIBRARIAN_LETTA__EMBEDDING"] = model.embedding
        command = [sys.executable, "-m", "librarian", "serve"]
        gateway = running.enter_context(serving("librarian", command, house, folder, model="librarian"))
        yield gateway, letta, model


def _is_a_note(asked: object) -> bool:
    messages = getattr(asked, "messages", [])
    return messages[-1]["role"] == "user" and NOTE in str(messages[-1]["content"])


class _Talk:
    """With the gateway, as a client that holds the transcript and sends it whole."""

    def __init__(self, port: int, model: LettaModel) -> None:
        self._port = port
        self._model = model
        self._numbers = count()

    def take(self, load: Load, times: int = 1) -> tuple[list[float], int]:
        """How long each turn took, in seconds, and how often the model was called."""
        before = len(self._model.requests)
        with ThreadPoolExecutor(load.at_once) as lines:
            took = [s for one in lines.map(lambda _: self._chat(load), range(load.at_once * times)) for s in one]
        return took, len(self._model.requests) - before

    def _chat(self, load: Load) -> list[float]:
        messages: list[dict[str, str]] = []
        took = []
        line = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        read: Callable[[bytes], str] = _streamed if load.stream else _whole
        for _ in range(load.turns):
            messages.append({"role": "user", "content": f"{load.text}, number {next(self._numbers)}?"})
            body = json.dumps({"model": "librarian", "messages": messages, "stream": load.stream})
            began = time.perf_counter()
            line.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            reply = line.getresponse()
            said = reply.read()
            took.append(time.perf_counter() - began)
            if reply.status != HTTPStatus.OK:
                raise NotReady(f"A turn failed: {reply.status} {said[:500].decode(errors='replace')}")
            messages.append({"role": "assistant", "content": read(said)})
        line.close()
        return took


def _whole(said: bytes) -> str:
    return str(json.loads(said)["choices"][0]["message"]["content"])


def _streamed(said: bytes) -> str:
    events = [json.loads(line[6:]) for line in said.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def _measure(talk: _Talk, load: Load, gateway: Measured, letta: Measured, times: int) -> Cell:
    measured = (gateway, letta)
    before = [spent_ns(server) for server in measured]
    took, calls = talk.take(load, times)
    time.sleep(TRAILING_S)
    gateway_s, letta_s = (between_s(spent, spent_ns(server)) for spent, server in zip(before, measured, strict=True))
    turns = len(took)
    return Cell(load.name, turns, calls, gateway_s * 1e3 / turns, letta_s * 1e3 / turns, median(took) * 1e3)


def _print(cells: Sequence[Cell], rounds: int) -> None:
    load, cpus = os.getloadavg()[0], os.cpu_count()
    print(f"\n{cpus} CPUs, load {load:.1f}, Python {sys.version.split()[0]}; medians of {rounds} rounds\n")
    print("| load | what | turns | model calls a turn | gateway, CPU ms | Letta, CPU ms | share | latency, p50 ms |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for one in LOADS:
        own = [cell for cell in cells if cell.load == one.name]
        calls = sum(cell.calls for cell in own) / sum(cell.turns for cell in own)
        figures = (
            f"{median(cell.gateway_ms for cell in own):.2f}",
            f"{median(cell.letta_ms for cell in own):.0f}",
            f"{median(cell.share for cell in own):.3f}",
            f"{median(cell.latency_ms for cell in own):.0f}",
        )
        print(f"| {one.name} | {one.what} | {own[0].turns} | {calls:g} | {' | '.join(figures)} |")


if __name__ == "__main__":
    sys.exit(main())
