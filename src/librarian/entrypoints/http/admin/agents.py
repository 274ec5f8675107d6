"""/librarian/agents: what `librarian agents` does, over HTTP. A key sees the agents of those that its principal speaks
for, and no others."""

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from librarian.application.keep_agents import AgentView, KeepAgents
from librarian.application.ports.administration import Standing, Written
from librarian.application.ports.memory import AgentId
from librarian.domain.conversation import TurnId
from librarian.domain.errors import NotAuthenticated
from librarian.domain.identity import Principal
from librarian.domain.memory import MemoryBlock, Passage

CREATED = 201
PAGE_LIMIT = 1000
Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]


class Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AgentShown(Shown):
    """`person` is null for the principal's own agent."""

    id: str
    object: Literal["agent"] = "agent"
    template: str
    principal: str
    person: str | None
    model: str | None
    created: int
    state: Standing


class AgentList(Shown):
    object: Literal["list"] = "list"
    data: list[AgentShown]


class NewAgent(Shown):
    template: Name = "librarian"
    person: Name | None = None


class ChangedAgent(Shown):
    state: Literal["active", "paused"]


class BlockShown(Shown):
    label: str
    value: str
    limit_chars: int
    description: str
    read_only: bool


class BlockList(Shown):
    object: Literal["list"] = "list"
    data: list[BlockShown]


class NewValue(Shown):
    value: Text


class PassageShown(Shown):
    number: int
    text: str
    tags: list[str]
    created: int


class PassageList(Shown):
    object: Literal["list"] = "list"
    data: list[PassageShown]


class WrittenShown(Shown):
    """`what`: a block's label, or `archive`; `took` is what was there before, `put` what came."""

    turn: str
    conversation: str | None
    created: int
    what: str
    took: str
    put: str


class WrittenList(Shown):
    object: Literal["list"] = "list"
    data: list[WrittenShown]


class TakenBack(Shown):
    turn: str
    entries: int


class NewPassage(Shown):
    text: Text
    tags: list[Name] = Field(default_factory=list, max_length=32)


class Deleted(Shown):
    id: str
    deleted: Literal[True] = True


class Admitted(Protocol):
    """Who the front door let in."""

    @property
    def principal(self) -> Principal: ...


def caller(request: Request) -> Principal:
    """Raises NotAuthenticated for a stranger."""
    admitted: Admitted | None = request.scope.get("caller")
    if admitted is None:
        raise NotAuthenticated
    return admitted.principal


Caller = Annotated[Principal, Depends(caller)]
Agent = Annotated[str, Path(max_length=64)]


def make_agents_router(agents: KeepAgents) -> APIRouter:
    router = APIRouter(prefix="/librarian/agents", tags=["agents"])

    @router.get("", summary="List the agents")
    async def list_agents(of: Caller, after: str | None = None, limit: Limit = 100) -> AgentList:
        views = await agents.list(of=of, after=AgentId(after) if after else None, limit=limit)
        return AgentList(data=[shown(view) for view in views])

    @router.post("", status_code=CREATED, summary="Make an agent, or make one active again")
    async def create(new: NewAgent, response: Response, of: Caller) -> AgentShown:
        view, made = await agents.create(new.template, new.person, of=of)
        response.status_code = CREATED if made else 200
        return shown(view)

    @router.get("/{agent}", summary="Describe an agent")
    async def show(agent: Agent, of: Caller) -> AgentShown:
        return shown(await agents.show(AgentId(agent), of=of))

    @router.patch("/{agent}", summary="Pause an agent, or let it go on")
    async def change(agent: Agent, changed: ChangedAgent, of: Caller) -> AgentShown:
        stand = agents.pause if changed.state == "paused" else agents.resume
        await stand(AgentId(agent), of=of)
        return shown(await agents.show(AgentId(agent), of=of))

    @router.delete("/{agent}", summary="Retire an agent; `forget`: with all that it remembers")
    async def retire(agent: Agent, of: Caller, *, forget: bool = False) -> AgentShown:
        await agents.retire(AgentId(agent), forget=forget, of=of)
        return shown(await agents.show(AgentId(agent), of=of))

    _add_memory(router, agents)
    _add_abandoned(router, agents)
    return router


def _add_memory(router: APIRouter, agents: KeepAgents) -> None:
    @router.get("/{agent}/blocks", summary="Show what an agent keeps before its eyes")
    async def blocks(agent: Agent, of: Caller) -> BlockList:
        return BlockList(data=[_block(block) for block in await agents.blocks(AgentId(agent), of=of)])

    @router.put("/{agent}/blocks/{label}", summary="Write a block anew")
    async def edit(agent: Agent, label: Annotated[str, Path(max_length=64)], new: NewValue, of: Caller) -> BlockShown:
        return _block(await agents.edit(AgentId(agent), label, new.value, of=of))

    @router.get("/{agent}/passages", summary="List what an agent has put by")
    async def passages(
        agent: Agent, of: Caller, after: Annotated[int, Query(ge=0, lt=2**63)] = 0, limit: Limit = 100
    ) -> PassageList:
        found = await agents.passages(AgentId(agent), after=after, limit=limit, of=of)
        return PassageList(data=[_passage(passage) for passage in found])

    @router.post("/{agent}/passages", status_code=CREATED, summary="Put a passage by")
    async def add(agent: Agent, new: NewPassage, of: Caller) -> PassageShown:
        return _passage(await agents.add_passage(AgentId(agent), new.text, new.tags, of=of))

    @router.delete("/{agent}/passages/{number}", summary="Delete a passage for good")
    async def delete(agent: Agent, number: Annotated[int, Path(ge=1, lt=2**63)], of: Caller) -> Deleted:
        await agents.delete_passage(AgentId(agent), number, of=of)
        return Deleted(id=str(number))


def _add_abandoned(router: APIRouter, agents: KeepAgents) -> None:
    @router.get("/{agent}/abandoned", summary="List what turns wrote that were edited or regenerated away")
    async def abandoned(agent: Agent, of: Caller, limit: Limit = 100) -> WrittenList:
        return WrittenList(data=[_written(w) for w in await agents.abandoned(AgentId(agent), limit=limit, of=of)])

    @router.delete("/{agent}/abandoned/{turn}", summary="Take back what such a turn wrote")
    async def take_back(agent: Agent, turn: Annotated[str, Path(max_length=64)], of: Caller) -> TakenBack:
        return TakenBack(turn=turn, entries=await agents.take_back(AgentId(agent), TurnId(turn), of=of))


def shown(view: AgentView) -> AgentShown:
    card = view.card
    owner = card.key.owner
    kind, _, person = owner.subject.partition(":")
    return AgentShown(
        id=card.id,
        template=card.key.template,
        principal=owner.principal,
        person=person if kind == "user" else None,
        model=view.model,
        created=int(card.created_s),
        state=card.standing,
    )


def _block(block: MemoryBlock) -> BlockShown:
    return BlockShown(
        label=block.label,
        value=block.value,
        limit_chars=block.limit_chars,
        description=block.description,
        read_only=block.read_only,
    )


def _written(written: Written) -> WrittenShown:
    return WrittenShown(
        turn=written.turn,
        conversation=written.conversation,
        created=int(written.at_s),
        what=written.what,
        took=written.took,
        put=written.put,
    )


def _passage(passage: Passage) -> PassageShown:
    return PassageShown(number=passage.number, text=passage.text, tags=list(passage.tags), created=int(passage.at_s))
