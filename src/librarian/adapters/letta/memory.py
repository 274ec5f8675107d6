"""What an agent keeps before its eyes and on its shelf: blocks, and passages in an archive."""

from collections.abc import Sequence
from urllib.parse import quote

from librarian.adapters.letta.answers import Archive, Block, Found, FoundPassage, Passage, reads
from librarian.adapters.letta.server import LettaServer, whatever
from librarian.domain.errors import LibrarianError

_block = reads(Block)
_blocks = reads(list[Block])
_archive = reads(Archive)
_archives = reads(list[Archive])
_passages = reads(list[Passage])
_found = reads(Found)


class Memory:
    """Raises what `LettaServer` raises; Gone for an agent, a block or a passage that is not there.

    Letta keeps no block within its limit, and of edits at once it keeps one: both are the caller's to see to.
    """

    def __init__(self, server: LettaServer) -> None:
        self._server = server

    async def blocks(self, agent_id: str) -> list[Block]:
        return await self._server.get(f"/v1/agents/{agent_id}/core-memory/blocks", _blocks)

    async def block(self, agent_id: str, label: str) -> Block:
        return await self._server.get(_labelled(agent_id, label), _block)

    async def patch_block(self, agent_id: str, label: str, **changes: object) -> Block:
        """`value`, `limit`, `description` or `read_only`."""
        return await self._server.patch(_labelled(agent_id, label), _block, changes)

    async def add_block(
        self, agent_id: str, label: str, value: str, *, limit_chars: int, description: str | None = None
    ) -> Block:
        """Made, then attached. Raises AlreadyThere for a second one of that label; then none is made."""
        body = {"label": label, "value": value, "limit": limit_chars, "description": description}
        block = await self._server.post("/v1/blocks/", _block, body)
        try:
            await self.attach_block(agent_id, block.id)
        except LibrarianError:
            await self.delete_block(block.id)
            raise
        return block

    async def attach_block(self, agent_id: str, block_id: str) -> None:
        """Others that have it see the same. Raises AlreadyThere."""
        await self._server.patch(f"/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}", whatever)

    async def detach_block(self, agent_id: str, block_id: str) -> None:
        """The block stays, and belongs to nobody."""
        await self._server.patch(f"/v1/agents/{agent_id}/core-memory/blocks/detach/{block_id}", whatever)

    async def delete_block(self, block_id: str) -> None:
        await self._server.delete(f"/v1/blocks/{block_id}")

    async def create_archive(self, name: str, *, embedding: str) -> Archive:
        """Raises Gone(HANDLE)."""
        return await self._server.post("/v1/archives/", _archive, {"name": name, "embedding": embedding})

    async def archives(self, agent_id: str) -> list[Archive]:
        """One at most."""
        return await self._server.get("/v1/archives/", _archives, {"agent_id": agent_id})

    async def attach_archive(self, agent_id: str, archive_id: str) -> None:
        """Raises AlreadyThere for an agent that has one, be it this."""
        await self._server.patch(f"/v1/agents/{agent_id}/archives/attach/{archive_id}", whatever)

    async def delete_archive(self, archive_id: str) -> None:
        await self._server.delete(f"/v1/archives/{archive_id}")

    async def put_by(self, agent_id: str, text: str, tags: Sequence[str] = ()) -> Passage:
        """An agent without an archive is given one. The answer carries the vector: 20 to 50 KB a passage."""
        body = {"text": text, "tags": list(tags)}
        (passage, *_) = await self._server.post(f"/v1/agents/{agent_id}/archival-memory", _passages, body)
        return passage

    async def search(
        self,
        agent_id: str,
        query: str,
        *,
        most: int = 10,
        tags: Sequence[str] = (),
        all_tags: bool = False,
        since: str | None = None,
        until: str | None = None,
    ) -> list[FoundPassage]:
        """By meaning, the nearest first. `since` and `until` are ISO 8601."""
        params: dict[str, str | int | Sequence[str]] = {"query": query, "top_k": most}
        if tags:
            params |= {"tags": list(tags), "tag_match_mode": "all" if all_tags else "any"}
        if since is not None:
            params["start_datetime"] = since
        if until is not None:
            params["end_datetime"] = until
        return (await self._server.get(f"/v1/agents/{agent_id}/archival-memory/search", _found, params)).results

    async def passages(self, agent_id: str, *, most: int = 100, after: str | None = None) -> list[Passage]:
        """Oldest first, with vectors: not for the path of a turn."""
        params: dict[str, str | int] = {"limit": most, "ascending": "true"}
        if after is not None:
            params["after"] = after
        return await self._server.get(f"/v1/agents/{agent_id}/archival-memory", _passages, params)

    async def delete_passage(self, agent_id: str, passage_id: str) -> None:
        await self._server.delete(f"/v1/agents/{agent_id}/archival-memory/{passage_id}")


def _labelled(agent_id: str, label: str) -> str:
    return f"/v1/agents/{agent_id}/core-memory/blocks/{quote(label, safe='')}"
