"""One Letta server on a port of loopback: started, stopped, killed and started again on the same database."""

import http
import http.client
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import Self
from urllib.parse import urlsplit

from scripts.letta import environment
from scripts.letta.keeper import Kept, Unavailable
from scripts.letta.postgres import Postgres

PATIENCE_S = 90.0
NOWHERE = "http://127.0.0.1:9"
"""The port `discard`: what is sent there by proxy goes no further."""


class LettaServer:
    def __init__(
        self,
        postgres: Postgres,
        model_url: str,
        *,
        api_key: str = "unused",
        port: int = 0,
        database: str = "letta",
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Its model has to answer while it starts: it asks for the names then, and never again.

        Servers with the same database are one Letta in several processes. `settings` are variables of its environment.
        """
        self._postgres = postgres
        self._model_url = model_url
        self._api_key = api_key
        self._database = database
        self._settings = dict(settings or {})
        self.port = port or _free_port()
        self.password = password
        self._home = postgres.folder / f"home-{self.port}"
        self._running: Kept | None = None

    def another(self, *, database: str, password: str | None, settings: Mapping[str, str] | None = None) -> Self:
        """On the same PostgreSQL, with the same model, not started yet."""
        return type(self)(
            self._postgres,
            self._model_url,
            api_key=self._api_key,
            database=database,
            password=password,
            settings=settings,
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return self._running is not None and self._running.runs

    @property
    def pid(self) -> int:
        """Of what runs, which it must."""
        assert self._running is not None  # noqa: S101  it is asked of a server that was started
        return self._running.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it is healthy. Raises Unavailable."""
        if self.runs:
            return
        self.stop()
        if not self._postgres.has(self._database):
            self._postgres.create(self._database, environment.SCHEMA)
        _refuse_if_taken(self.port)
        self._home.mkdir(exist_ok=True)
        starter = "from letta.main import app; app()"
        self._running = Kept(
            [environment.PYTHON, "-I", "-c", starter, "server", "--host", "127.0.0.1", "--port", str(self.port)],
            log=self._home / "server.log",
            environment=self._environment(),
            folder=self._home,
        )
        try:
            healthy = self._running.serves(self._is_healthy, PATIENCE_S)
        except BaseException:
            self.stop()
            raise
        if not healthy:
            self.stop()
            raise Unavailable(f"Letta does not become healthy on {self.base_url}:\n{self._running.last_words}")

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()

    def log(self) -> str:
        return (self._home / "server.log").read_text(errors="replace")

    def _is_healthy(self) -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            try:
                connection.request("GET", "/v1/health/")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    def _environment(self) -> dict[str, str]:
        """Nothing of this machine's but its path; no telemetry; and nobody to talk to but loopback and the model."""
        near = f"127.0.0.1,localhost,::1,{urlsplit(self._model_url).hostname}"
        secured = {"LETTA_SERVER_SECURE": "true", "LETTA_SERVER_PASSWORD": self.password} if self.password else {}
        return {
            "PATH": os.pathsep.join((str(environment.PYTHON.parent), os.environ["PATH"])),
            "LANG": "C.UTF-8",
            "HOME": str(self._home),
            "PYTHONUNBUFFERED": "1",
            "LETTA_PG_URI": self._postgres.uri(self._database),
            "LETTA_DISABLE_TRACING": "true",
            "LETTA_TELEMETRY_ENABLE_DATADOG": "false",
            "DD_TRACE_ENABLED": "false",
            "OPENAI_API_KEY": self._api_key,
            "OPENAI_API_BASE": self._model_url,
            "RES_OPTIONS": "timeout:1 attempts:1",  # it looks for word lists on the network while it starts
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), near),
            **secured,
            **self._settings,
        }


def _refuse_if_taken(port: int) -> None:
    """Whoever has it might well answer, and be taken for this server."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise Unavailable(f"Letta cannot have port {port}: somebody listens there.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
