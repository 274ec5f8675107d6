"""A model's server that does what it is told: real HTTP on loopback, in a thread with a loop of its own."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from aiohttp import web

from tests.scripted import wire

PATIENCE_S = 10.0


class Gate:
    """Where an answer waits until somebody opens it, in whatever thread."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Once it was reached."""
        assert self.reached.wait(PATIENCE_S)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._opened.set)

    async def passed(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached.set()
        await self._opened.wait()


@dataclass
class Asked:
    """One request, as it came. `hung_up` is set when the client left before the answer was whole."""

    path: str
    peer: tuple[str, int]
    headers: Mapping[str, str]
    body: dict[str, Any]
    hung_up: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def wants_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def said(self) -> str:
        """The last thing the user said."""
        spoken = [message["content"] for message in self.messages if message["role"] == "user"]
        last = spoken[-1] if spoken else ""
        return last if isinstance(last, str) else " ".join(part.get("text", "") for part in last)

    async def left(self, within_s: float = PATIENCE_S) -> bool:
        """Whether the client hangs up in time."""
        return await asyncio.to_thread(self.hung_up.wait, within_s)


Answer = Callable[[web.Request, Asked], Awaitable[web.StreamResponse]]
Rule = Callable[[Asked], bool]


class Script:
    """What comes next. Each method lays down one answer."""

    def __init__(self, lay_down: Callable[[Answer], None]) -> None:
        self._lay_down = lay_down

    def say(
        self,
        *fragments: str | Gate,
        finish: str | None = "stop",
        usage: tuple[int, int] | None = wire.USAGE,
        reasoning: str = "",
        bytes_at_once: int | None = None,
        done: bool = True,
    ) -> None:
        """Each fragment in an event of its own. `done`: whether `[DONE]` ends the stream."""
        deltas: list[dict[str, Any] | Gate] = [{"reasoning_content": reasoning}] if reasoning else []
        deltas += [part if isinstance(part, Gate) else {"content": part} for part in fragments]
        self._lay_down(_Said(deltas, finish, usage, bytes_at_once, done=done))

    def call(self, name: str, arguments: Mapping[str, Any] | str, *, pieces: int = 2, **how: Any) -> None:
        self.calls((name, arguments), pieces=pieces, **how)

    def calls(
        self,
        *calls: tuple[str, Mapping[str, Any] | str],
        pieces: int = 2,
        finish: str | None = "tool_calls",
        usage: tuple[int, int] | None = wire.USAGE,
    ) -> None:
        """Calls at once, their arguments streamed in `pieces`."""
        deltas: list[dict[str, Any] | Gate] = []
        for index, (name, arguments) in enumerate(calls):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            deltas.append({"tool_calls": [wire.call(index, f"call_{name}_{index}", name, "")]})
            deltas += [{"tool_calls": [wire.more_of(index, piece)]} for piece in wire.cut(text, pieces)]
        self._lay_down(_Said(deltas, finish, usage))

    def stream(self, *deltas: dict[str, Any], finish: str | None = "stop") -> None:
        """Deltas as they are, for what only some servers do."""
        self._lay_down(_Said(list(deltas), finish, wire.USAGE))

    def fail(
        self,
        status: int,
        message: str = "That did not work.",
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        sent = dict(headers or {})
        if retry_after is not None:
            sent["retry-after"] = f"{retry_after:g}"
        error = {"message": message, "type": "error", "param": param, "code": code}
        told = json.dumps({"error": error}).encode() if body is None else body

        async def answer(_: web.Request, __: Asked) -> web.StreamResponse:
            return web.Response(status=status, headers=sent, body=told, content_type="application/json")

        self._lay_down(answer)

    def hang(self, *, after: str | None = None) -> None:
        """For ever: before the headers, or in the middle of what it says."""
        if after is not None:
            self.say(after, Gate())
            return

        async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
            await Gate().passed()
            raise web.HTTPGone

        self._lay_down(answer)

    def break_off(self, *, after: str | bytes | None = None, mid_event: bool = False) -> None:
        """The connection is gone: before the first byte, after an event, or in the middle of one."""

        async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
            assert request.transport is not None
            if after is None:
                request.transport.close()
                return web.Response()
            reply = await _begin(request)
            said = after if isinstance(after, bytes) else wire.chunk({"content": after})
            await reply.write(said + said[:40] if mid_event else said)
            request.transport.close()
            return reply

        self._lay_down(answer)

    def send(self, *writes: bytes | Gate, content_type: str = "text/event-stream", status: int = 200) -> None:
        """Bytes as they are."""

        async def answer(request: web.Request, _: Asked) -> web.StreamResponse:
            reply = await _begin(request, content_type, status)
            for write in writes:
                if isinstance(write, Gate):
                    await write.passed()
                else:
                    await reply.write(write)
            return reply

        self._lay_down(answer)

    def do(self, answer: Answer) -> None:
        """What the test has thought of itself."""
        self._lay_down(answer)

    def garbage(self, kind: str = "html") -> None:
        """One of GARBAGE."""
        content_type, body = GARBAGE[kind]
        self.send(body, content_type=content_type)


GARBAGE = {
    "html": ("text/html", b"<html><body>Welcome to the proxy.</body></html>"),
    "empty": ("application/json", b""),
    "empty stream": ("text/event-stream", b""),
    "no json": ("text/event-stream", b"data: {oops\n\ndata: [DONE]\n\n"),
    "no object": ("application/json", b"[1, 2]"),
    "no choices": ("application/json", b'{"id": "x"}'),
    "empty choices": ("application/json", b'{"choices": []}'),
    "nothing": ("text/event-stream", wire.chunk({"role": "assistant", "content": ""}) + wire.DONE),
    "only done": ("text/event-stream", wire.DONE),
    "no unicode": ("text/event-stream", b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\ndata: [DONE]\n\n'),
}


class ScriptedServer(Script):
    """Does what was laid down, in order; else what the first rule that fits says; else echoes the last user message."""

    def __init__(self, *, port: int = 0) -> None:
        self._answers: deque[Answer] = deque()
        super().__init__(self._answers.append)
        self.requests: list[Asked] = []
        """The chats asked for, in order."""
        self.listed: Any = {"object": "list", "data": [{"id": "scripted", "object": "model", "created": 1}]}
        """What GET /models says; None for a server that does not offer it."""
        self.listing_status = 200
        self.service: Any = None
        """What GET / says, if it says anything."""
        self.headers: dict[str, str] = {}
        """What it says in every reply."""
        self.listings = 0
        """How often it was asked for its models."""
        self.embedded: list[dict[str, Any]] = []
        """What it was asked to make vectors of, in order."""
        self.embeddings: deque[tuple[int, Any]] = deque()
        """What POST /embeddings says, a status and JSON, before it makes vectors as it should."""
        self._port = port
        self._rules: list[tuple[Rule, Answer]] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._ready = threading.Event()

    def when(self, rule: Rule) -> Script:
        """What it does whenever the rule fits."""
        return Script(lambda answer: self._rules.append((rule, answer)))

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def port(self) -> int:
        return self._port

    def wait_for(self, requests: int = 1, within_s: float = PATIENCE_S) -> Asked:
        """The request of that number, once it has come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= requests, within_s)
            return self.requests[requests - 1]

    async def asked(self, requests: int = 1, within_s: float = PATIENCE_S) -> Asked:
        return await asyncio.to_thread(self.wait_for, requests, within_s)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE_S)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**28)
        app.on_response_prepare.append(self._dress)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/", self._greet)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.path_qs,
            request.transport.get_extra_info("peername"),
            request.headers.copy(),
            json.loads(await request.read()),
        )
        with self._arrived:
            self.requests.append(asked)
            self._arrived.notify_all()
        try:
            reply = await self._next(asked)(request, asked)
        except (asyncio.CancelledError, ConnectionResetError):
            asked.hung_up.set()
            raise
        asked.answered.set()
        return reply

    def _next(self, asked: Asked) -> Answer:
        if self._answers:
            return self._answers.popleft()
        return next((answer for rule, answer in self._rules if rule(asked)), _echo)

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        """Eight numbers for each text, the same each time."""
        body = json.loads(await request.read())
        self.embedded.append(body)
        if self.embeddings:
            status, said = self.embeddings.popleft()
            return web.json_response(said, status=status)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [{"object": "embedding", "index": at, "embedding": vector(str(text))} for at, text in enumerate(texts)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _models(self, _: web.Request) -> web.StreamResponse:
        self.listings += 1
        if self.listed is None:
            raise web.HTTPNotFound
        return web.json_response(self.listed, status=self.listing_status)

    async def _greet(self, _: web.Request) -> web.StreamResponse:
        if self.service is None:
            raise web.HTTPNotFound
        return web.json_response(self.service)

    async def _dress(self, _: web.Request, reply: web.StreamResponse) -> None:
        reply.headers.update(self.headers)


class _Said:
    """An answer, streamed or whole as it was asked for."""

    def __init__(
        self,
        deltas: Sequence[dict[str, Any] | Gate],
        finish: str | None,
        usage: tuple[int, int] | None,
        bytes_at_once: int | None = None,
        *,
        done: bool = True,
    ) -> None:
        self._deltas = deltas
        self._finish = finish
        self._usage = usage
        self._bytes_at_once = bytes_at_once
        self._done = done

    async def __call__(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        return await self._streamed(request, asked) if asked.streams else await self._whole()

    async def _streamed(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        reply = await _begin(request)
        await self._write(reply, wire.chunk({"role": "assistant", "content": ""}))
        for delta in self._deltas:
            if isinstance(delta, Gate):
                await delta.passed()
            else:
                await self._write(reply, wire.chunk(delta))
        if self._finish is not None:
            await self._write(reply, wire.chunk(finish=self._finish))
        if self._usage is not None and asked.wants_usage:
            await self._write(reply, wire.usage_chunk(self._usage))
        if self._done:
            await self._write(reply, wire.DONE)
        return reply

    async def _write(self, reply: web.StreamResponse, data: bytes) -> None:
        size = self._bytes_at_once or len(data)
        for at in range(0, len(data), size):
            await reply.write(data[at : at + size])
            await asyncio.sleep(0)

    async def _whole(self) -> web.StreamResponse:
        message: dict[str, Any] = {}
        for delta in self._deltas:
            if isinstance(delta, Gate):
                await delta.passed()
                continue
            for name in ("content", "reasoning_content"):
                if text := delta.get(name):
                    message[name] = (message.get(name) or "") + text
            for piece in delta.get("tool_calls", ()):
                calls = message.setdefault("tool_calls", [])
                if "id" in piece:
                    calls.append({**piece, "function": dict(piece["function"])})
                else:
                    calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
        body = wire.completion(message, self._finish, self._usage)
        return web.Response(body=body, content_type="application/json")


async def _echo(request: web.Request, asked: Asked) -> web.StreamResponse:
    words = f"echo: {asked.said}".split(" ")
    deltas = [{"content": word if at == 0 else f" {word}"} for at, word in enumerate(words)]
    return await _Said(deltas, "stop", wire.USAGE)(request, asked)


async def _begin(
    request: web.Request, content_type: str = "text/event-stream", status: int = 200
) -> web.StreamResponse:
    reply = web.StreamResponse(status=status, headers={"content-type": content_type})
    await reply.prepare(request)
    return reply


def vector(text: str) -> list[float]:
    numbers = [byte - 127.5 for byte in sha256(text.encode()).digest()[:8]]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
