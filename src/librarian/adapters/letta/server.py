"""A Letta server: pooled connections, patience, and its failures in the words of the house."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import msgspec
import orjson
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from librarian.adapters.letta.refusals import Refusals
from librarian.domain.errors import AgentUnavailable, InvalidRequest, UpstreamTimedOut

_T = TypeVar("_T")
Read = Callable[[bytes], _T]
Params = Mapping[str, str | int | Sequence[str]]
Sleep = Callable[[float], Awaitable[None]]

SUCCESS = range(200, 300)
BROKEN = 500
UNREACHED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
)
KEPT_OPEN_S = 4.0
"""Letta closes a connection that was idle for five seconds."""
KEPT_OPEN = 100


def whatever(_: bytes) -> None:
    """Reads an answer that says nothing of use."""


class LettaServer:
    """One pooled client in each event loop, opened with the first call and closed with its loop at the latest."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_s: float,
        connect_s: float,
        connect_tries: int,
        sleep: Sleep,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        """`transport` stands in for the network."""
        self.refusals = Refusals((api_key or "",), timeout_s)
        self.timeout_s = timeout_s
        self._base_url = base_url.rstrip("/")
        # bytes of a stream are read as they come, so they must come uncompressed
        self._headers = {"user-agent": "librarian", "accept-encoding": "identity", "content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._timeout = httpx.Timeout(timeout_s, connect=connect_s)
        self._unhurried = httpx.Timeout(None, connect=connect_s)
        self._transport = transport
        self._trying_again = AsyncRetrying(
            stop=stop_after_attempt(max(connect_tries - 1, 1)),
            wait=wait_random_exponential(multiplier=0.05, max=0.5),
            sleep=sleep,
            reraise=True,
        )
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[httpx.AsyncClient, None]] = {}

    async def get(self, path: str, read: Read[_T], params: Params | None = None) -> _T:
        """Tried again where no answer came."""
        return await self._asked("GET", path, read, params=params, again=_no_answer_came)

    async def date(self, path: str) -> str | None:
        """What the clock on the server's wall says, as HTTP writes it; whatever else it answers."""
        with self.translated():
            reply = await self._tried("GET", path, None, None, _no_answer_came)
        date: str | None = reply.headers.get("date")
        return date

    async def post(self, path: str, read: Read[_T], body: object = None, params: Params | None = None) -> _T:
        return await self._asked("POST", path, read, body=body, params=params)

    async def put(self, path: str, read: Read[_T], body: object = None) -> _T:
        return await self._asked("PUT", path, read, body=body)

    async def patch(self, path: str, read: Read[_T], body: object = None) -> _T:
        """Says how something is to be, so that it may be said twice: tried again where no answer came."""
        return await self._asked("PATCH", path, read, body=body, again=_no_answer_came)

    async def delete(self, path: str) -> None:
        await self._asked("DELETE", path, whatever)

    async def opened(self, path: str, body: object) -> httpx.Response:
        """A reply that streams, and that the caller closes. It waits for ever; so do its reads."""
        with self.translated():
            reply = await self._tried("POST", path, body, None, _nothing_was_sent, streams=True)
            if reply.status_code in SUCCESS:
                return reply
            try:
                async with asyncio.timeout(self.timeout_s):
                    complaint = await reply.aread()
            except TimeoutError:
                complaint = b""
            finally:
                await reply.aclose()
            await _left(reply)
        raise self.refusals.by_status(reply.status_code, reply.headers, complaint, path)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Failures of httpx, and of reading what came, in the words of the house."""
        try:
            yield
        except UNREACHED as error:
            raise AgentUnavailable("The Letta server cannot be reached.", heard=False) from error
        except httpx.TimeoutException as error:
            raise UpstreamTimedOut(self.timeout_s) from error
        except httpx.HTTPError as error:
            raise AgentUnavailable("The Letta server broke off.", heard=True) from error
        except msgspec.DecodeError as error:
            raise AgentUnavailable("The Letta server answered what cannot be read.", heard=True) from error

    async def aclose(self) -> None:
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.aclose()

    async def _asked(
        self,
        method: str,
        path: str,
        read: Read[_T],
        *,
        body: object = None,
        params: Params | None = None,
        again: Callable[[BaseException], bool] | None = None,
    ) -> _T:
        with self.translated():
            reply = await self._tried(method, path, body, params, again or _nothing_was_sent)
            if reply.status_code in SUCCESS:
                return read(reply.content)
            await _left(reply)
        raise self.refusals.by_status(reply.status_code, reply.headers, reply.content, path)

    async def _tried(
        self,
        method: str,
        path: str,
        body: object,
        params: Params | None,
        again: Callable[[BaseException], bool],
        *,
        streams: bool = False,
    ) -> httpx.Response:
        client = self._clients.get(asyncio.get_running_loop()) or await self._opened()
        content = None if body is None else _encoded(body)
        timeout = self._unhurried if streams else self._timeout
        query: Any = params

        async def ask() -> httpx.Response:
            url = self._base_url + path
            request = client.build_request(method, url, content=content, params=query, timeout=timeout)
            return await client.send(request, stream=streams)

        try:
            return await ask()
        except httpx.TransportError as error:  # tenacity costs more than it gives where all is well
            if not again(error):
                raise
        return await self._trying_again.copy(retry=retry_if_exception(again))(ask)

    async def _opened(self) -> httpx.AsyncClient:
        keeper = self._keepers[asyncio.get_running_loop()] = self._kept()
        return await anext(keeper)

    async def _kept(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        """A loop that ends closes its asynchronous generators: so the pool goes with it, whoever forgot it."""
        loop = asyncio.get_running_loop()
        client = httpx.AsyncClient(
            headers=self._headers,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=KEPT_OPEN, keepalive_expiry=KEPT_OPEN_S
            ),
            transport=self._transport,
            trust_env=False,
            follow_redirects=False,
        )
        async with client:
            self._clients[loop] = client
            try:
                yield client
            finally:
                del self._clients[loop]
                self._keepers.pop(loop, None)


async def _left(reply: httpx.Response) -> None:
    """Letta closes the connection after a failure that it did not foresee: the next request must not be sent on it."""
    stream = reply.extensions.get("network_stream")
    if reply.status_code >= BROKEN and stream is not None:
        await stream.aclose()


def _encoded(body: object) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"What is to be said to the agent is no JSON: {error}.") from error


def _nothing_was_sent(error: BaseException) -> bool:
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _no_answer_came(error: BaseException) -> bool:
    """Being late is no reason to ask again: it would be late again."""
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ConnectTimeout)
