"""The embedded engine's agents live in the store, with all that they have."""

from collections.abc import Sequence

from librarian.application.ports.administration import AgentCard, AgentRegister, Report
from librarian.application.ports.memory import AgentKey, MemoryStore
from librarian.domain.memory import Passage
from librarian.domain.prompt import DEFAULT_BLOCKS


class EmbeddedHost:
    def __init__(self, *, memory: MemoryStore, register: AgentRegister) -> None:
        self._memory = memory
        self._register = register

    async def missing(self) -> Sequence[str]:
        """The model is looked for when it is needed, and there is always one."""
        return ()

    async def model(self, template: str) -> str | None:  # noqa: ARG002  templates are names here
        return None

    async def furnish(self, key: AgentKey, *, dry_run: bool) -> Report:
        if await self._register.find(key) is not None:
            return Report()
        if not dry_run:
            await self._memory.agent(key, DEFAULT_BLOCKS)
        return Report((f"The agent of the template `{key.template}` is made, with its blocks and an archive.",))

    async def give_tools(self, *, dry_run: bool) -> Report:  # noqa: ARG002  there is nobody to run them
        return Report()

    async def retire(self, agent: AgentCard, *, forget: bool) -> None:
        """It is nowhere else."""

    async def passage_deleted(self, agent: AgentCard, passage: Passage) -> None:
        """It was nowhere else."""
