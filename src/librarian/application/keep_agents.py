"""Look after the agents: see them, make them, pause and retire them, correct what they remember."""

from collections.abc import Sequence
from dataclasses import dataclass

from librarian.application.list_models import ListModels
from librarian.application.ports.administration import AgentCard, AgentHost, AgentRegister, Standing, Written
from librarian.application.ports.clock import Clock
from librarian.application.ports.memory import AgentId, AgentKey, MemoryStore
from librarian.application.ports.recall import RecallIndex
from librarian.domain.catalog import Catalog
from librarian.domain.conversation import TurnId
from librarian.domain.errors import InvalidRequest, UnknownAgent, UnknownTurn
from librarian.domain.identity import LOCAL, Principal, owner_of
from librarian.domain.memory import Author, MemoryBlock, Passage, Provenance, Rethink
from librarian.domain.prompt import DEFAULT_BLOCKS

MOST_ABANDONED = 10_000


@dataclass(frozen=True, slots=True)
class AgentView:
    """`model`: what it speaks through by default; None where nothing says."""

    card: AgentCard
    model: str | None


class KeepAgents:
    """`of` None: whoever has the run of the house; else only the agents of those that principal speaks for are there.

    Every method raises UnknownAgent for one that is not there, StoreUnavailable, and what AgentHost raises.
    """

    def __init__(
        self,
        *,
        register: AgentRegister,
        host: AgentHost,
        memory: MemoryStore,
        index: RecallIndex,
        models: ListModels,
        clock: Clock,
    ) -> None:
        self._register = register
        self._host = host
        self._memory = memory
        self._index = index
        self._models = models
        self._clock = clock

    async def list(
        self, *, of: Principal | None = None, after: AgentId | None = None, limit: int = 100
    ) -> Sequence[AgentView]:
        """Oldest first."""
        catalog = await self._models()
        principal = of.id if of is not None else None
        subject = None if of is None or of.asserts_subject else owner_of(of).subject
        cards = await self._register.agents(principal, subject=subject, after=after, limit=limit)
        return [AgentView(card, await self._model(catalog, card.key.template)) for card in cards]

    async def show(self, agent: AgentId, *, of: Principal | None = None) -> AgentView:
        card = await self._found(agent, of)
        return AgentView(card, await self._model(await self._models(), card.key.template))

    async def create(
        self, template: str, person: str | None = None, *, of: Principal | None = None
    ) -> tuple[AgentView, bool]:
        """And whether it was made now; one that is there is made active. Raises InvalidRequest."""
        catalog = await self._models()
        templates = sorted({entry.template for entry in catalog.entries()})
        if template not in templates:
            raise InvalidRequest(
                f"There is no template `{template}`. There are: {', '.join(templates)}.",
                param="template",
                code="invalid_value",
            )
        key = AgentKey(template, owner_of(of or LOCAL, person=person))
        if of is not None and not of.speaks_for(key.owner):
            raise InvalidRequest("This key may not speak for other people.", param="person", code="invalid_value")
        before = await self._register.find(key)
        agent = await self._memory.agent(key, DEFAULT_BLOCKS)
        await self._register.stand(agent, Standing.ACTIVE)
        made = before is None or before.standing is Standing.RETIRED
        return AgentView(await self._register.agent(agent), await self._model(catalog, template)), made

    async def pause(self, agent: AgentId, *, of: Principal | None = None) -> AgentCard:
        """It takes no turns, and keeps all it has. Raises InvalidRequest for one that is retired."""
        return await self._stand(agent, Standing.PAUSED, of)

    async def resume(self, agent: AgentId, *, of: Principal | None = None) -> AgentCard:
        """Raises InvalidRequest for one that is retired."""
        return await self._stand(agent, Standing.ACTIVE, of)

    async def retire(self, agent: AgentId, *, forget: bool = False, of: Principal | None = None) -> AgentCard:
        """It is gone from its host, and takes no turns until it is created again.

        What it remembers is kept; with `forget`, that and what was said to it is gone for good.
        """
        card = await self._found(agent, of)
        await self._register.stand(agent, Standing.RETIRED)
        await self._host.retire(card, forget=forget)
        if forget:
            await self._register.forget(agent, DEFAULT_BLOCKS)
            await self._index.forget(card.key.owner.id)
        return await self._register.agent(agent)

    async def blocks(self, agent: AgentId, *, of: Principal | None = None) -> Sequence[MemoryBlock]:
        await self._found(agent, of)
        return await self._memory.blocks(agent)

    async def edit(self, agent: AgentId, label: str, value: str, *, of: Principal | None = None) -> MemoryBlock:
        """A block that is not there is made. Raises MemoryRefused."""
        await self._found(agent, of)
        return await self._memory.edit(agent, Rethink(label, value), self._by_a_person())

    async def passages(
        self, agent: AgentId, *, after: int = 0, limit: int = 100, of: Principal | None = None
    ) -> Sequence[Passage]:
        """Oldest first."""
        await self._found(agent, of)
        return await self._register.passages(agent, after=after, limit=limit)

    async def add_passage(
        self, agent: AgentId, text: str, tags: Sequence[str] = (), *, of: Principal | None = None
    ) -> Passage:
        """Raises MemoryRefused."""
        await self._found(agent, of)
        return await self._memory.put_by(agent, text, tags, self._by_a_person())

    async def delete_passage(self, agent: AgentId, number: int, *, of: Principal | None = None) -> None:
        """For good. Raises UnknownPassage."""
        card = await self._found(agent, of)
        passage = await self._register.delete_passage(agent, number)
        await self._index.forget(card.key.owner.id)
        await self._host.passage_deleted(card, passage)

    async def abandoned(self, agent: AgentId, *, limit: int = 100, of: Principal | None = None) -> Sequence[Written]:
        """What turns wrote that were edited or regenerated away, as far as it still stands; the newest first."""
        await self._found(agent, of)
        return await self._register.abandoned(agent, limit)

    async def take_back(self, agent: AgentId, turn: TurnId, *, of: Principal | None = None) -> int:
        """What an abandoned turn wrote; how many entries could still be told apart. Raises UnknownTurn."""
        if all(written.turn != turn for written in await self.abandoned(agent, limit=MOST_ABANDONED, of=of)):
            raise UnknownTurn(turn)
        return await self._memory.take_back(turn)

    async def _found(self, agent: AgentId, of: Principal | None) -> AgentCard:
        card = await self._register.agent(agent)
        if of is not None and not of.speaks_for(card.key.owner):
            raise UnknownAgent(agent)
        return card

    async def _stand(self, agent: AgentId, standing: Standing, of: Principal | None) -> AgentCard:
        card = await self._found(agent, of)
        if card.standing is Standing.RETIRED:
            raise InvalidRequest(f"The agent `{agent}` is retired. Create it again first.", code="invalid_value")
        await self._register.stand(agent, standing)
        return await self._register.agent(agent)

    def _by_a_person(self) -> Provenance:
        return Provenance(Author.PERSON, self._clock.now_s())

    async def _model(self, catalog: Catalog, template: str) -> str | None:
        entries = catalog.entries()
        named = next((entry.model for entry in entries if entry.template == template and entry.model), None)
        own = named or await self._host.model(template)
        return own or next((entry.model for entry in entries if entry.model == entry.name), None)
