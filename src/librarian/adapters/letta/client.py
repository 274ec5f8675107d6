"""Letta's REST API, as far as the house uses it. Source: Letta 0.16.8, `server/rest_api/`."""

import asyncio
from collections.abc import AsyncGenerator
from email.utils import parsedate_to_datetime

import httpx

from librarian.adapters.letta.agents import Agents
from librarian.adapters.letta.answers import EmbeddingModel, Health, Model, reads
from librarian.adapters.letta.conversations import Conversations
from librarian.adapters.letta.events import LettaEvent, TurnReader
from librarian.adapters.letta.memory import Memory
from librarian.adapters.letta.server import LettaServer, Sleep
from librarian.adapters.letta.tools import Tools
from librarian.adapters.letta.wire import Body

_health = reads(Health)
_models = reads(list[Model])
_embeddings = reads(list[EmbeddingModel])


class LettaClient:
    """One Letta server, its rooms by subject.

    Everything raises AgentUnavailable where the server cannot be reached, breaks off or fails; UpstreamTimedOut where
    it is late; UpstreamRefused where it does not let the house in; TurnFailed where it does not take what it is asked.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        connect_s: float = 5.0,
        first_event_s: float = 300.0,
        idle_s: float = 60.0,
        connect_tries: int = 3,
        sleep: Sleep = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout_s` holds for what is no turn. A turn may be silent, but for pings, `first_event_s` before the model
        speaks and whenever tools are run, `idle_s` while it speaks. `transport` stands in for the network.
        """
        self._server = LettaServer(
            base_url,
            api_key=api_key,
            timeout_s=timeout_s,
            connect_s=connect_s,
            connect_tries=connect_tries,
            sleep=sleep,
            transport=transport,
        )
        self.conversations = Conversations(self._server, first_event_s, idle_s)
        self.agents = Agents(self._server, self.conversations)
        self.memory = Memory(self._server)
        self.tools = Tools(self._server)

    async def health(self) -> Health:
        """Answered without a key, too."""
        return await self._server.get("/v1/health/", _health)

    async def now_s(self) -> float | None:
        """The server's clock, in seconds since 1970 and to the second; None where it does not say."""
        told = await self._server.date("/v1/health/")
        try:
            return parsedate_to_datetime(told).timestamp() if told else None
        except ValueError:
            return None

    async def models(self) -> list[Model]:
        """Those that speak. A server behind a base URL of its own lists its embedding models among them."""
        return await self._server.get("/v1/models/", _models)

    async def embedding_models(self) -> list[EmbeddingModel]:
        return await self._server.get("/v1/models/embedding", _embeddings)

    def send(
        self, conversation_id: str, body: Body, reader: TurnReader | None = None
    ) -> AsyncGenerator[LettaEvent, None]:
        """See Conversations.send."""
        return self.conversations.send(conversation_id, body, reader)

    async def aclose(self) -> None:
        """Once every turn that was left is cancelled, and every branch is done."""
        await self.conversations.aclose()
        await self.agents.aclose()
        await self._server.aclose()
