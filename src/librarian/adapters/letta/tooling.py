"""Tools that Letta runs for the agents of a template: made, attached and detached as the settings name them.

What others attached is left alone: an agent's metadata on the server say which of its tools and rules are the house's.
"""

import ast
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from librarian.adapters.letta.answers import Agent, McpServer
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import Gone
from librarian.adapters.letta.tags import EQUIPPED, TAG
from librarian.application.ports.administration import Report
from librarian.domain.errors import LibrarianError
from librarian.domain.templates import Template, ToolServer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LOOK_S = 15.0
"""How often the files of tools are looked at."""
PAGE = 50

Rule = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Tools by name; an id of None: one that would be made."""

    tools: Mapping[str, str | None] = field(default_factory=dict)
    rules: Sequence[Rule] = ()


NOTHING = Wanted()


@dataclass(slots=True)
class _Draft:
    changes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def report(self) -> Report:
        return Report(tuple(dict.fromkeys(self.changes)), tuple(dict.fromkeys(self.troubles)))


class Tooling:
    def __init__(self, *, client: LettaClient, templates: Sequence[Template], watching: bool) -> None:
        """`watching`: whether `open` begins to keep the server as the settings and the files of tools are."""
        self._client = client
        self._templates = {template.name: template for template in templates}
        self._watching = watching
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._watching and self._watch is None:
            self._watch = asyncio.create_task(self._kept_up())

    async def aclose(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    async def synchronise(self, *, dry_run: bool = False) -> Report:
        """Agents of a template with trouble are left as they are. Raises what LettaClient raises."""
        draft = _Draft()
        wanted = {
            name: await self._wanted(template, draft, dry_run=dry_run) for name, template in self._templates.items()
        }
        async for agent, template in self._agents():
            want = wanted.get(template, NOTHING)
            if want is not None:
                await self._fit(agent, want, draft, dry_run=dry_run)
        return draft.report

    async def equip(self, ref: str, template: str) -> None:
        """A new agent has what the template's others have. Raises what LettaClient raises."""
        if template not in self._templates:
            return
        draft = _Draft()
        want = await self._wanted(self._templates[template], draft, dry_run=True)
        if want is not None:
            there = {name: id_ for name, id_ in want.tools.items() if id_ is not None}
            await self._fit(await self._client.agents.get(ref), Wanted(there, want.rules), draft, dry_run=False)

    async def _wanted(self, template: Template, draft: _Draft, *, dry_run: bool) -> Wanted | None:
        before = len(draft.troubles)
        tools: dict[str, str | None] = {}
        for path in template.tools:
            tools |= await self._custom(path, draft, dry_run=dry_run)
        listed = {server.server_name: server for server in await self._servers(template)}
        for server in template.servers:
            name = f"{TAG}-{server.name}"
            tools |= await self._offered(name, server, listed.get(name), draft, dry_run=dry_run)
        return Wanted(tools, template.rules) if len(draft.troubles) == before else None

    async def _custom(self, path: str, draft: _Draft, *, dry_run: bool) -> dict[str, str | None]:
        try:
            source = await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
            name = function_of(source)
        except (OSError, ValueError, SyntaxError) as error:
            draft.troubles.append(f"The tool {path} cannot be used: {error}.")
            return {}
        there = next(iter(await self._client.tools.named([name])), None)
        if there is not None and TAG not in (there.tags or ()):
            draft.troubles.append(f"The server has a tool `{name}` that is not the house's: call {path}'s otherwise.")
            return {}
        if there is not None and there.source_code == source:
            return {name: there.id}
        draft.changes.append(f"The tool `{name}` is {'made' if there is None else 'brought up to date'}.")
        if dry_run:
            return {name: there.id if there is not None else None}
        try:
            return {name: (await self._client.tools.upsert(source, tags=[TAG])).id}
        except LibrarianError as error:
            draft.troubles.append(f"Letta does not take the tool `{name}`: {error}")
            return {}

    async def _servers(self, template: Template) -> Sequence[McpServer]:
        return await self._client.tools.mcp_servers() if template.servers else ()

    async def _offered(
        self, name: str, server: ToolServer, there: McpServer | None, draft: _Draft, *, dry_run: bool
    ) -> dict[str, str | None]:
        config = dict(server.config)
        try:
            if there is None:
                draft.changes.append(f"The MCP server `{name}` is made known to Letta.")
                if dry_run:
                    return {}
                there = await self._client.tools.add_mcp_server(name, config)
            elif not dry_run:
                if _differs(there, config):
                    draft.changes.append(f"The MCP server `{name}` is brought up to date.")
                # said again where nothing differs, too: whether its secrets do, Letta does not show
                await self._client.tools.patch_mcp_server(there.id, name, config)
            if not dry_run:  # one that cannot be reached is only told of here
                await self._client.tools.refresh_mcp_server(there.id)
            tools = await self._client.tools.mcp_tools(there.id)
        except LibrarianError as error:
            draft.troubles.append(f"Letta has no tools from the MCP server `{name}`: {error}")
            return {}
        return {tool.name: tool.id for tool in tools if tool.name}

    async def _agents(self) -> AsyncIterator[tuple[Agent, str]]:
        """The house's own, those that are templates, and those that were; each with its template's name, if any."""
        for template in self._templates.values():
            if template.agent is not None:
                with suppress(Gone):
                    yield await self._client.agents.get(template.agent), template.name
        templates = {template.agent for template in self._templates.values()}
        async for agent in self._tagged(TAG):
            if agent.id not in templates:
                yield agent, str((agent.metadata or {}).get("template", ""))
        async for agent in self._tagged(EQUIPPED):
            if agent.id not in templates:
                yield agent, ""

    async def _tagged(self, tag: str) -> AsyncIterator[Agent]:
        """Page by page: what is done to one changes nothing about which comes after it."""
        page = await self._client.agents.find([tag], most=PAGE)
        while page:
            after = await self._client.agents.find([tag], most=PAGE, after=page[-1].id) if len(page) == PAGE else []
            for agent in page:
                yield agent
            page = after

    async def _fit(self, agent: Agent, want: Wanted, draft: _Draft, *, dry_run: bool) -> None:
        noted = _noted(agent)
        names = {tool.id: tool.name or tool.id for tool in agent.tools or ()}
        names |= {id_: name for name, id_ in want.tools.items() if id_ is not None}
        have = {tool.id for tool in agent.tools or ()}
        ours = have & set(noted.get("tools", ()))
        wanted = {id_ for id_ in want.tools.values() if id_ is not None}
        attached, detached = sorted(wanted - have), sorted(ours - wanted)
        new = [name for name, id_ in want.tools.items() if id_ is None]
        our_rules, rules = _sorted(agent.tool_rules or (), noted.get("rules", ()), want.rules)
        changed = len(rules) != len(agent.tool_rules or ()) or any(
            rule not in (agent.tool_rules or ()) for rule in rules
        )
        draft.changes += [
            f"The tool `{name}` is attached to {agent.id}." for name in [names[i] for i in attached] + new
        ]
        draft.changes += [f"The tool `{names[i]}` is detached from {agent.id}." for i in detached]
        draft.changes += [f"The tool rules of {agent.id} are those of its template."] if changed else []
        kept = {"tools": sorted((ours & wanted) | set(attached)), "rules": our_rules}
        tags = _tags(agent, equipped=any(kept.values()))
        if dry_run or not (attached or detached or changed or set(tags) != set(agent.tags or ())):
            return
        for tool in attached:
            await self._client.tools.attach(agent.id, tool)
        changes: dict[str, Any] = {"metadata": (agent.metadata or {}) | {TAG: kept}, "tags": tags}
        await self._client.agents.patch(agent.id, **changes, **({"tool_rules": rules} if changed else {}))
        for tool in detached:
            await self._client.tools.detach(agent.id, tool)

    async def _kept_up(self) -> None:
        done = b""
        told: tuple[str, ...] = ()
        while True:
            try:
                now = await asyncio.to_thread(self._fingerprint)
                if now != done:
                    report = await self.synchronise()
                    for change in report.changes:
                        log.info("letta_tools_changed", change=change)
                    if report.troubles != told:
                        told = report.troubles
                        log.warning("letta_tools_in_trouble", troubles=told)
                    done = b"" if report.troubles else now
            except LibrarianError as error:
                log.warning("letta_tools_not_looked_after", error=str(error))
            await asyncio.sleep(LOOK_S)

    def _fingerprint(self) -> bytes:
        digest = sha256(repr(self._templates).encode())
        for template in self._templates.values():
            for path in template.tools:
                with suppress(OSError):
                    digest.update(Path(path).read_bytes())
        return digest.digest()


def function_of(source: str) -> str:
    """The function that Letta makes the tool of. Raises SyntaxError and ValueError.

    Source: Letta 0.16.8, `functions/functions.py:_parse_function_from_source`.
    """
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    if not functions:
        raise ValueError("there is no function in it")
    if not ast.get_docstring(functions[-1]):
        raise ValueError(f"`{functions[-1].name}` has no docstring to tell the agent what it is for")
    return functions[-1].name


def _differs(there: McpServer, config: Mapping[str, object]) -> bool:
    """As far as Letta shows it: secrets it does not."""
    shown = {"server_url": there.server_url, "command": there.command, "args": there.args}
    return any(config[name] != value for name, value in shown.items() if name in config)


def lent(agent: Agent) -> frozenset[str]:
    """The ids of tools that it has from the house."""
    return frozenset(_noted(agent).get("tools", ()))


def _noted(agent: Agent) -> Mapping[str, Any]:
    noted = (agent.metadata or {}).get(TAG)
    return noted if isinstance(noted, dict) else {}


def _tags(agent: Agent, *, equipped: bool) -> list[str]:
    tags = [tag for tag in agent.tags or () if tag != EQUIPPED]
    return [*tags, EQUIPPED] if equipped and TAG not in tags else tags


def _sorted(there: Sequence[Rule], noted: Sequence[Rule], wanted: Sequence[Rule]) -> tuple[list[Rule], list[Rule]]:
    """Those of the wanted rules that are the house's to keep, and all that are to be there."""
    theirs = [rule for rule in there if not any(_says(rule, ours) for ours in noted)]
    ours = [want for want in wanted if not any(_says(rule, want) for rule in theirs)]
    kept = [rule for rule in there if rule not in theirs and any(_says(rule, want) for want in ours)]
    new = [want for want in ours if not any(_says(rule, want) for rule in kept)]
    return ours, [*theirs, *kept, *new]


def _says(rule: Rule, want: Rule) -> bool:
    """Letta adds fields of its own."""
    return all(rule.get(name) == value for name, value in want.items())
