"""Which of Letta's conversations a turn is taken on: the one that heard what went before, a branch, or a new one."""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from librarian.adapters.letta import wire
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import Gone
from librarian.adapters.letta.sampling import Chosen
from librarian.application.ports.agents import Hearing
from librarian.application.ports.threads import (
    AgentRef,
    Backend,
    KeptResult,
    MessageRef,
    Thread,
    ThreadRef,
    ThreadStore,
)
from librarian.domain.conversation import Branch, Continue, ConversationId, Resume, TurnId
from librarian.domain.errors import LibrarianError
from librarian.domain.transcript import Message, Role

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

THREAD = "conv-"
"""How Letta's names of conversations begin; those of messages begin otherwise."""
KEPT_THREADS = 4
"""Of one conversation: who regenerates again and again makes one each time."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A thread that is this turn's alone, and what it has yet to hear. `tip`: where it stood, if it is known there."""

    thread: Thread
    news: Sequence[wire.Body]
    tip: TurnId | None


class Placing:
    def __init__(self, *, client: LettaClient, backend: Backend, threads: ThreadStore) -> None:
        self._client = client
        self._backend = backend
        self._threads = threads
        self._clearing: set[asyncio.Task[None]] = set()

    async def place(self, hearing: Hearing, agent: AgentRef, handle: str, chosen: Chosen, *, anew: bool) -> Placed:
        """`anew`: on a new thread, whatever is known. Raises what LettaClient raises."""
        if not anew and isinstance(hearing.plan, Continue | Resume | Branch):
            known = await self._known(hearing, hearing.plan.at.id, agent)
            if known is not None:
                return await self._on(*known, hearing, handle, chosen)
        told = wire.said(hearing.transcript.messages)
        made = await self._client.conversations.create(
            agent, model=handle, model_settings=chosen.model_settings, summary=f"librarian:{hearing.conversation}"
        )
        thread = Thread(
            self._backend, ThreadRef(made.id), agent, hearing.conversation, settings=_settings(handle, chosen)
        )
        return Placed(thread, told, None)

    async def put_away(self, thread: Thread, turn: TurnId, kept: tuple[KeptResult, ...]) -> None:
        """The turn was taken whole: from now on the thread is found by it, and it by its messages and by the thread
        that they were said on: with that, Letta would delete them."""
        shown = (await self._client.conversations.get(thread.ref)).in_context_message_ids
        added = _added(shown, thread.last)
        if added is not None:
            added.insert(0, MessageRef(thread.ref))
        last = MessageRef(shown[-1]) if shown else None
        await self._threads.heard(replace(thread, last=last, kept=kept), turn, added)
        self._later(self._prune(thread.conversation))

    async def unheard(self, placed: Placed) -> None:
        """Nothing of the turn was heard: the thread is as it was; one that was made for it is of no use."""
        if placed.tip is not None:
            await self._threads.give_back(placed.thread, placed.tip)
        else:
            self._later(self._delete(placed.thread))

    def leave(self, placed: Placed, turn: TurnId) -> None:
        """Nobody can tell what was heard. Turns that were taken on it before are branched from as long as it is there:
        so it stands for a turn that nothing goes on from, until it is pruned.
        """
        if placed.tip is not None:
            self._later(self._stand(placed.thread, turn))
        else:
            self._later(self._delete(placed.thread))

    async def aclose(self) -> None:
        while self._clearing:
            await asyncio.wait(self._clearing)

    async def _on(self, thread: Thread, tip: TurnId | None, hearing: Hearing, handle: str, chosen: Chosen) -> Placed:
        """Ready to hear what is new."""
        transcript, settings = hearing.transcript, _settings(handle, chosen)
        try:
            news = _delta(transcript.news, transcript.news_at, thread.kept)
            if thread.settings != settings:
                await self._client.conversations.patch(thread.ref, model=handle, model_settings=chosen.model_settings)
        except Gone:
            raise
        except LibrarianError:
            await self.unheard(Placed(thread, (), tip))
            raise
        return Placed(replace(thread, settings=settings), news, tip)

    async def _known(self, hearing: Hearing, at: TurnId, agent: AgentRef) -> tuple[Thread, TurnId | None] | None:
        """The thread of that turn; else a branch of what is known to have been heard up to it."""
        thread = await self._threads.engage(self._backend, at)
        if thread is not None and thread.agent == agent:
            return thread, at
        path = await self._threads.path(self._backend, at)
        if path is None or path[0] != agent:
            return None
        said = [ref for ref in path[1] if not ref.startswith(THREAD)]
        said_on = {ref for ref in path[1] if ref.startswith(THREAD)}
        if not said or not said_on:
            return None
        try:
            branch = ThreadRef((await self._client.agents.branch(agent, said)).id)
        except Gone:
            return None
        thread = Thread(self._backend, branch, agent, hearing.conversation, said[-1])
        return (thread, None) if await self._whole(thread, said_on) else None

    async def _whole(self, branch: Thread, said_on: Collection[str]) -> bool:
        """Letta would show the model nothing of messages whose own thread was deleted before they were branched."""
        try:
            await asyncio.gather(*map(self._client.conversations.get, said_on))
        except LibrarianError as error:
            self._later(self._delete(branch))
            if not isinstance(error, Gone):
                raise
            return False
        return True

    async def _stand(self, thread: Thread, turn: TurnId) -> None:
        try:
            await self._threads.give_back(thread, turn)
        except LibrarianError as error:
            log.warning("letta_thread_not_kept", ref=thread.ref, error=str(error))

    async def _prune(self, conversation: ConversationId) -> None:
        for thread in await self._threads.prune(conversation, KEPT_THREADS):
            await self._delete(thread)

    async def _delete(self, thread: Thread) -> None:
        try:
            await self._client.conversations.settled(thread.ref)
            await self._client.conversations.delete(thread.ref)
        except Gone:
            return
        except LibrarianError as error:
            log.warning("letta_thread_not_deleted", ref=thread.ref, error=str(error))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)


def _settings(handle: str, chosen: Chosen) -> str:
    """The same for the same."""
    return orjson.dumps([handle, chosen.model_settings], option=orjson.OPT_SORT_KEYS).decode()


def _delta(news: Sequence[Message], at: int, kept: Sequence[KeptResult]) -> list[wire.Body]:
    """Results first, all that are pending at once; then the rest."""
    answers = [message for message in news if message.role is Role.TOOL]
    if not answers:
        return wire.said(news, at)
    results = [wire.Result(result.call_id, (result.text,), result.succeeded) for result in kept]
    results += [wire.result_of(message) for message in answers]
    return [wire.returned(results), *wire.said(news[len(answers) :], at + len(answers))]


def _added(shown: Sequence[str], last: MessageRef | None) -> list[MessageRef] | None:
    """After the system message, or after the last that was known; None where Letta has since left that out."""
    if last is None:
        return [MessageRef(ref) for ref in shown[1:]]
    if last not in shown:
        return None
    return [MessageRef(ref) for ref in shown[shown.index(last) + 1 :]]
