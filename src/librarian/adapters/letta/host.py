"""Agents on a Letta server, for those who look after them."""

from collections.abc import Sequence

from librarian.adapters.letta.answers import Agent
from librarian.adapters.letta.blocks import LettaMemory
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import Gone, Missing
from librarian.adapters.letta.health import LettaHealth
from librarian.adapters.letta.making import Making
from librarian.adapters.letta.tooling import Tooling
from librarian.application.ports.administration import AgentCard, AgentRegister, Report
from librarian.application.ports.memory import AgentKey
from librarian.application.ports.threads import AgentRef, Backend, ThreadStore
from librarian.domain.errors import LibrarianError
from librarian.domain.memory import Passage
from librarian.domain.templates import Template

PAGE = 100


class LettaHost:
    def __init__(
        self,
        *,
        client: LettaClient,
        backend: Backend,
        making: Making,
        memory: LettaMemory,
        threads: ThreadStore,
        register: AgentRegister,
        tooling: Tooling,
        health: LettaHealth,
        templates: Sequence[Template],
    ) -> None:
        self._client = client
        self._backend = backend
        self._making = making
        self._memory = memory
        self._threads = threads
        self._register = register
        self._tooling = tooling
        self._health = health
        self._templates = templates

    async def missing(self) -> Sequence[str]:
        found = await self._health.inspect()
        missing = [*found.troubles, *found.notes]
        if found.troubles:
            return missing
        templates = [AgentRef(template.agent) for template in self._templates if template.agent is not None]
        gone = [ref for ref in templates if await self._there(ref) is None]
        return missing + [f"The agent {ref}, a template, is not on the Letta server." for ref in gone]

    async def model(self, template: str) -> str | None:
        try:
            return (await self._making.pattern(template)).handle
        except LibrarianError:
            return None

    async def furnish(self, key: AgentKey, *, dry_run: bool) -> Report:
        card = await self._register.find(key)
        ref = await self._threads.agent(self._backend, card.id) if card is not None else None
        there = await self._there(ref) if ref is not None else None
        if there is None and dry_run:
            return Report((f"The agent of the template `{key.template}` is made, with its blocks and an archive.",))
        changes = []
        if there is None:
            if ref is not None:
                await self._making.forget(key, ref)
            _, ref = await self._making.of(key)
            there = await self._client.agents.get(ref)
            changes.append(f"The agent of the template `{key.template}` is made: {ref}.")
        changes += await self._blocks(key, there, dry_run=dry_run)
        changes += await self._archive(there, dry_run=dry_run)
        return Report(tuple(changes))

    async def give_tools(self, *, dry_run: bool) -> Report:
        return await self._tooling.synchronise(dry_run=dry_run)

    async def retire(self, agent: AgentCard, *, forget: bool) -> None:
        await self._memory.aclose()  # what is on its way there arrives first
        ref = await self._threads.agent(self._backend, agent.id)
        if ref is None:
            return
        if ref not in {template.agent for template in self._templates}:  # those are not the house's to delete
            try:
                await self._deleted(ref, forget=forget)
            except Gone as gone:
                if gone.what is not Missing.AGENT:
                    raise
        await self._making.forget(agent.key, ref)

    async def passage_deleted(self, agent: AgentCard, passage: Passage) -> None:
        """Letta knows it by another name: it is found by its text."""
        await self._memory.aclose()  # what is on its way there arrives first
        ref = await self._threads.agent(self._backend, agent.id)
        if ref is None:
            return
        after: str | None = None
        while page := await self._client.memory.passages(ref, most=PAGE, after=after):
            for theirs in page:
                if theirs.text == passage.text:
                    await self._client.memory.delete_passage(ref, theirs.id)
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def _there(self, ref: AgentRef) -> Agent | None:
        try:
            return await self._client.agents.get(ref)
        except Gone:
            return None

    async def _blocks(self, key: AgentKey, there: Agent, *, dry_run: bool) -> Sequence[str]:
        card = await self._register.find(key)
        if card is None:
            return ()
        labels = {block.label for block in await self._client.memory.blocks(there.id)}
        missing = [block.label for block in await self._memory.ours(card.id) if block.label not in labels]
        if missing and not dry_run:
            await self._memory.blocks(card.id)
        return [f"The block `{label}` is made." for label in missing]

    async def _archive(self, there: Agent, *, dry_run: bool) -> Sequence[str]:
        embedding = there.embedding or await self._making.embedding()
        if embedding is None or await self._client.memory.archives(there.id):
            return ()
        if not dry_run:
            archive = await self._client.memory.create_archive(f"{there.name}'s Archive", embedding=embedding)
            await self._client.memory.attach_archive(there.id, archive.id)
        return ("The archive is made.",)

    async def _deleted(self, ref: AgentRef, *, forget: bool) -> None:
        """Letta would keep what the agent remembered, as nobody's."""
        blocks = await self._client.memory.blocks(ref) if forget else ()
        archives = await self._client.memory.archives(ref) if forget else ()
        await self._client.agents.delete(ref)
        for block in blocks:
            await self._client.memory.delete_block(block.id)
        for archive in archives:
            await self._client.memory.delete_archive(archive.id)
