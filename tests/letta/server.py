"""A real Letta server for the live tests, with a scripted model behind it.

Where it cannot be had, the tests that want it are skipped, and the summary says so. With CI=true or
LIBRARIAN_REQUIRE_LETTA=1 they fail. A server that runs already is named by LETTA_TEST_URL, LETTA_TEST_MODEL_PORT and
perhaps LETTA_TEST_PASSWORD, as `python -m scripts.letta --for-tests` prints them.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing

import httpx
import pytest

from scripts.letta import environment
from scripts.letta.keeper import Unavailable
from scripts.letta.postgres import Postgres
from scripts.letta.server import LettaServer
from tests.letta.model import LettaModel

# Read now: no test sees them later.
GIVEN = {name: os.environ.get(f"LETTA_TEST_{name}", "") for name in ("URL", "MODEL_PORT", "PASSWORD")}
ABSENT = pytest.StashKey[str]()
REQUIRED = os.environ.get("CI") == "true" or os.environ.get("LIBRARIAN_REQUIRE_LETTA") == "1"


class LiveLetta:
    """A server and the model behind it."""

    def __init__(
        self, model: LettaModel, base_url: str, password: str | None = None, server: LettaServer | None = None
    ) -> None:
        """`server`: where it is ours to start and stop."""
        self.model = model
        self.base_url = base_url
        self.password = password
        self._server = server
        self._others: list[LettaServer] = []

    @property
    def ours(self) -> LettaServer:
        if self._server is None:
            pytest.skip("The server of LETTA_TEST_URL is not ours to start and stop.")
        return self._server

    @property
    def _headers(self) -> dict[str, str]:
        return {} if self.password is None else {"authorization": f"Bearer {self.password}"}

    def client(self) -> httpx.AsyncClient:
        """One that waits for 30 s at most."""
        return httpx.AsyncClient(base_url=self.base_url, headers=self._headers, timeout=30)

    def start(self) -> None:
        """Does nothing while it runs; else it takes about ten seconds."""
        if self._server is not None:
            self._server.start()

    def stop(self) -> None:
        """What it is doing it may end, for five seconds at most."""
        self.ours.stop()

    def kill(self) -> None:
        """In the middle of what it is doing."""
        self.ours.kill()

    def another(
        self, *, password: str | None = None, database: str = "letta", settings: Mapping[str, str] | None = None
    ) -> "LiveLetta":
        """Started, and stopped when all tests are over, if not before.

        On the same database it is one Letta in two processes. `settings` are variables of its environment.
        """
        server = self.ours.another(password=password, database=database, settings=settings)
        self._others.append(server)
        server.start()
        return LiveLetta(self.model, server.base_url, password, server)

    def clear(self) -> None:
        """What other tests left of agents: the house would know its own again."""
        with httpx.Client(base_url=self.base_url, headers=self._headers, timeout=30) as client:
            for agent in client.get("/v1/agents/", params={"tags": "librarian", "limit": 200}).json():
                client.delete(f"/v1/agents/{agent['id']}")

    def close(self) -> None:
        for server in self._others:
            server.stop()


class Absence:
    """Why there is no Letta, for the summary."""

    def __init__(self, why: str) -> None:
        self._why = why

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("NOTHING WAS TESTED AGAINST LETTA", sep="!", red=True, bold=True)
        terminalreporter.line(self._why)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Makes Letta's environment before the first test, where it counts against no test's time."""
    wanted = any(item.get_closest_marker("live") for item in session.items)
    if wanted and not GIVEN["URL"] and not session.config.option.collectonly:
        try:
            environment.make(session.config.get_terminal_writer().line)
        except Unavailable as why:
            session.config.stash[ABSENT] = str(why)


@pytest.fixture(scope="session")
def letta_server(request: pytest.FixtureRequest) -> Iterator[LiveLetta]:
    """The server of the session, as the last test left it: tests ask for `letta`."""
    with ExitStack() as running:
        why = request.config.stash.get(ABSENT, "")
        try:
            letta = None if why else _given(running) if GIVEN["URL"] else _ours(running)
        except Unavailable as absent:
            letta, why = None, str(absent)
        if letta is None:
            if REQUIRED:
                pytest.fail(why, pytrace=False)
            request.config.pluginmanager.register(Absence(why))
            pytest.skip(why)
        yield letta


@pytest.fixture
def letta(letta_server: LiveLetta) -> LiveLetta:
    """A Letta server that runs, without agents of the house's, and whose model has heard nothing yet."""
    letta_server.start()
    letta_server.clear()
    letta_server.model.forget()
    return letta_server


def _ours(running: ExitStack) -> LiveLetta:
    environment.make()
    model = running.enter_context(LettaModel())
    postgres = running.enter_context(Postgres(environment.packages()))
    server = running.enter_context(LettaServer(postgres, model.base_url))
    return running.enter_context(closing(LiveLetta(model, server.base_url, server=server)))


def _given(running: ExitStack) -> LiveLetta:
    model = running.enter_context(LettaModel(port=int(GIVEN["MODEL_PORT"])))
    return LiveLetta(model, GIVEN["URL"].rstrip("/"), GIVEN["PASSWORD"] or None)
