"""Read the settings, build the House, run the command line."""

import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from socket import AF_INET, AF_INET6, create_server, socket
from typing import Any

import uvicorn
from pydantic import BaseModel, SecretStr

from librarian.adapters.telemetry.logs import configure_logs
from librarian.application.bootstrap import Bootstrap
from librarian.application.converse import Ask
from librarian.application.diagnose import Diagnose
from librarian.application.keep_agents import KeepAgents
from librarian.container import House
from librarian.domain.turn import TurnStream
from librarian.entrypoints.cli.main import make_cli
from librarian.entrypoints.cli.premises import UseCases
from librarian.entrypoints.http.front_door import FrontDoor
from librarian.settings import Settings, environment, notices, read_settings, unknown_names

BACKLOG = 2048
DRAIN_S = 10
"""How long turns under way may go on once the house is told to stop."""


def main() -> None:
    """`librarian`."""
    make_cli(Premises)()


def app() -> FrontDoor:
    """For `uvicorn --factory librarian.__main__:app`, which listens where its own flags say."""
    settings = Settings()
    configure_logs(level=settings.log_level)
    return House(settings=settings).front_door()


class Premises:
    """The house as the command line finds it."""

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        """Raises ValueError, a sentence in each of its `args`."""
        self._settings = read_settings(overrides)
        self._env = environment()

    @property
    def base_url(self) -> str:
        return _reachable(self._settings.host, self._settings.port)

    @property
    def api_key(self) -> str | None:
        return self._settings.secret

    @property
    def data(self) -> str:
        return self._settings.database.removeprefix("sqlite:///")

    @property
    def notices(self) -> Sequence[str]:
        return notices(self._env)

    @property
    def unknown(self) -> Sequence[str]:
        return unknown_names(self._env)

    @property
    def configuration(self) -> Mapping[str, str]:
        return dict(_shown(self._settings, "LIBRARIAN_"))

    def serve(self, ready: Callable[[str, str], None]) -> None:
        """Blocks until stopped."""
        configure_logs(level=self._settings.log_level)
        house = House(settings=self._settings)
        house.database().open()  # what is wrong with it is said here in a line, and by uvicorn in a traceback
        listening = _listening(self._settings.host, self._settings.port)
        port = listening.getsockname()[1]
        server = _Server(
            uvicorn.Config(
                house.front_door(),
                http="httptools",
                loop="uvloop" if sys.platform != "win32" else "asyncio",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                log_config=None,
                timeout_graceful_shutdown=DRAIN_S,
            ),
            greet=lambda: self._greet(house, port, ready),
        )
        server.run(sockets=[listening])

    def opened(self) -> AbstractAsyncContextManager[UseCases]:
        configure_logs(level="warning")
        return _opened(House(settings=self._settings))

    async def _greet(self, house: House, port: int, ready: Callable[[str, str], None]) -> None:
        ready(_reachable(self._settings.host, port), await _described(house))
        gc.collect()
        gc.freeze()  # what start-up made lives on anyway: walking it again stalls every turn (25 ms)
        gc.set_threshold(20_000, 20, 50)


@asynccontextmanager
async def _opened(house: House) -> AsyncIterator[UseCases]:
    async with house.lifetime():
        yield _UseCases(house)


async def _described(house: House) -> str:
    """What speaks, for people."""
    return await (
        house.chosen().described() if house.settings().backend == "embedded" else house.letta_models().described()
    )


class _UseCases:
    def __init__(self, house: House) -> None:
        self._house = house

    @property
    def converse(self) -> Callable[[Ask], TurnStream]:
        return self._house.converse()

    @property
    def diagnose(self) -> Diagnose:
        return self._house.diagnose()

    @property
    def bootstrap(self) -> Bootstrap:
        return self._house.bootstrap()

    @property
    def agents(self) -> KeepAgents:
        return self._house.keep_agents()

    async def upstream(self) -> str:
        return await _described(self._house)


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, *, greet: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._greet = greet

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await self._greet()


def _listening(host: str, port: int) -> socket:
    """Raises OSError where the address cannot be had; uvicorn would end the process instead."""
    family = AF_INET6 if ":" in host else AF_INET
    return create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)


def _reachable(host: str, port: int) -> str:
    """`0.0.0.0` is no place to go to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


def _shown(settings: BaseModel, prefix: str) -> Sequence[tuple[str, str]]:
    shown: list[tuple[str, str]] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            shown += _shown(value, f"{prefix}{name.upper()}__")
        else:
            shown.append((f"{prefix}{name.upper()}", "(set)" if isinstance(value, SecretStr) else str(value)))
    return shown


if __name__ == "__main__":
    main()
