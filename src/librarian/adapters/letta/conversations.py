"""Letta's conversations: the threads of the house, and the turns taken on them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any, TypeVar, cast

import httpx
import structlog

from librarian.adapters.letta.answers import Conversation, StoredMessage, Summarised, reads
from librarian.adapters.letta.errors import NothingRuns
from librarian.adapters.letta.events import LettaEvent, TurnReader
from librarian.adapters.letta.server import LettaServer, whatever
from librarian.adapters.letta.wire import Body
from librarian.domain.errors import AgentUnavailable, LibrarianError, UpstreamTimedOut

_T = TypeVar("_T")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LINGER_S = 2.0
"""How long Letta may take to end a stream after its last word, or after a cancellation."""

_conversation = reads(Conversation)
_conversations = reads(list[Conversation])
_messages = reads(list[StoredMessage])
_summarised = reads(Summarised)
_text = reads(str)
_payload = reads(dict[str, Any])
_runs = reads(dict[str, str])


class Conversations:
    """Raises what `LettaServer` raises; Gone(CONVERSATION) for one that is not there, Gone(HANDLE) for its model.

    Letta keeps no order among the turns of one conversation: only one may be taken at a time.
    """

    def __init__(self, server: LettaServer, first_event_s: float, idle_s: float) -> None:
        """How long a turn may be silent but for pings: before the model speaks, and while it does."""
        self._server = server
        self._first_event_s = first_event_s
        self._idle_s = idle_s
        self._parting: dict[str, asyncio.Task[None]] = {}

    async def create(
        self,
        agent_id: str,
        *,
        model: str | None = None,
        model_settings: dict[str, object] | None = None,
        summary: str | None = None,
    ) -> Conversation:
        """`model_settings` do nothing without `model`, which is not looked up before the first turn.

        `summary` is the only text of ours that Letta keeps with it. Raises Gone(AGENT).
        """
        body = {"model": model, "model_settings": model_settings, "summary": summary}
        sent = {name: value for name, value in body.items() if value is not None}
        return await self._server.post("/v1/conversations/", _conversation, sent, {"agent_id": agent_id})

    async def get(self, conversation_id: str) -> Conversation:
        return await self._server.get(_path(conversation_id), _conversation)

    async def of_agent(self, agent_id: str, *, most: int = 50, after: str | None = None) -> list[Conversation]:
        """Newest first, without the ids of their messages."""
        params: dict[str, str | int] = {"agent_id": agent_id, "limit": most}
        return await self._server.get(
            "/v1/conversations/", _conversations, params if after is None else params | {"after": after}
        )

    async def patch(
        self, conversation_id: str, *, model: str, model_settings: dict[str, object], summary: str | None = None
    ) -> None:
        """Settings are replaced whole; null clears nothing."""
        body: dict[str, object] = {"model": model, "model_settings": model_settings}
        if summary is not None:
            body["summary"] = summary
        await self._server.patch(_path(conversation_id), whatever, body)

    async def delete(self, conversation_id: str) -> None:
        await self._server.delete(_path(conversation_id))

    async def fork(self, conversation_id: str) -> Conversation:
        """The same messages under a fresh system message; model and settings too, the summary not. Without ids."""
        await self.settled(conversation_id)
        return await self._server.post(f"{_path(conversation_id)}/fork", _conversation)

    async def fork_own(self, agent_id: str) -> Conversation:
        """Of the agent's own history, which belongs to no conversation; without model, settings and ids."""
        return await self._server.post(_path("default") + "/fork", _conversation, params={"agent_id": agent_id})

    async def messages(self, conversation_id: str, *, most: int = 10) -> list[StoredMessage]:
        """The newest, newest first."""
        params: dict[str, str | int] = {"order": "desc", "limit": most}
        return await self._server.get(f"{_path(conversation_id)}/messages", _messages, params)

    async def compact(self, conversation_id: str, *, model: str, mode: str = "sliding_window") -> Summarised:
        """One call of the model. Raises TurnFailed where there is nothing to leave out."""
        body = {"compaction_settings": {"model": model, "mode": mode}}
        return await self._server.post(f"{_path(conversation_id)}/compact", _summarised, body)

    async def recompile(self, conversation_id: str, *, dry_run: bool = False) -> str:
        """The system message as Letta makes it of the memory now; kept unless it is a dry run."""
        params = {"dry_run": "true" if dry_run else "false"}
        return await self._server.post(f"{_path(conversation_id)}/recompile", _text, params=params)

    async def preview(self, conversation_id: str, body: Body) -> dict[str, Any]:
        """What the model's server would be sent for this turn. Nothing is sent."""
        return await self._server.post(f"{_path(conversation_id)}/messages/preview-raw-payload", _payload, body)

    async def cancel(self, conversation_id: str) -> bool:
        """Whether anything was running. Of a turn that is cancelled in time, Letta keeps nothing, not what was heard.

        It looks twice a second: a turn that ends in that time is kept. The model goes on unheard.
        """
        try:
            runs = await self._server.post(f"{_path(conversation_id)}/cancel", _runs)
        except NothingRuns:
            return False
        return bool(runs)

    def reader(self, most_tokens: int | None = None) -> TurnReader:
        """For a turn's stream: it can be asked what is no event. `most_tokens`: what the answer is limited to."""
        return TurnReader(self._server.refusals, most_tokens)

    async def send(
        self, conversation_id: str, body: Body, reader: TurnReader | None = None
    ) -> AsyncGenerator[LettaEvent, None]:
        """Let the agent hear `body`, a `wire.turn`; ends with one StepEnded.

        Waits for what is left of the turn before. Closed early it cancels the turn, and so does silence but for pings,
        which raises UpstreamTimedOut. Raises what Refusals makes of a failure: Pending, NotPending, Engaged, Gone, and
        errors of the domain.
        """
        await self.settled(conversation_id)
        reader = reader or self.reader()
        watch = _Watch(self._first_event_s)
        sent = body | {"streaming": True, "stream_tokens": True, "include_pings": True}
        reply: httpx.Response | None = None
        stream: AsyncGenerator[bytes, None] | None = None
        runs = True
        try:
            reply = await watch.over(self._server.opened(f"{_path(conversation_id)}/messages", sent))
            stream = cast(AsyncGenerator[bytes, None], reply.aiter_raw())
            while not reader.over:
                with self._server.translated():
                    read = await watch.over(anext(stream, b""))
                if not read:
                    break
                events = reader.feed(read)
                if reader.stirred:
                    watch.rewind(self._idle_s if reader.speaking else self._first_event_s)
                for event in events:
                    yield event
            for event in reader.close():
                yield event
        except LibrarianError as error:
            runs = reply is not None or _may_run(error)
            raise
        finally:
            self._part(conversation_id, reply, stream, cancel=runs and not reader.over)

    async def settled(self, conversation_id: str) -> None:
        """Returns when the last turn is over for Letta, too, or was given time enough to be."""
        while (task := self._parting.get(conversation_id)) is not None:
            if task.get_loop() is not asyncio.get_running_loop():
                return
            await asyncio.wait((task,))

    async def aclose(self) -> None:
        for conversation_id in tuple(self._parting):
            await self.settled(conversation_id)

    def _part(
        self,
        conversation_id: str,
        reply: httpx.Response | None,
        stream: AsyncGenerator[bytes, None] | None,
        *,
        cancel: bool,
    ) -> None:
        """Without awaiting: a client that left cannot interrupt it."""
        if reply is None and not cancel:
            return
        task = asyncio.ensure_future(self._parted(conversation_id, reply, stream, cancel=cancel))
        self._parting[conversation_id] = task
        task.add_done_callback(partial(self._forget, conversation_id))

    def _forget(self, conversation_id: str, task: asyncio.Task[None]) -> None:
        if self._parting.get(conversation_id) is task:
            del self._parting[conversation_id]

    async def _parted(
        self,
        conversation_id: str,
        reply: httpx.Response | None,
        stream: AsyncGenerator[bytes, None] | None,
        *,
        cancel: bool,
    ) -> None:
        """Hears the stream out: then Letta has put the turn away, and the connection is of use again."""
        try:
            if cancel:
                await self.cancel(conversation_id)
            if stream is not None:
                async with asyncio.timeout(LINGER_S):
                    async for _ in stream:
                        pass
        except LibrarianError as error:
            log.warning("letta_turn_not_cancelled", conversation_id=conversation_id, error=str(error))
        except (httpx.HTTPError, TimeoutError):
            return  # it ends without being heard
        finally:
            if stream is not None:
                await stream.aclose()
            if reply is not None:
                await reply.aclose()


class _Watch:
    """Counts silence, and only while it is waited in: a slow reader of events is no silence of the agent's."""

    __slots__ = ("_allowed_s", "_left_s")

    def __init__(self, allowed_s: float) -> None:
        self.rewind(allowed_s)

    def rewind(self, allowed_s: float) -> None:
        self._allowed_s = self._left_s = allowed_s

    async def over(self, work: Awaitable[_T]) -> _T:
        """Raises UpstreamTimedOut."""
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        try:
            async with asyncio.timeout(self._left_s):
                return await work
        except TimeoutError as error:
            raise UpstreamTimedOut(self._allowed_s) from error
        finally:
            self._left_s -= loop.time() - since_s


def _may_run(error: LibrarianError) -> bool:
    """Whether Letta may be at work on a turn whose stream did not open."""
    return isinstance(error, UpstreamTimedOut) or (isinstance(error, AgentUnavailable) and error.heard)


def _path(conversation_id: str) -> str:
    return f"/v1/conversations/{conversation_id}"
