"""Which of Letta's conversations a turn is taken on: the one that heard what went before, a branch, or a new one."""

import asyncio
from collections.abc import Coroutine, Sequence
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
from librarian.domain.conversation import Branch, Continue, ConversationId, TurnId
from librarian.domain.errors import LibrarianError
from librarian.domain.transcript import Message, Role

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

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
        settings = orjson.dumps([handle, chosen.model_settings], option=orjson.OPT_SORT_KEYS).decode()
        if not anew and isinstance(hearing.plan, Continue | Branch):
            known = await self._known(hearing, hearing.plan.at.id, agent)
            if known is not None:
                thread, tip = known
                if thread.settings != settings:
                    await self._client.conversations.patch(
                        thread.ref, model=handle, model_settings=chosen.model_settings
                    )
                    thread = replace(thread, settings=settings)
                return Placed(thread, _delta(hearing.transcript.news, hearing.transcript.news_at, thread.kept), tip)
        made = await self._client.conversations.create(
            agent, model=handle, model_settings=chosen.model_settings, summary=f"librarian:{hearing.conversation}"
        )
        thread = Thread(self._backend, ThreadRef(made.id), agent, hearing.conversation, settings=settings)
        return Placed(thread, wire.said(hearing.transcript.messages), None)

    async def put_away(self, thread: Thread, turn: TurnId, kept: tuple[KeptResult, ...]) -> None:
        """The turn was taken whole: from now on the thread is found by it."""
        shown = (await self._client.conversations.get(thread.ref)).in_context_message_ids
        added = _added(shown, thread.last)
        last = MessageRef(shown[-1]) if shown else None
        await self._threads.heard(replace(thread, last=last, kept=kept), turn, added)
        self._later(self._prune(thread.conversation))

    async def unheard(self, placed: Placed) -> None:
        """Nothing of the turn was heard: the thread is as it was; one that was made for it is of no use."""
        if placed.tip is not None:
            await self._threads.give_back(placed.thread, placed.tip)
        else:
            self.drop(placed.thread)

    def drop(self, thread: Thread) -> None:
        self._later(self._delete(thread))

    async def aclose(self) -> None:
        while self._clearing:
            await asyncio.wait(self._clearing)

    async def _known(self, hearing: Hearing, at: TurnId, agent: AgentRef) -> tuple[Thread, TurnId | None] | None:
        """The thread of that turn; else a branch of what is known to have been heard up to it."""
        thread = await self._threads.engage(self._backend, at)
        if thread is not None and thread.agent == agent:
            return thread, at
        path = await self._threads.path(self._backend, at)
        if path is None or path[0] != agent or not path[1]:
            return None
        try:
            branch = await self._client.agents.branch(agent, path[1])
        except Gone:
            return None
        thread = Thread(self._backend, ThreadRef(branch.id), agent, hearing.conversation, path[1][-1])
        return thread, None

    async def _prune(self, conversation: ConversationId) -> None:
        for thread in await self._threads.prune(conversation, KEPT_THREADS):
            await self._delete(thread)

    async def _delete(self, thread: Thread) -> None:
        try:
            await self._client.conversations.settled(thread.ref)
            await self._client.conversations.delete(thread.ref)
        except LibrarianError as error:
            log.warning("letta_thread_not_deleted", ref=thread.ref, error=str(error))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)


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
