"""A model's server: pooled connections, patience, and its failures in the words of the house."""

import asyncio
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from yarl import URL

from librarian.domain.errors import UpstreamRefused, UpstreamTimedOut

LINGER_S = 1.0
"""How long the last bytes of a reply may take after its last event."""
LARGE_BYTES = 2**20
COMPLAINT_BYTES = 2**16
COMPLAINT_S = 5.0
UNREACHED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)

Sleep = Callable[[float], Awaitable[None]]


class Silence:
    """How long the server may be silent just now, in seconds."""

    __slots__ = ("allowed_s",)

    def __init__(self, allowed_s: float) -> None:
        self.allowed_s = allowed_s

    def becomes(self, allowed_s: float, reply: aiohttp.ClientResponse) -> None:
        """aiohttp watches with one timer a connection, set anew by every read."""
        if self.allowed_s == allowed_s:
            return
        self.allowed_s = allowed_s
        line = reply.connection.protocol if reply.connection is not None else None
        if line is not None:
            line.read_timeout = allowed_s
            line.start_timeout()


@dataclass(slots=True)
class _Pool:
    """A session, and the replies that were heard out but have not ended."""

    session: aiohttp.ClientSession
    lingering: set[aiohttp.ClientResponse] = field(default_factory=set)

    def close(self, reply: aiohttp.ClientResponse) -> None:
        reply.close()
        self.lingering.discard(reply)


class ModelServer:
    """One pooled session in each event loop, opened with the first call and closed with its loop at the latest."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], connect_s: float, connect_tries: int, sleep: Sleep
    ) -> None:
        base = URL(base_url)
        self._base = base.with_user(None) if "authorization" in headers else base  # aiohttp refuses to send both
        self._headers = {"user-agent": "librarian", "content-type": "application/json", **headers}
        self._connect_s = connect_s
        self._trying_again = AsyncRetrying(
            stop=stop_after_attempt(max(connect_tries - 1, 1)),
            wait=wait_random_exponential(multiplier=0.05, max=0.5),
            retry=retry_if_exception(_nothing_was_sent),
            sleep=sleep,
            reraise=True,
        )
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[_Pool, None]] = {}

    def url(self, path: str) -> URL:
        """Below the base, whose query (Azure's version, say) is kept."""
        return self._base.with_path(f"{self._base.path.rstrip('/')}/{path}").with_query(self._base.query)

    async def get(self, url: URL, silence: Silence) -> aiohttp.ClientResponse:
        return await self._asked("GET", url, None, silence)

    async def post(self, url: URL, body: bytes, silence: Silence) -> aiohttp.ClientResponse:
        return await self._asked("POST", url, body, silence)

    async def _asked(self, method: str, url: URL, body: bytes | None, silence: Silence) -> aiohttp.ClientResponse:
        """Tries again only where nothing was sent."""
        pool = self._pools.get(asyncio.get_running_loop()) or await self._opened()
        timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_read=silence.allowed_s)

        async def ask() -> aiohttp.ClientResponse:
            data = io.BytesIO(body) if body is not None and len(body) > LARGE_BYTES else body  # sent piece by piece
            return await pool.session.request(method, url, data=data, timeout=timeout, allow_redirects=False)

        try:
            return await ask()
        except aiohttp.ClientConnectorError as error:  # tenacity costs 24 us a call: not where all is well
            if not _nothing_was_sent(error):
                raise
        return await self._trying_again.copy()(ask)

    def let_go(self, reply: aiohttp.ClientResponse, *, heard_out: bool) -> None:
        """Close the connection at once, unless all was said; then its last bytes give it back to the pool."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if not heard_out or pool is None or reply.content.is_eof():
            reply.close()
        else:
            pool.lingering.add(reply)
            loop.call_later(LINGER_S, pool.close, reply)

    async def aclose(self) -> None:
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.aclose()

    async def _opened(self) -> _Pool:
        keeper = self._keepers[asyncio.get_running_loop()] = self._kept()
        return await anext(keeper)

    async def _kept(self) -> AsyncGenerator[_Pool, None]:
        """A loop that ends closes its asynchronous generators: so the pool goes with it, whoever forgot it."""
        loop = asyncio.get_running_loop()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            skip_auto_headers=("accept", "accept-encoding"),
        )
        async with session:
            pool = self._pools[loop] = _Pool(session)
            try:
                yield pool
            finally:
                del self._pools[loop]
                self._keepers.pop(loop, None)
                for reply in tuple(pool.lingering):
                    pool.close(reply)


async def complaint(reply: aiohttp.ClientResponse, silence: Silence) -> bytes:
    """The beginning of a refusal's body; empty where it does not arrive soon."""
    body = b""
    silence.becomes(min(COMPLAINT_S, silence.allowed_s), reply)
    with suppress(aiohttp.ClientError, TimeoutError):
        while len(body) < COMPLAINT_BYTES and (read := await reply.content.readany()):
            body += read
    return body[:COMPLAINT_BYTES]


def _nothing_was_sent(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError)


@contextmanager
def translated(silence: Silence) -> Iterator[None]:
    """Failures of aiohttp, and of reading what came, in the words of the house."""
    try:
        yield
    except UNREACHED as error:
        raise UpstreamRefused("The language model's server cannot be reached.", heard=False) from error
    except TimeoutError as error:
        raise UpstreamTimedOut(silence.allowed_s) from error
    except aiohttp.ClientError as error:
        raise UpstreamRefused("The language model broke off.", heard=True) from error
    except ValueError as error:  # msgspec's, orjson's and Unicode's
        raise UpstreamRefused("The language model's server answered what cannot be read.", heard=True) from error
