"""Stands between the house and a real Letta, and spoils what it is told to spoil: real HTTP on loopback."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.scripted import wire

Spoil = Callable[[web.Request], Awaitable[web.StreamResponse]]
PING_S = 0.05
PING = wire.event({"message_type": "ping", "id": "ping-1", "run_id": "run-1"})


@dataclass
class Proxy:
    """`passed`: what Letta was asked, and its status, in order."""

    behind: str
    url: str = ""
    passed: list[tuple[str, str, int]] = field(default_factory=list)
    _spoiled: list[tuple[re.Pattern[str], Spoil]] = field(default_factory=list)

    def fail(self, what: str, status: int, body: bytes) -> None:
        """Letta does not hear of it. `what` is a pattern for method and path."""

        async def spoil(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, content_type="application/json")

        self._spoil(what, spoil)

    def break_off(self, what: str) -> None:
        """Once Letta has heard it, and has done it."""

        async def spoil(request: web.Request) -> web.StreamResponse:
            async with self._asked(request) as reply:
                await reply.read()
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        self._spoil(what, spoil)

    def cut(self, what: str, before: bytes) -> None:
        """A stream ends before those bytes."""

        async def spoil(request: web.Request) -> web.StreamResponse:
            async with self._asked(request) as reply:
                said = (await reply.read()).partition(before)[0]
            return web.Response(body=said, content_type="text/event-stream")

        self._spoil(what, spoil)

    def only_pings(self, what: str) -> None:
        """For ever. Letta is at work meanwhile."""

        async def spoil(request: web.Request) -> web.StreamResponse:
            async with self._asked(request):
                stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
                await stream.prepare(request)
                while True:
                    await stream.write(PING)
                    await asyncio.sleep(PING_S)

        self._spoil(what, spoil)

    def do(self, what: str, spoil: Spoil) -> None:
        """What the test has thought of itself."""
        self._spoil(what, spoil)

    def mend(self) -> None:
        self._spoiled.clear()

    def _spoil(self, what: str, spoil: Spoil) -> None:
        self._spoiled.append((re.compile(what), spoil))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = f"{request.method} {request.path}"
        for pattern, spoil in self._spoiled:
            if pattern.search(asked):
                return await spoil(request)
        async with self._asked(request) as reply:
            headers = {"content-type": reply.headers.get("content-type", "application/json")}
            stream = web.StreamResponse(status=reply.status, headers=headers)
            await stream.prepare(request)
            async for chunk in reply.content.iter_any():
                await stream.write(chunk)
            return stream

    @asynccontextmanager
    async def _asked(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"content-type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self.behind + request.path_qs, data=await request.read(), headers=headers
            ) as reply,
        ):
            self.passed.append((request.method, request.path, reply.status))
            yield reply


@asynccontextmanager
async def standing_before(behind: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(behind)
    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield proxy
    await runner.cleanup()
