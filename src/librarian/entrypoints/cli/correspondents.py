"""Who answers a terminal chat: a server, or the house in this process."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from librarian.application.converse import Ask
from librarian.domain.transcript import Message, Transcript
from librarian.domain.turn import TextSpoken, TurnStream

PATIENCE = httpx.Timeout(10.0, read=330.0)
"""A server may think for as long as the house waits for a model's first word, and a little longer."""
LOOK_S = 2.0
NO_PROXY: dict[str, Any] = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
"""This machine is never looked for by way of another, whatever the environment says."""


class NoAnswer(Exception):
    """Why there is none, in a sentence."""


class Correspondent(Protocol):
    @property
    def where(self) -> str:
        """For people."""
        ...

    def answer(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """The answer as it is spoken, in pieces that are not empty.

        Raises NoAnswer and LibrarianError, also in the middle of it.
        """
        ...


class InThisProcess:
    def __init__(self, converse: Callable[[Ask], TurnStream], model: str, where: str) -> None:
        self._converse = converse
        self._model = model
        self.where = where

    async def answer(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        ask = Ask(model=self._model, transcript=Transcript(messages))
        async with aclosing(self._converse(ask)) as events:
            async for event in events:
                if isinstance(event, TextSpoken) and (text := "".join(event.fragments)):
                    yield text


class Server:
    """Any OpenAI-compatible server. `url` may end in `/v1`, or not."""

    def __init__(self, client: httpx.AsyncClient, url: str, key: str | None, model: str) -> None:
        self._client = client
        self._base = url.rstrip("/").removesuffix("/v1")
        self._headers = {b"authorization": b"Bearer " + key.encode()} if key else {}
        self._model = model
        self.where = self._base

    async def is_a_librarian(self) -> bool:
        """Asked without the key, which is nobody else's business."""
        try:
            reply = await self._client.get(f"{self._base}/", timeout=LOOK_S)
            return bool(reply.is_success and reply.json()["service"] == "librarian")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
            return False

    async def greet(self) -> None:
        """Raises NoAnswer where nobody listens, or the key is not the right one."""
        _check(self._base)
        try:
            reply = await self._client.get(f"{self._base}/v1/models", headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if not reply.is_success:
            raise _refusal(reply)

    async def answer(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        said = [{"role": message.role.value, "content": message.text} for message in messages]
        ask = {"model": self._model, "messages": said, "stream": True}
        url = f"{self._base}/v1/chat/completions"
        try:
            async with self._client.stream("POST", url, json=ask, headers=self._headers) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise _refusal(reply)
                async with aclosing(frames(reply.aiter_bytes())) as data:
                    async for frame in data:
                        if frame == b"[DONE]":
                            return
                        if text := _text(frame):
                            yield text
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        raise NoAnswer("The server broke off in the middle of its answer.")

    def _unreachable(self, error: Exception) -> NoAnswer:
        return NoAnswer(f"{self._base} cannot be reached: {str(error) or type(error).__name__}.")


async def frames(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each event of a stream of events.

    Not by httpx's lines, which end at U+2028, too: JSON may hold that as it is.
    """
    data: list[bytes] = []
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (line.removesuffix(b"\r") for line in lines):
            if line.startswith(b"data:"):
                data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Failure(msgspec.Struct):
    message: str


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: _Failure | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def _text(frame: bytes) -> str:
    """Raises NoAnswer for an error in place of an answer, and for what cannot be read."""
    try:
        chunk = _decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoAnswer("The server sent what an OpenAI-compatible server does not send.") from error
    if chunk.error is not None:
        raise NoAnswer(chunk.error.message)
    return "".join(choice.delta.content or "" for choice in chunk.choices[:1])


def _check(url: str) -> None:
    """What httpx finds out too late, and says in other words each time."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise NoAnswer(f"{url} is no address of a server: one looks like http://127.0.0.1:8000.")


def _refusal(reply: httpx.Response) -> NoAnswer:
    try:
        return NoAnswer(str(json.loads(reply.content)["error"]["message"]))
    except (ValueError, LookupError, TypeError):
        return NoAnswer(f"The server says {reply.status_code} {reply.reason_phrase}.".strip())
