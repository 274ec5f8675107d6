"""Carry one turn between a client and an agent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256

from librarian.application.engine.counting import Counting
from librarian.application.engine.loop import one_step
from librarian.application.list_models import ListModels
from librarian.application.ports.administration import AgentRegister, Standing
from librarian.application.ports.agents import AgentRuntime, Hearing
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.conversations import Answered, ConversationStore, Request, TurnRecord
from librarian.application.ports.leases import Leases
from librarian.application.ports.memory import AgentKey, MemoryStore
from librarian.application.ports.meter import Meter
from librarian.application.ports.models import LanguageModel
from librarian.application.reconcile import Place, Reconcile
from librarian.application.remember import Remember
from librarian.application.replays import Attempt, Replays, UnderWay
from librarian.domain.catalog import CatalogEntry
from librarian.domain.conversation import (
    Context,
    Conversation,
    Plan,
    Rebuild,
    Replay,
    TurnId,
    context_of,
    parent_of,
)
from librarian.domain.errors import AgentPaused, InvalidRequest, LibrarianError, TurnFailed
from librarian.domain.identity import LOCAL, Memory, Owner, Principal, Purpose, subject_of
from librarian.domain.mode import Evidence, Mode, ModeChoice, ModeSelector
from librarian.domain.prompt import (
    PLAIN_SAMPLING,
    READ_ONLY,
    WITHOUT_MEMORY,
    Prompt,
    Sampling,
    plain_system_message,
    system_message,
)
from librarian.domain.recall import Hit, Shelf
from librarian.domain.tools import NO_TOOLS, ClientTools
from librarian.domain.transcript import Digest, Message, Reading, Role, Transcript, own_digests
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

    `person`: whom the memory belongs to, where the client names somebody. `conversation`: the client's name for it, or
    the house's own; `goes_on_from` and `reply_name`: the client's names for the reply before and for this one. `line`:
    the turns of that conversation are taken one after the other. `told`: the system messages that stay, and
    `names`: those of messages that wait, where the house holds the history. `mode`: asked for apart from the model's
    name.
    `whole`: nobody reads along. `structured`: a response format is asked for. `choice`: which of several answers this
    is; only the first, 0, writes to memory. `attempt` None: the request never comes again. `again`: the same, after
    what has been said by the time that its turn has come, where the house holds the history. `turn`: what its turn is
    to be called.
    """

    model: str
    transcript: Transcript
    principal: Principal = LOCAL
    person: str | None = None
    conversation: str | None = None
    goes_on_from: str | None = None
    reply_name: str | None = None
    line: bool = False
    told: Sequence[Message] = ()
    names: Sequence[str] = ()
    purpose: Purpose = Purpose.CHAT
    memory: Memory = Memory.ON
    mode: Mode | None = None
    sampling: Sampling = PLAIN_SAMPLING
    tools: ClientTools = NO_TOOLS
    structured: bool = False
    whole: bool = False
    choice: int = 0
    attempt: Attempt | None = None
    again: Callable[[], Awaitable["Ask"]] | None = None
    turn: TurnId | None = None

    def named(self, ids: Ids) -> TurnId:
        return self.turn or TurnId(f"turn_{ids.new()}")


class Converse:
    """Find the conversation, lease a seat, let the agent speak, settle."""

    def __init__(
        self,
        *,
        agents: AgentRuntime,
        register: AgentRegister,
        memory: MemoryStore,
        model: LanguageModel,
        models: ListModels,
        leases: Leases,
        conversations: ConversationStore,
        reconcile: Reconcile,
        replays: Replays,
        remember: Remember,
        modes: ModeSelector,
        counting: Counting,
        meter: Meter,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """`model` answers what has no agent: tasks, and whoever asks without memory."""
        self._agents = agents
        self._register = register
        self._memory = memory
        self._model = model
        self._models = models
        self._leases = leases
        self._conversations = conversations
        self._reconcile = reconcile
        self._replays = replays
        self._remember = remember
        self._modes = modes
        self._counting = counting
        self._meter = meter
        self._clock = clock
        self._ids = ids

    def __call__(self, ask: Ask) -> TurnStream:
        """One TurnBegan, what the agent does, one TurnEnded; by then the turn is settled.

        Raises InvalidRequest, UnknownModel, UnknownConversation, AgentPaused, PoolExhausted, ConversationEngaged,
        IdempotencyMismatch, TurnFailed, StoreUnavailable, and what AgentRuntime raises.
        """
        if ask.purpose is Purpose.TASK:
            return self._plain(ask, None)
        owner = subject_of(ask.principal, ask.person)
        if owner is None:
            self._meter.memory_withheld("unknown" if ask.person is None else "not_believed")
        if owner is None or ask.purpose is Purpose.STATELESS or ask.memory is not Memory.ON:
            return self._plain(ask, owner if ask.memory is Memory.READ else None)
        request = ask.attempt.by(owner, ask.conversation) if ask.attempt is not None else None
        if request is not None and self._replays.comes_again(request):
            return self._once(ask, owner, request)
        return self._chat(ask, owner, request)

    async def _chat(self, ask: Ask, owner: Owner, request: Request | None) -> TurnStream:
        began_s = self._clock.elapsed_s()
        ended: TurnEnded | None = None
        with self._replays.under_way(request) as way:
            try:
                entry = await self._admitted(ask)
                agent = AgentKey(entry.template, owner)
                await self._require_active(agent)
                reading, conversation = await self._found(ask, agent)
                thread = _thread(conversation, reading, line=ask.line)
                async with self._leases.hold(ask.principal.id, thread, line=ask.line) as held:
                    beside = held.beside
                    if held.waited or ask.again is not None:
                        # it may have moved meanwhile, maybe to a thread that is not the one held
                        ask, reading, conversation = await self._found_again(ask, agent)
                        beside = beside or _thread(conversation, reading, line=ask.line) != thread
                    plan = conversation.plan(reading, engaged=beside)
                    mode = self._mode(ask, entry)
                    turn = ask.named(self._ids)
                    at_s = self._clock.now_s()
                    self._meter.turn_began(type(plan).__name__, mode.mode, self._clock.elapsed_s() - began_s)
                    yield TurnBegan(conversation.id, turn, type(plan).__name__, mode, at_s)
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
                        recalled=await self._recalled(ask.transcript, owner, conversation, plan),
                        whole=ask.whole,
                        writes=not ask.choice,
                    )
                    collected = Collected()
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
                                    record = self._record(
                                        ask=ask,
                                        entry=entry,
                                        hearing=hearing,
                                        conversation=conversation,
                                        reply=collected.message,
                                        ended=event,
                                        context=context,
                                        at_s=at_s,
                                        request=request,
                                    )
                                    await self._settle(record, way)
                                    continue
                            yield event
                    if ended is None:
                        raise TurnFailed("The agent fell silent in the middle of its turn.")
            except LibrarianError as error:
                self._meter.turn_failed(type(error).__name__)
                raise
        self._meter.turn_ended(ended.reason, ended.usage, self._clock.elapsed_s() - began_s)
        yield ended  # a slow reader of the last frame holds no seat
        if request is not None:
            self._replays.delivered(request)  # who leaves before does not come back here

    async def _found(self, ask: Ask, agent: AgentKey) -> tuple[Reading, Conversation]:
        reading = Reading(ask.transcript, root_of(agent))
        return reading, await self._reconcile(
            reading, agent, Place(ask.conversation, ask.goes_on_from, whole=ask.again is not None)
        )

    async def _found_again(self, ask: Ask, agent: AgentKey) -> tuple[Ask, Reading, Conversation]:
        ask = await ask.again() if ask.again is not None else ask
        return ask, *await self._found(ask, agent)

    async def _settle(self, record: TurnRecord, way: UnderWay) -> None:
        """Even if the client leaves now: what is being written is written, and its retry waits for that."""
        way.writing = asyncio.ensure_future(self._conversations.settle(record))
        await asyncio.shield(way.writing)

    async def _once(self, ask: Ask, owner: Owner, request: Request) -> TurnStream:
        """One turn for one request, however often it is sent."""
        answered = await self._replays(request)
        events = self._chat(ask, owner, request) if answered is None else self._again(answered, request)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _again(self, answered: Answered, request: Request) -> TurnStream:
        mode = ModeChoice(Mode(answered.mode), ("answered before",))
        plan = type(Replay(answered.turn)).__name__
        self._meter.turn_began(plan, mode.mode, 0.0)
        yield TurnBegan(answered.conversation, answered.turn, plan, mode, answered.at_s)
        reply = answered.reply
        if reply.text:
            yield TextSpoken((reply.text,))
        for index, call in enumerate(reply.calls):
            yield ToolCalled(index, call.id, call.name, call.arguments)
        yield TurnEnded(answered.reason, answered.usage)
        self._replays.delivered(request)

    async def _plain(self, ask: Ask, owner: Owner | None) -> TurnStream:
        """Without an agent, a thread or a seat; nothing is kept. A task is the client's messages and nothing else, all
        others keep persona and mode; what is known of `owner` is shown."""
        began_s = self._clock.elapsed_s()
        try:
            entry = await self._admitted(ask)
            mode = self._mode(ask, entry) if ask.purpose is not Purpose.TASK else None
            turn = ask.named(self._ids)
            plan = "Task" if mode is None else "Stateless" if owner is None else "Read"
            self._meter.turn_began(plan, mode.mode if mode is not None else None, 0.0)
            yield TurnBegan(None, turn, plan, mode, self._clock.now_s())
            prompt = Prompt(
                entry.model,
                await self._told(ask, entry, owner, mode),
                ask.transcript.messages,
                ask.sampling,
                ask.tools.specs,
                ask.tools.choice,
                ask.tools.parallel,
                ask.whole,
            )
            async with aclosing(one_step(self._model, self._counting, prompt)) as events:
                async for event in events:
                    if isinstance(event, TurnEnded):
                        self._meter.turn_ended(event.reason, event.usage, self._clock.elapsed_s() - began_s)
                    yield event
        except LibrarianError as error:
            self._meter.turn_failed(type(error).__name__)
            raise

    async def _told(self, ask: Ask, entry: CatalogEntry, owner: Owner | None, mode: ModeChoice | None) -> str:
        overlay = ask.transcript.overlay
        if mode is None:
            return plain_system_message(overlay)
        if owner is None:
            return f"{system_message(mode.mode, overlay, ())}\n\n{WITHOUT_MEMORY}"
        agent = AgentKey(entry.template, owner)
        reading, conversation = await self._found(ask, agent)
        recalled = await self._recalled(ask.transcript, owner, conversation, conversation.plan(reading))
        card = await self._register.find(agent)
        blocks = await self._memory.blocks(card.id) if card is not None else ()
        return f"{system_message(mode.mode, overlay, blocks, '', recalled)}\n\n{READ_ONLY}"

    async def _admitted(self, ask: Ask) -> CatalogEntry:
        if not ask.transcript.messages and not ask.transcript.overlay:
            raise InvalidRequest("There is no message to answer.", param="messages")
        ask.tools.check()
        return await self._models.resolve(ask.model)

    async def _require_active(self, agent: AgentKey) -> None:
        standing = await self._register.standing(agent)
        if standing is not Standing.ACTIVE:
            raise AgentPaused(standing)

    def _mode(self, ask: Ask, entry: CatalogEntry) -> ModeChoice:
        evidence = Evidence(has_tools=bool(ask.tools.specs), structured=ask.structured)
        return self._modes.select(ask.mode, entry.mode, ask.transcript, evidence)

    async def _recalled(
        self, transcript: Transcript, owner: Owner, conversation: Conversation, plan: Plan
    ) -> Sequence[Hit]:
        """What was said in other conversations; and in this one, where its beginning is no longer sent along."""
        cut_off_before = await self._cut_off_before(plan)
        hits = await self._remember(owner, _last_said(transcript), None if cut_off_before else conversation.id)
        if not hits:
            return hits
        shown = {message.text for message in transcript.messages}
        return [
            hit
            for hit in hits
            if hit.entry.text not in shown
            and (
                hit.entry.conversation != conversation.id
                or hit.entry.shelf is not Shelf.SAID
                or hit.entry.number < cut_off_before
            )
        ]

    async def _cut_off_before(self, plan: Plan) -> int:
        """Turns of this conversation with smaller numbers were cut off, as far as they lie on the path. Where the turn
        that is gone on from lies off it, what was cut off cannot be told from what another branch said: 0."""
        oldest, at = context_of(plan).oldest, parent_of(plan)
        return oldest if oldest and at is not None and await self._conversations.on_path([at.number]) else 0

    def _record(
        self,
        *,
        ask: Ask,
        entry: CatalogEntry,
        hearing: Hearing,
        conversation: Conversation,
        reply: Message,
        ended: TurnEnded,
        context: Context,
        at_s: float,
        request: Request | None,
    ) -> TurnRecord:
        transcript, reading, plan = hearing.transcript, hearing.reading, hearing.plan
        spoken_at = len(transcript.messages) - (transcript.prefill is not None)
        parent = parent_of(plan)
        named = ask.conversation is not None
        return TurnRecord(
            id=hearing.turn,
            conversation=conversation,
            parent=parent.number if parent is not None else None,
            owner=hearing.agent.owner,
            template=hearing.agent.template,
            model=entry.name,
            mode=hearing.mode,
            digest=reading.after(reply),
            seed=plan.seed if isinstance(plan, Rebuild) else (),
            heard=transcript.news,
            reply=reply,
            reason=ended.reason,
            context=context.with_steps(spoken_at, ended.steps),
            usage=ended.usage,
            at_s=at_s,
            said=own_digests((reading.carried_on(reply),))[0] if named else None,
            ref=ask.reply_name,
            request=request,
            aside=ask.choice > 0,
            told=ask.told if ask.line else None,
            names=ask.names,
        )


def root_of(agent: AgentKey) -> Digest:
    """Where the chains of one owner with one template begin."""
    template = agent.template.encode()
    return Digest(sha256(b"%b%d:%b" % (agent.owner.id, len(template), template)).digest())


def _thread(conversation: Conversation, reading: Reading, *, line: bool) -> str | None:
    """The tip that the turn goes on from, which one turn may do at a time; a line is engaged as a whole."""
    if line:
        return conversation.id
    known = conversation.known
    return known.id if known is not None and known.tip and known.digest == reading.parent else None


def _last_said(transcript: Transcript) -> str:
    return next((message.text for message in reversed(transcript.news) if message.role is Role.USER), "")
