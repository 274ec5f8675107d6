"""Carry one turn between a client and an agent."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256

from librarian.application.engine.counting import Counting
from librarian.application.engine.loop import one_step
from librarian.application.list_models import ListModels
from librarian.application.ports.administration import AgentRegister, Standing
from librarian.application.ports.agents import AgentRuntime, Hearing
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.conversations import ConversationStore, TurnRecord
from librarian.application.ports.leases import Leases
from librarian.application.ports.memory import AgentKey
from librarian.application.ports.meter import Meter
from librarian.application.ports.models import LanguageModel
from librarian.application.remember import Remember
from librarian.domain.catalog import CatalogEntry
from librarian.domain.conversation import Context, Conversation, ConversationId, Rebuild, TurnId, context_of
from librarian.domain.errors import AgentPaused, InvalidRequest, LibrarianError, TurnFailed
from librarian.domain.identity import LOCAL, Principal, Purpose, owner_of
from librarian.domain.mode import Evidence, Mode, ModeSelector
from librarian.domain.prompt import PLAIN_SAMPLING, Prompt, Sampling, plain_system_message
from librarian.domain.recall import Hit
from librarian.domain.tools import NO_TOOLS, ClientTools
from librarian.domain.transcript import Digest, Message, Reading, Role, Transcript
from librarian.domain.turn import (
    Collected,
    Compacted,
    TextSpoken,
    ToolCalled,
    TurnBegan,
    TurnEnded,
    TurnStream,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A client's request, already translated out of its wire format.

    `person`: whom the memory belongs to, where the client names somebody. `mode`: asked for apart from the model's
    name. `whole`: nobody reads along. `structured`: a response format is asked for.
    """

    model: str
    transcript: Transcript
    principal: Principal = LOCAL
    person: str | None = None
    purpose: Purpose = Purpose.CHAT
    mode: Mode | None = None
    sampling: Sampling = PLAIN_SAMPLING
    tools: ClientTools = NO_TOOLS
    structured: bool = False
    whole: bool = False


class Converse:
    """Find the conversation, lease a seat, let the agent speak, settle."""

    def __init__(
        self,
        *,
        agents: AgentRuntime,
        register: AgentRegister,
        model: LanguageModel,
        models: ListModels,
        leases: Leases,
        conversations: ConversationStore,
        remember: Remember,
        modes: ModeSelector,
        counting: Counting,
        meter: Meter,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """`model` answers tasks: they have no agent."""
        self._agents = agents
        self._register = register
        self._model = model
        self._models = models
        self._leases = leases
        self._conversations = conversations
        self._remember = remember
        self._modes = modes
        self._counting = counting
        self._meter = meter
        self._clock = clock
        self._ids = ids

    def __call__(self, ask: Ask) -> TurnStream:
        """One TurnBegan, what the agent does, one TurnEnded; by then the turn is settled.

        Raises InvalidRequest, UnknownModel, AgentPaused, PoolExhausted, TurnFailed, StoreUnavailable, and what
        AgentRuntime raises.
        """
        return self._chat(ask) if ask.purpose is Purpose.CHAT else self._task(ask)

    async def _chat(self, ask: Ask) -> TurnStream:
        began_s = self._clock.elapsed_s()
        try:
            entry = await self._admitted(ask)
            agent = AgentKey(entry.template, owner_of(ask.principal, person=ask.person))
            await self._require_active(agent)
            reading = Reading(ask.transcript, root_of(agent))
            conversation = await self._found(reading)
            collected = Collected()
            ended: TurnEnded | None = None
            async with self._leases.hold(ask.principal.id, _thread(conversation)) as waited:
                if waited:
                    conversation = await self._found(reading)  # its head may have moved meanwhile
                plan = conversation.plan(reading)
                mode = self._modes.select(ask.mode, entry.mode, ask.transcript, _evidence(ask))
                turn = TurnId(f"turn_{self._ids.new()}")
                self._meter.turn_began(type(plan).__name__, mode.mode, self._clock.elapsed_s() - began_s)
                yield TurnBegan(conversation.id, turn, type(plan).__name__, mode)
                recalled = _not_in(
                    ask.transcript, await self._remember(agent.owner, _last_said(ask.transcript), conversation.id)
                )
                hearing = Hearing(
                    turn=turn,
                    conversation=conversation.id,
                    agent=agent,
                    plan=plan,
                    mode=mode.mode,
                    reading=reading,
                    model=entry.model,
                    window_tokens=self._models.window_tokens(entry),
                    sampling=ask.sampling,
                    tools=ask.tools,
                    recalled=recalled,
                    whole=ask.whole,
                )
                context = context_of(plan)
                async with aclosing(self._agents.take_turn(hearing)) as events:
                    async for event in events:
                        match event:
                            case TextSpoken(fragments):
                                collected.speak(fragments)
                            case ToolCalled():
                                collected.call(event)
                            case Compacted(summary):
                                context = context.with_summary(summary)
                            case TurnEnded():
                                # the agent's stream is still open: a turn that cannot be settled, it takes back
                                ended = event
                                await self._conversations.settle(
                                    self._record(
                                        entry=entry,
                                        hearing=hearing,
                                        conversation=conversation,
                                        reply=collected.message,
                                        ended=event,
                                        context=context,
                                    )
                                )
                                continue
                        yield event
                if ended is None:
                    raise TurnFailed("The agent fell silent in the middle of its turn.")
        except LibrarianError as error:
            self._meter.turn_failed(type(error).__name__)
            raise
        self._meter.turn_ended(ended.reason, ended.usage, self._clock.elapsed_s() - began_s)
        yield ended  # after the block: a slow reader of the last frame holds no seat

    async def _task(self, ask: Ask) -> TurnStream:
        """The client's messages and nothing else, to a plain model."""
        began_s = self._clock.elapsed_s()
        try:
            entry = await self._admitted(ask)
            prompt = Prompt(
                entry.model,
                plain_system_message(ask.transcript.overlay),
                ask.transcript.messages,
                ask.sampling,
                ask.tools.specs,
                ask.tools.choice,
                ask.tools.parallel,
                ask.whole,
            )
            self._meter.turn_began("Task", None, 0.0)
            yield TurnBegan(None, TurnId(f"turn_{self._ids.new()}"), "Task", None)
            async with aclosing(one_step(self._model, self._counting, prompt)) as events:
                async for event in events:
                    if isinstance(event, TurnEnded):
                        self._meter.turn_ended(event.reason, event.usage, self._clock.elapsed_s() - began_s)
                    yield event
        except LibrarianError as error:
            self._meter.turn_failed(type(error).__name__)
            raise

    async def _admitted(self, ask: Ask) -> CatalogEntry:
        if not ask.transcript.messages and not ask.transcript.overlay:
            raise InvalidRequest("There is no message to answer.", param="messages")
        ask.tools.check()
        return await self._models.resolve(ask.model)

    async def _require_active(self, agent: AgentKey) -> None:
        standing = await self._register.standing(agent)
        if standing is not Standing.ACTIVE:
            raise AgentPaused(standing)

    async def _found(self, reading: Reading) -> Conversation:
        known = await self._conversations.at(reading.parent) if reading.parent is not None else None
        return known or Conversation(ConversationId(f"conv_{self._ids.new()}"))

    def _record(
        self,
        *,
        entry: CatalogEntry,
        hearing: Hearing,
        conversation: Conversation,
        reply: Message,
        ended: TurnEnded,
        context: Context,
    ) -> TurnRecord:
        transcript = hearing.transcript
        spoken_at = len(transcript.messages) - (transcript.prefill is not None)
        return TurnRecord(
            id=hearing.turn,
            conversation=conversation,
            owner=hearing.agent.owner,
            template=hearing.agent.template,
            model=entry.name,
            mode=hearing.mode,
            digest=hearing.reading.after(reply),
            seed=hearing.plan.seed if isinstance(hearing.plan, Rebuild) else (),
            heard=transcript.news,
            reply=reply,
            reason=ended.reason,
            context=context.with_steps(spoken_at, ended.steps),
            usage=ended.usage,
            at_s=self._clock.now_s(),
        )


def root_of(agent: AgentKey) -> Digest:
    """Where the chains of one owner with one template begin."""
    template = agent.template.encode()
    return Digest(sha256(b"%b%d:%b" % (agent.owner.id, len(template), template)).digest())


def _thread(conversation: Conversation) -> str | None:
    """One that only now begins is known to nobody else."""
    return conversation.id if conversation.head is not None else None


def _evidence(ask: Ask) -> Evidence:
    return Evidence(has_tools=bool(ask.tools.specs), structured=ask.structured)


def _not_in(transcript: Transcript, hits: Sequence[Hit]) -> Sequence[Hit]:
    """What the client sent along is in view already, in whichever conversation it was said before."""
    if not hits:
        return hits
    said = {message.text for message in transcript.messages}
    return [hit for hit in hits if hit.entry.text not in said]


def _last_said(transcript: Transcript) -> str:
    return next((message.text for message in reversed(transcript.news) if message.role is Role.USER), "")
