"""The first to hear a request and the last to answer for it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.meter import Meter
from librarian.domain.errors import LibrarianError, TooLarge
from librarian.entrypoints.http.admission import Admission, Caller
from librarian.entrypoints.http.attendance import Attended
from librarian.entrypoints.http.bodies import read_body, replayed, require_json
from librarian.entrypoints.http.context import Visit
from librarian.entrypoints.http.openai.errors import Refused, envelope, method_not_allowed, refusal
from librarian.entrypoints.http.place import place_of, split_place
from librarian.entrypoints.http.streams import NO_CONTENT, Pace, Reply

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

READING = ("/librarian/", "/v1/responses/", "/v1/conversations")
"""Below these, bodies are read; elsewhere only the hot endpoints read any."""
PUBLIC = frozenset({"/", "/health/live", "/health/ready", "/docs", "/openapi.json"})
"""Open without a key. They tell a stranger nothing of what goes on in the house."""
NAMED = PUBLIC | {"/health", "/metrics", "/v1/models", "/v1/conversations", "/librarian/agents"}
BELOW = ("/v1/models/", "/v1/responses/", "/v1/conversations/", "/librarian/agents/")
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
ALLOWED = "POST, OPTIONS"


class Endpoint(Protocol):
    """What answers a request that was let in, and read."""

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None: ...


class FrontDoor:
    """Hot endpoints by exact path; everything else, lifespan too, goes to `rest`.

    FastAPI's own way to an ASGI route leads through three middlewares and an exit stack (20 us).
    """

    def __init__(
        self,
        hot: Mapping[str, Endpoint],
        rest: ASGIApp,
        *,
        admission: Admission,
        pace: Pace,
        body_limit_bytes: int,
        clock: Clock,
        ids: Ids,
        meter: Meter,
    ) -> None:
        self._hot = dict(hot)
        self._rest = rest
        self._admission = admission
        self._pace = pace
        self._body_limit_bytes = body_limit_bytes
        self._clock = clock
        self._ids = ids
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        path, conversation = split_place(scope)
        if conversation is not None:
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        with Visit(self._ids.new(), scope["method"], self._label(path), clock=self._clock, meter=self._meter) as visit:
            reply = Reply(send, visit, bodiless=scope["method"] == "HEAD")
            try:
                place = place_of(conversation, scope["query_string"])
                endpoint = self._hot.get(path)
                if endpoint is None:
                    await self._pass_on(scope, receive, reply)
                else:
                    await self._serve(endpoint, scope, receive, reply, place)
            except ClientDisconnect:
                visit.error = "ClientLeft"
            except TooLarge as error:
                visit.error = "TooLarge"
                said = refusal(error)
                await reply.at_last(said.status, said.headers(), envelope(error), receive)
            except (LibrarianError, Refused) as error:
                await _refuse(error, reply)
            except Exception as error:  # the outermost edge
                log.exception("request_failed", exc_info=error)
                await _refuse(error, reply)

    async def _serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, reply: Reply, place: str | None) -> None:
        caller = self._admission(scope["headers"], scope.get("client"), place)
        if scope["method"] != "POST":
            await _answer_no_post(scope, reply)
            return
        require_json(caller.headers)
        body = await read_body(caller.headers, receive, self._body_limit_bytes)
        async with Attended(receive, self._pace.turn_s) as attended:
            reply.attended = attended
            await endpoint(body, caller, reply)
        if attended.left:
            reply.visit.error = "ClientLeft"

    async def _pass_on(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        """A HEAD is answered as the GET would be, without the body."""
        enter = self._admission.guest if scope["path"] in PUBLIC else self._admission
        caller = enter(scope["headers"], scope.get("client"))
        if caller is not None and scope["method"] not in BODILESS and _has_body(caller):
            require_json(caller.headers)
            if scope["path"].startswith(READING):
                receive = replayed(await read_body(caller.headers, receive, self._body_limit_bytes), receive)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        inner = {**scope, "method": method, "visit": reply.visit, "caller": caller}
        await self._rest(inner, receive, reply.relay)

    def _label(self, path: str) -> str:
        if path in self._hot or path in NAMED:
            return path
        return next((f"{above}{{id}}" for above in BELOW if path.startswith(above)), "other")


async def _answer_no_post(scope: Scope, reply: Reply) -> None:
    if scope["method"] != "OPTIONS":
        raise method_not_allowed(scope["method"], scope["path"], ALLOWED)
    await reply.at_once(NO_CONTENT, [(b"allow", ALLOWED.encode())], b"")


async def _refuse(error: Exception, reply: Reply) -> None:
    """After the first frame an error is the last one, and there is no `[DONE]`."""
    reply.visit.error = type(error).__name__
    if not reply.begun:
        said = refusal(error)
        if reply.recorded:
            said = replace(said, retriable=False, retry_after_s=None)
        await reply.at_once(said.status, said.headers(), envelope(error))
    elif reply.streaming:
        await reply.say(reply.last_words(error), more=False)


def _has_body(caller: Caller) -> bool:
    return b"transfer-encoding" in caller.headers or caller.headers.get(b"content-length", b"0") != b"0"
