"""Tools that Letta runs itself, and the MCP servers it has them from."""

from collections.abc import Sequence

from librarian.adapters.letta.answers import McpServer, Tool, reads
from librarian.adapters.letta.server import LettaServer, Params, whatever

PAGE = 100

_tool = reads(Tool)
_tools = reads(list[Tool])
_mcp_server = reads(McpServer)
_mcp_servers = reads(list[McpServer])


class Tools:
    """Raises what `LettaServer` raises."""

    def __init__(self, server: LettaServer) -> None:
        self._server = server

    async def upsert(
        self, source_code: str, *, tags: Sequence[str] = (), more: dict[str, object] | None = None
    ) -> Tool:
        """A Python function; the tool has its name, and replaces the one that had it."""
        return await self._server.put(
            "/v1/tools/", _tool, {"source_code": source_code, "tags": list(tags)} | (more or {})
        )

    async def named(self, names: Sequence[str]) -> list[Tool]:
        """Those there are."""
        if not names:
            return []
        params: Params = {"names": list(names), "limit": len(names)}
        return await self._server.get("/v1/tools/", _tools, params)

    async def all(self, *, after: str | None = None) -> list[Tool]:
        """A page of them; the last one's id leads to the next."""
        params: Params = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
        return await self._server.get("/v1/tools/", _tools, params)

    async def delete(self, tool_id: str) -> None:
        await self._server.delete(f"/v1/tools/{tool_id}")

    async def of_agent(self, agent_id: str) -> list[Tool]:
        return await self._server.get(f"/v1/agents/{agent_id}/tools", _tools, {"limit": PAGE})

    async def attach(self, agent_id: str, tool_id: str) -> None:
        """Again changes nothing."""
        await self._server.patch(f"/v1/agents/{agent_id}/tools/attach/{tool_id}", whatever)

    async def detach(self, agent_id: str, tool_id: str) -> None:
        await self._server.patch(f"/v1/agents/{agent_id}/tools/detach/{tool_id}", whatever)

    async def mcp_servers(self) -> list[McpServer]:
        return await self._server.get("/v1/mcp-servers/", _mcp_servers)

    async def add_mcp_server(self, name: str, config: dict[str, object]) -> McpServer:
        """`config` has its `mcp_server_type`: `streamable_http`, `sse` or `stdio`.

        Letta takes no address that is not public, and no `stdio` unless it was started with MCP_DISABLE_STDIO=false:
        both raise TurnFailed. Raises AlreadyThere.
        """
        return await self._server.post("/v1/mcp-servers/", _mcp_server, {"server_name": name, "config": config})

    async def patch_mcp_server(self, server_id: str, name: str, config: dict[str, object]) -> McpServer:
        """`config` whole, as for a new one."""
        body = {"server_name": name, "config": config}
        return await self._server.patch(f"/v1/mcp-servers/{server_id}", _mcp_server, body)

    async def delete_mcp_server(self, server_id: str) -> None:
        await self._server.delete(f"/v1/mcp-servers/{server_id}")

    async def mcp_tools(self, server_id: str) -> list[Tool]:
        """What it offered when it was added or last refreshed."""
        return await self._server.get(f"/v1/mcp-servers/{server_id}/tools", _tools)

    async def refresh_mcp_server(self, server_id: str) -> None:
        await self._server.patch(f"/v1/mcp-servers/{server_id}/refresh", whatever)
