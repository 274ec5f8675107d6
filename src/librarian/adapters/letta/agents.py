"""Agents, and the branching of what was said to them."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any
from weakref import WeakValueDictionary

from librarian.adapters.letta.answers import Agent, Conversation, Generated, reads
from librarian.adapters.letta.conversations import Conversations
from librarian.adapters.letta.errors import Engaged
from librarian.adapters.letta.server import LettaServer, whatever
from librarian.domain.errors import LibrarianError

PAGE = 50
BRANCH_TRIES = 3

_agent = reads(Agent)
_agents = reads(list[Agent])
_generated = reads(Generated)


class Agents:
    """Raises what `LettaServer` raises; Gone(AGENT) for one that is not there."""

    def __init__(self, server: LettaServer, conversations: Conversations) -> None:
        self._server = server
        self._conversations = conversations
        self._branching: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self._restoring: set[asyncio.Task[Any]] = set()

    async def create(
        self,
        *,
        name: str,
        model: str,
        embedding: str | None,
        system: str,
        blocks: Sequence[dict[str, object]] = (),
        block_ids: Sequence[str] = (),
        tool_ids: Sequence[str] = (),
        tags: Sequence[str] = (),
        metadata: dict[str, object] | None = None,
        window_tokens: int | None = None,
        description: str | None = None,
        more: dict[str, object] | None = None,
    ) -> Agent:
        """Without Letta's own tools, and summarising with its own model: Letta's default one may not be there.

        `name` may hold letters, digits, spaces, `-`, `_` and `'`. `blocks`: `label`, `value`, `limit`, `description`
        of each. `more` goes to Letta as it is. Raises Gone(HANDLE).
        """
        body: dict[str, object] = {
            "name": name,
            "agent_type": "letta_v1_agent",
            "model": model,
            "embedding": embedding,
            "system": system,
            "memory_blocks": list(blocks),
            "block_ids": list(block_ids),
            "tool_ids": list(tool_ids),
            "tags": list(tags),
            "metadata": metadata or {},
            "description": description,
            "include_base_tools": False,
            "include_base_tool_rules": False,
            "compaction_settings": {"model": model},
        }
        if window_tokens is not None:
            body["context_window_limit"] = window_tokens
        return await self._server.post("/v1/agents/", _agent, body | (more or {}))

    async def get(self, agent_id: str) -> Agent:
        return await self._server.get(f"/v1/agents/{agent_id}", _agent)

    async def find(self, tags: Sequence[str], *, most: int = PAGE, after: str | None = None) -> list[Agent]:
        """Those that have all the tags, newest first. Each is some 7 KB: not for the path of a turn."""
        params: dict[str, str | int | Sequence[str]] = {"tags": list(tags), "match_all_tags": "true", "limit": most}
        if after is not None:
            params["after"] = after
        return await self._server.get("/v1/agents/", _agents, params)

    async def patch(self, agent_id: str, **changes: object) -> Agent:
        """`tags` and `metadata` are replaced whole."""
        return await self._server.patch(f"/v1/agents/{agent_id}", _agent, changes)

    async def delete(self, agent_id: str) -> None:
        """Its conversations go with it, and what others grafted of its messages. Its blocks and archive stay."""
        await self._server.delete(f"/v1/agents/{agent_id}")

    async def generate(
        self, agent_id: str, prompt: str, *, system: str | None = None, model: str | None = None
    ) -> Generated:
        """A completion by the agent's model, or another; without tools, memory or history. Raises Gone(HANDLE)."""
        body: dict[str, object] = {"prompt": prompt}
        if system is not None:
            body["system_prompt"] = system
        if model is not None:
            body["override_model"] = model
        return await self._server.post(f"/v1/agents/{agent_id}/generate", _generated, body)

    async def branch(self, agent_id: str, message_ids: Sequence[str]) -> Conversation:
        """A new conversation that goes on from these messages, be they of other conversations or other agents.

        Cut between turns: a call stays with its return. The conversation has a fresh system message of its own, then
        these, and neither model nor settings. Letta has no such operation: the agent's own history becomes these
        messages, is forked, and becomes what it was; whoever calls leaves that to run its course. Raises Gone(MESSAGE)
        where one is not there, Engaged where other processes keep coming between.
        """
        task = asyncio.ensure_future(self._branched(agent_id, list(message_ids)))
        self._restoring.add(task)
        task.add_done_callback(self._restoring.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._later(self._unwanted(task))
            raise

    async def aclose(self) -> None:
        while self._restoring:
            await asyncio.wait(self._restoring)

    async def _branched(self, agent_id: str, message_ids: list[str]) -> Conversation:
        key = (asyncio.get_running_loop(), agent_id)
        lock = self._branching.setdefault(key, asyncio.Lock())
        async with lock:
            before = (await self.get(agent_id)).message_ids or []
            for _ in range(BRANCH_TRIES):
                branch = await self._forked(agent_id, before, message_ids)
                if branch.in_context_message_ids[1:] == message_ids:
                    return branch
                await self._conversations.delete(branch.id)  # another process set the history meanwhile
        raise Engaged

    async def _forked(self, agent_id: str, before: list[str], message_ids: list[str]) -> Conversation:
        path = f"/v1/agents/{agent_id}"
        try:
            await self._server.patch(path, whatever, {"message_ids": [*before[:1], *message_ids]})
            fork = await self._conversations.fork_own(agent_id)
        finally:
            await self._server.patch(path, whatever, {"message_ids": before})
        return await self._conversations.get(fork.id)

    async def _unwanted(self, task: "asyncio.Task[Conversation]") -> None:
        try:
            await self._conversations.delete((await task).id)
        except LibrarianError:
            return  # it was not made, or stays behind unused

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._restoring.add(task)
        task.add_done_callback(self._restoring.discard)
