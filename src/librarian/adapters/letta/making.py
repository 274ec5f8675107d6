"""Which agent of the server stands for one of ours; made on first use."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from librarian.adapters.letta.answers import Agent, Block, Tool
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import Gone
from librarian.adapters.letta.tags import TAG, mark, tags_of
from librarian.adapters.letta.tooling import Tooling, lent
from librarian.application.ports.clock import Clock
from librarian.application.ports.memory import AgentId, AgentKey, MemoryStore
from librarian.application.ports.threads import AgentRef, Backend, ThreadStore
from librarian.domain.errors import LibrarianError, UpstreamRefused
from librarian.domain.memory import BLOCK_LIMIT_CHARS, MemoryBlock
from librarian.domain.prompt import DEFAULT_BLOCKS, PERSONA
from librarian.domain.templates import Template

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

REMEMBERED = 10_000
FRESH_S = 60.0
"""How old what is known of a template may be."""
BLOCKS_HERE = "{CORE_MEMORY}"
"""Where Letta would put the blocks in a system prompt; the house has a place of its own for them."""
HOSTED = "letta/"
"""Models on a server of Letta's makers, which every Letta lists and not every one reaches: the last to be chosen."""
PERSONA_LABEL = "persona"
LETTAS_OWN = ("letta_core", "letta_memory_core", "letta_multi_agent_core", "letta_sleeptime_core", "letta_files_core")
"""Kinds of tools that an agent is not given with its template's: the house has its own for memory."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an agent of the server says to those made after it: who they are, and through which model they speak."""

    identity: str | None = None
    handle: str | None = None


NO_PATTERN = Pattern()


class Making:
    """Never looked up by name: our own table knows it; where that is empty, its tags on the server do."""

    def __init__(
        self,
        *,
        client: LettaClient,
        backend: Backend,
        threads: ThreadStore,
        kept: MemoryStore,
        model: str | None,
        embedding: str | None,
        templates: Sequence[Template] = (),
        windows_tokens: Mapping[str, int],
        tooling: Tooling,
        clock: Clock,
    ) -> None:
        """`model` and `embedding` are handles; None: the first that the server lists.

        `windows_tokens`: how much is shown to a model at most, by its handle; `*` for all others.
        """
        self._client = client
        self._backend = backend
        self._threads = threads
        self._kept = kept
        self._model = model
        self._embedding = embedding
        self._templates: Mapping[str, Template] = {template.name: template for template in templates}
        self._windows_tokens = windows_tokens
        self._tooling = tooling
        self._clock = clock
        self._patterns: dict[str, tuple[float, Pattern]] = {}
        self._known: dict[AgentKey, tuple[AgentId, AgentRef]] = {}
        self._making: dict[AgentKey, asyncio.Task[tuple[AgentId, AgentRef]]] = {}

    async def of(self, key: AgentKey) -> tuple[AgentId, AgentRef]:
        """Raises what LettaClient raises."""
        known = self._known.get(key)
        if known is not None:
            return known
        task = self._making.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._making[key] = asyncio.ensure_future(self._found_or_made(key))
            task.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(task)  # who waits with others must not take it from them

    async def forget(self, key: AgentKey, ref: AgentRef) -> None:
        """It is gone from the server."""
        self._known.pop(key, None)
        await self._threads.forget_agent(self._backend, ref)

    async def pattern(self, template: str) -> Pattern:
        """Of a template that is an agent of the server, as that is now or was a minute ago; else an empty one.

        One that is gone from the server is as it was seen last. Raises what LettaClient raises.
        """
        agent = self._templates.get(template, Template(template)).agent
        if agent is None:
            return NO_PATTERN
        seen_s, pattern = self._patterns.get(agent, (None, NO_PATTERN))
        if seen_s is None or self._clock.elapsed_s() - seen_s > FRESH_S:
            try:
                there = await self._client.agents.get(agent)
                pattern = Pattern((there.system or "").replace(BLOCKS_HERE, "").strip() or None, _handle(there))
            except Gone:
                log.warning("letta_template_gone", template=template)
            self._patterns[agent] = self._clock.elapsed_s(), pattern
        return pattern

    async def model(self) -> str:
        """The handle of the default model. Raises UpstreamRefused where the server has none."""
        if self._model is None:
            embeddings = {listed.handle for listed in await self._client.embedding_models()}
            models = [listed.handle for listed in await self._client.models() if listed.handle not in embeddings]
            if not models:
                raise UpstreamRefused("The Letta server lists no language model.", heard=False)
            self._model = models[0]
        return self._model

    async def embedding(self) -> str | None:
        """The handle for archives; None where the server has none."""
        if self._embedding is None:
            listed = [model.handle for model in await self._client.embedding_models()]
            self._embedding = min(listed, key=lambda handle: handle.startswith(HOSTED), default=None)
        return self._embedding

    async def _found_or_made(self, key: AgentKey) -> tuple[AgentId, AgentRef]:
        template = self._templates.get(key.template, Template(key.template))
        itself = template.agent if key.owner == template.owner else None
        agent = await self._kept.agent(key, await self._beginning(template, itself))
        ref = await self._threads.agent(self._backend, agent)
        if ref is None:
            ref = AgentRef(itself) if itself else await self._by_tags(key) or await self._made(key, agent, template)
            ref = await self._threads.keep_agent(self._backend, agent, ref)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = agent, ref
        return agent, ref

    async def _beginning(self, template: Template, itself: str | None) -> Sequence[MemoryBlock]:
        """What the template knows of a person is that person's; what it is, all made after it are."""
        if template.agent is None:
            return DEFAULT_BLOCKS
        theirs = [block for block in await self._client.memory.blocks(template.agent) if block.label]
        if itself is not None:
            for block in theirs:
                if not (block.metadata or {}).get(TAG):
                    marked = (block.metadata or {}) | mark(block.value)
                    await self._client.memory.patch_block(itself, block.label or "", metadata=marked)
        blocks = {block.label: block for block in DEFAULT_BLOCKS}
        blocks |= {b.label or "": _block(b) for b in theirs if itself is not None or b.label == PERSONA_LABEL}
        return tuple(blocks.values())

    async def _by_tags(self, key: AgentKey) -> AgentRef | None:
        found = await self._client.agents.find(tags_of(key), most=1)
        return AgentRef(found[0].id) if found else None

    async def _made(self, key: AgentKey, agent: AgentId, template: Template) -> AgentRef:
        pattern = await self._client.agents.get(template.agent) if template.agent else Agent(id="")
        own = [tool for tool in pattern.tools or () if tool.id not in lent(pattern)]  # the others come with `equip`
        tools = [tool for tool in own if tool.tool_type not in LETTAS_OWN]
        handle = _handle(pattern) or await self.model()
        config = pattern.llm_config
        made = await self._client.agents.create(
            name=f"librarian {agent}",
            model=handle,
            embedding=pattern.embedding or await self.embedding(),
            system=pattern.system or PERSONA,
            blocks=[sent(block) for block in await self._kept.blocks(agent)],
            tool_ids=[tool.id for tool in tools],
            tags=tags_of(key),
            metadata={"template": key.template},
            window_tokens=config.context_window if config else self._window_tokens(handle),
            more={"tool_rules": _rules(pattern, tools)},
        )
        log.info("letta_agent_made", agent_id=agent, ref=made.id)
        try:
            await self._tooling.equip(made.id, key.template)
        except LibrarianError as error:  # it can speak without them, and has them at the next synchronisation
            log.warning("letta_agent_without_tools", agent_id=agent, error=str(error))
        return AgentRef(made.id)

    def _window_tokens(self, handle: str) -> int | None:
        """None: as much as Letta thinks that it can hold."""
        return self._windows_tokens.get(handle) or self._windows_tokens.get("*")


def _handle(agent: Agent) -> str | None:
    return agent.model or (agent.llm_config.handle if agent.llm_config is not None else None)


def _block(block: Block) -> MemoryBlock:
    limit = max(block.limit or BLOCK_LIMIT_CHARS, len(block.value))  # Letta enforces none
    return MemoryBlock(block.label or "", block.value, limit, block.description or "", block.read_only)


def _rules(agent: Agent, tools: Sequence[Tool]) -> list[dict[str, object]]:
    """Those that are about these tools."""
    names = {tool.name for tool in tools}
    return [rule for rule in agent.tool_rules or () if rule.get("tool_name") in names]


def sent(block: MemoryBlock) -> dict[str, object]:
    return {
        "label": block.label,
        "value": block.value,
        "limit": block.limit_chars,
        "description": block.description,
        "metadata": mark(block.value),
    }
