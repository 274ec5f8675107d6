"""A front door over use cases that do what a test tells them; and a client without a network."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter, time
from typing import Any

import uvicorn

from librarian.adapters.keys.configured import ConfiguredKeys
from librarian.adapters.keys.forwarded import OpenWebUiIdentity
from librarian.application.admit import Admit
from librarian.application.diagnose import Diagnosis
from librarian.application.ports.embedder import Vectors
from librarian.application.ports.health import Finding
from librarian.domain.catalog import SHIPPED, Catalog, ModelCard
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.errors import LibrarianError
from librarian.domain.turn import StopReason, TextSpoken, TurnBegan, TurnEnded, Usage
from librarian.entrypoints.http.app import make_front_door

LIMIT_BYTES = 200_000
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
LOCAL_HEADERS = {"host": "127.0.0.1:8000", "content-type": "application/json"}
USAGE = Usage(7, 2, cached_tokens=3, reasoning_tokens=1)
BEGAN = TurnBegan(ConversationId("conv_1"), TurnId("turn_1"), "Start", None)
ENDED = TurnEnded(StopReason.END_OF_TURN, USAGE)
INDEED = (BEGAN, TextSpoken(["In", "deed"]), TextSpoken(["."]), ENDED)


def hello(**more: Any) -> dict[str, Any]:
    return {"model": "librarian", "messages": [{"role": "user", "content": "Hello?"}]} | more


class RealClock:
    def now_s(self):
        return time()

    def elapsed_s(self):
        return perf_counter()


class NumberedIds:
    def __init__(self):
        self._numbers = count(1)

    def new(self):
        return f"{next(self._numbers):024x}"


class CountingMeter:
    """Keeps what was reported."""

    def __init__(self):
        self.reported = []

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *facts: self.reported.append((name, *facts))

    def of(self, name):
        return [facts for said, *facts in self.reported if said == name]


class ScriptedConverse:
    """Says its events; an error among them is raised, and what can be awaited is waited for."""

    def __init__(self, *events):
        self.events = events or INDEED
        self.asks = []
        self.asked = asyncio.Event()
        self.dismissed = asyncio.Event()
        self.finished = 0

    async def __call__(self, ask):
        self.asks.append(ask)
        self.asked.set()
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                if callable(event):
                    await event()
                else:
                    yield event
            self.finished += 1
        finally:
            self.dismissed.set()


async def for_ever():
    await asyncio.Event().wait()


def admit(secret=None, *, signed_by=None, **flags):
    return Admit(keys=ConfiguredKeys(secret, **flags), forwarded=OpenWebUiIdentity(signed_by, clock=RealClock()))


@dataclass
class Fixtures:
    """What the door was made of."""

    converse: Any
    meter: CountingMeter = field(default_factory=CountingMeter)
    findings: tuple[Finding, ...] = (Finding("store", well=True, detail="fine"),)
    cards: Sequence[ModelCard] = (ModelCard("qwen/qwen3:8b", created_s=1_600_000_000),)
    trouble: LibrarianError | Exception | None = None
    wanted: list[Any] = field(default_factory=list)
    vector: Sequence[float] = (0.25, -1.5)
    agents: Any = None
    kept: Any = None

    async def embed(self, wanted):
        if self.trouble is not None:
            raise self.trouble
        self.wanted.append(wanted)
        return Vectors([self.vector] * len(wanted.texts), 2 * len(wanted.texts))

    async def models(self):
        if self.trouble is not None:
            raise self.trouble
        return Catalog(SHIPPED, {"gpt-4": "librarian"}, self.cards)

    async def diagnose(self):
        return Diagnosis(self.findings)


def front_door(fixtures: Fixtures, *, secret: str | None = None, **choices: Any):
    return make_front_door(
        **{
            "converse": fixtures.converse,
            "embed": fixtures.embed,
            "models": fixtures.models,
            "agents": fixtures.agents,
            "go_on": fixtures.kept,
            "shorten": fixtures.kept,
            "answers": fixtures.kept,
            "conversations": fixtures.kept,
            "diagnose": fixtures.diagnose,
            "admit": admit(secret),
            "render_metrics": lambda: b"# nothing\n",
            "version": "9.9.9",
            "docs": True,
            "body_limit_bytes": LIMIT_BYTES,
            "hold_s": 10.0,
            "ping_s": 15.0,
            "turn_s": 600.0,
            "clock": RealClock(),
            "ids": NumberedIds(),
            "meter": fixtures.meter,
        }
        | choices
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def frames(self) -> list[str]:
        """The data of every event of a stream, comments left out."""
        events = self.body.decode().split("\n\n")
        assert events[-1] == ""
        return [event.removeprefix("data: ") for event in events[:-1] if not event.startswith(":")]

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(frame) for frame in self.frames if frame != "[DONE]"]


async def request(
    door: Any,
    method: str = "POST",
    path: str = CHAT,
    *,
    body: Any = b"",
    headers: dict[str, str] | None = None,
    more: Sequence[tuple[str, str]] = (),
) -> Answer:
    """One request by ASGI, with no server in between; a body that is not bytes is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    sent = LOCAL_HEADERS if headers is None else headers
    if body:
        sent = {"content-length": str(len(body))} | sent
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    said: list[dict[str, Any]] = []

    async def receive():
        return messages.pop() if messages else await for_ever()

    async def send(message):
        said.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in [*sent.items(), *more]],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }
    await door(scope, receive, send)
    start, *rest = said
    assert start["type"] == "http.response.start"
    assert not rest[-1].get("more_body")
    return Answer(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(part.get("body", b"") for part in rest),
    )


class Announced(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config):
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.listening.set()

    @property
    def url(self):
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def idle(self):
        """Until every request is done with."""
        while self.server_state.tasks:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.001)

    async def alone(self):
        """Until every client has gone, as far as the server knows."""
        while self.server_state.connections:  # noqa: ASYNC110  the same
            await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(door: Any) -> AsyncIterator[Announced]:
    """A real server on loopback."""
    config = uvicorn.Config(door, port=0, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = Announced(config)
    running = asyncio.create_task(server.serve())
    try:
        await server.listening.wait()
        yield server
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def served(door: Any) -> AsyncIterator[str]:
    """Its address."""
    async with serving(door) as server:
        yield server.url
