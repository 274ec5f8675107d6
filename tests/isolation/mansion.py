"""The house they all live in, through its front door. What anybody was shown in it is kept, to be looked through."""

import json
import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from dependency_injector import providers

from librarian.adapters.recall.fts import FtsIndex
from librarian.container import House
from librarian.domain.catalog import ModelCard
from librarian.domain.identity import LOCAL, Principal, PrincipalId
from librarian.domain.prompt import Prompt
from librarian.domain.turn import StepEnded, StepStream, StopReason, TextSpoken, ToolCalled, Usage
from librarian.settings import Settings
from tests.isolation.grid import CELLS, RECALLED, TEMPLATES, TENANTS, Cell, Kind, canaries, principal
from tests.unit.edge_house import CHAT, COMPLETIONS, LOCAL_HEADERS, Answer, request

TOOK = Usage(11, 7)
ASKING: ContextVar[Cell | int | None] = ContextVar("ASKING", default=None)
"""A cell, or a tenant that looks after its agents."""
IDS = re.compile(r"[0-9a-f]{24,32}")
TENANT = re.compile(r"tenant-(\d)")
SECRET = "lib_secret"
FILES_OPEN = 24
"""Of the index: fewer than there are people, so that they are closed and opened again all the time."""
Act = str | Sequence[tuple[str, Mapping[str, Any]]]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


class Exhibit(NamedTuple):
    """What somebody was shown, and where. `asked`: the words that they brought along themselves."""

    by: Cell | int | None
    where: str
    text: str
    asked: str = ""


class Leak(NamedTuple):
    by: Cell | int | None
    where: str
    what: str
    of: object


class SeveralKeys:
    """A KeyStore of many tenants. Of each: two keys of equal standing, one for a person, and one that demands names."""

    required = True
    local = LOCAL

    def __init__(self) -> None:
        self._holders: dict[bytes, Principal] = {}
        for tenant in range(TENANTS):
            name = PrincipalId(principal(tenant))
            for which, holder in {
                "a": Principal(name),
                "b": Principal(name),
                "person": Principal(name, asserts_subject=False),
                "strict": Principal(name, requires_subject=True),
            }.items():
                self._holders[key(tenant, which).encode()] = holder

    def holder(self, key: bytes) -> Principal | None:
        return self._holders.get(key)


def key(tenant: int, which: str = "a") -> str:
    return f"{SECRET}_{tenant}_{which}"


class Confidant:
    """A LanguageModel that does for whoever asks what was laid down for them, then has one line for every occasion."""

    def __init__(self, exhibits: list[Exhibit]) -> None:
        self._exhibits = exhibits
        self._acts: defaultdict[Cell | int | None, deque[Act]] = defaultdict(deque)
        self.prompts: defaultdict[Cell | int | None, list[Prompt]] = defaultdict(list)

    def lay_down(self, asker: Cell | int | None, acts: Sequence[Act]) -> None:
        """Of what was laid down before and not done, nothing is left."""
        self._acts[asker] = deque(acts)

    async def speak(self, prompt: Prompt) -> StepStream:
        asker = ASKING.get()
        self._exhibits.append(Exhibit(asker, "prompt", repr(prompt)))
        self.prompts[asker].append(prompt)
        acts = self._acts[asker]
        act = acts.popleft() if acts else "Indeed."
        if isinstance(act, str):
            yield TextSpoken((act,))
            yield StepEnded(StopReason.END_OF_TURN, TOOK)
            return
        for index, (name, arguments) in enumerate(act):
            yield ToolCalled(index, f"call_{len(self.prompts[asker])}_{index}", name, json.dumps(arguments))
        yield StepEnded(StopReason.TOOL_CALLS, TOOK)

    async def models(self) -> Sequence[ModelCard]:
        return (ModelCard("scripted"),)

    async def aclose(self) -> None:
        """There is nothing to close."""


class Mansion:
    def __init__(self, data_dir: Path) -> None:
        self.exhibits: list[Exhibit] = []
        self.model = Confidant(self.exhibits)
        self.house = House(
            settings=Settings(
                _env_file=None,
                data_dir=data_dir,
                models={name: {"template": name} for name in TEMPLATES},
                recall={"budget_s": 60, "budget_chars": 20_000},
                upstream={"discover": False},
            )
        )
        self.house.model.override(providers.Object(self.model))
        self.house.keys.override(providers.Object(SeveralKeys()))
        database = self.house.database()
        self.house.index.override(
            providers.Singleton(FtsIndex, folder=data_dir / "recall", store=database.identity, files_open=FILES_OPEN)
        )
        self.door = self.house.front_door()
        self.conversations: defaultdict[Cell, set[str]] = defaultdict(set)
        """Those that each was told of, by the house's own names."""
        self._looked_at = 0

    async def ask(
        self,
        cell: Cell,
        *messages: Mapping[str, Any],
        acts: Sequence[Act] = (),
        by: str = "a",
        headers: Mapping[str, str] | None = None,
        path: str = CHAT,
        query: str = "",
        stream: bool = False,
        **body: Any,
    ) -> Answer:
        """One request of a cell's; `acts`: what the model does in its turn."""
        said: dict[str, Any] = {"prompt": body.pop("prompt", None)} if path.endswith(COMPLETIONS) else {}
        said = said or {"messages": messages}
        if cell.person is not None:
            said["user"] = cell.person
        if stream:
            said["stream"] = True
        said = {"model": cell.template} | said | body
        self.model.lay_down(cell, acts)
        answer = await self.knock(cell, "POST", path, key(cell.tenant, by), body=said, headers=headers, query=query)
        if (name := answer.headers.get("x-librarian-conversation")) is not None and answer.status == 200:
            self.conversations[cell].add(name)
        return answer

    async def keep(self, tenant: int, method: str, path: str, body: Any = b"", *, by: str = "a") -> Answer:
        """What a tenant does that looks after its agents."""
        return await self.knock(tenant, method, path, key(tenant, by), body=body)

    async def knock(
        self,
        asker: Cell | int | None,
        method: str,
        path: str,
        secret: str | None,
        *,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> Answer:
        path, _, asked = path.partition("?")
        query = query or asked

        async def door(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await self.door(scope | {"query_string": query.encode()}, receive, send)

        sent = LOCAL_HEADERS | ({"authorization": f"Bearer {secret}"} if secret is not None else {})
        with asking(asker):
            answer = await request(door, method, path, body=body, headers=sent | dict(headers or {}))
        brought = f"{path} {query} {body} {headers}"
        self.exhibits.append(Exhibit(asker, f"{method} {path}", f"{answer.headers} {answer.body.decode()}", brought))
        return answer

    def leaks(self, *, since_the_last_look: bool = True) -> list[Leak]:
        """Whatever anybody was shown that is not theirs."""
        owners = self._census()
        leaks: list[Leak] = []
        since, self._looked_at = self._looked_at if since_the_last_look else 0, len(self.exhibits)
        for by, where, text, asked in self.exhibits[since:]:
            leaks += [
                Leak(by, where, f"{kind.name} canary", cell)
                for kind, cell in canaries(text)
                if not _may_see(by, where, kind, cell)
            ]
            leaks += [
                Leak(by, where, found, owners[found])
                for found in _ids(text)
                if found in owners and found not in asked and not _may_name(by, owners[found])
            ]
            if where != "prompt" and (where, by) != ("log", None):
                leaks += [
                    Leak(by, where, "name", found)
                    for found in TENANT.findall(text)
                    if found not in asked and int(found) != _tenant_of(by)
                ]
            if SECRET in text:
                leaks.append(Leak(by, where, "key", text))
        return leaks

    def _census(self) -> dict[str, Cell]:
        """Whose every conversation, turn and agent is, by the digits of its name."""
        cells = {(cell.principal, _subject(cell), cell.template): cell for cell in CELLS}
        cells |= {(cell.principal, _subject(cell), ""): cell for cell in CELLS if cell.template == TEMPLATES[0]}
        found = self.rows("SELECT id, principal, subject, template FROM conversation")
        found += self.rows("SELECT id, principal, subject, template FROM agent")
        found += self.rows(
            "SELECT t.id, c.principal, c.subject, c.template FROM turn t JOIN conversation c ON c.id = t.conversation"
        )
        return {re.split("[_-]", row[0])[1]: cells[tuple(row[1:])] for row in found}

    def rows(self, sql: str) -> list[Any]:
        return list(self.house.database().rows(sql, ()))

    async def aclose(self) -> None:
        await self.house.lifetime().aclose()


@contextmanager
def asking(asker: Cell | int | None):
    token = ASKING.set(asker)
    try:
        yield
    finally:
        ASKING.reset(token)


@contextmanager
def overheard(exhibits: list[Exhibit]):
    """All that is logged meanwhile is an exhibit."""
    before = structlog.get_config()

    def note(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.ProcessorReturnValue:
        exhibits.append(Exhibit(ASKING.get(), "log", repr(event)))
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, note],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def says(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(answer: Answer) -> dict[str, Any]:
    """The answer, as the client sends it back."""
    message = answer.json["choices"][0]["message"]
    return {name: message[name] for name in ("role", "content", "tool_calls") if message.get(name)}


def _ids(text: str) -> list[str]:
    """As they stand there; items of responses have the name of their turn in front of their own."""
    return [name for found in IDS.findall(text) for name in {found, found[:24]}]


def _may_see(by: Cell | int | None, where: str, kind: Kind, cell: Cell) -> bool:
    """No secret has a place in a log, nor where everybody looks."""
    if where == "log" or by is None:
        return False
    if isinstance(by, int):
        return by == cell.tenant
    return by == cell or (by.owner == cell.owner and kind in RECALLED)


def _may_name(by: Cell | int | None, cell: Cell) -> bool:
    return by in (cell, cell.tenant)


def _tenant_of(by: Cell | int | None) -> int | None:
    return by.tenant if isinstance(by, Cell) else by


def _subject(cell: Cell) -> str:
    return f"self:{cell.principal}" if cell.person is None else f"user:{cell.person}"
