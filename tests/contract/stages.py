"""Runtimes, each with the means to lay down what happens next on it."""

from pathlib import Path
from typing import Self

import pytest
from dependency_injector import providers

from librarian.application.ports.agents import AgentRuntime
from librarian.container import House
from librarian.domain.errors import LibrarianError
from librarian.domain.turn import StopReason, TextSpoken
from librarian.settings import Settings
from librarian.testing import ScriptedAgents, ScriptedModel
from tests.fakes.overheard import Overheard, called, ended
from tests.letta.server import LiveLetta
from tests.letta.talk import opened


class ScriptedStage:
    """The shipped fake."""

    def __init__(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.agents = ScriptedAgents()
        self.runtime: AgentRuntime = self.agents

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runtime.aclose()

    def says(self, *fragments: str) -> None:
        self.agents.say(*fragments)

    def calls(self, name: str, arguments: str) -> None:
        self.agents.call(name, arguments)

    def fails(self, error: LibrarianError) -> None:
        self.agents.fail(error)


class EmbeddedStage:
    """The embedded engine, on a real store."""

    def __init__(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.model = Overheard(ScriptedModel())
        self.house = House(settings=Settings(_env_file=None, data_dir=tmp_path))
        self.house.model.override(providers.Object(self.model))
        self.runtime: AgentRuntime = self.house.agents()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.house.lifetime().aclose()

    def says(self, *fragments: str) -> None:
        self.model.acts.append([*(TextSpoken((fragment,)) for fragment in fragments), ended()])

    def calls(self, name: str, arguments: str) -> None:
        self.model.acts.append([called(name, arguments), ended(StopReason.TOOL_CALLS)])

    def fails(self, error: LibrarianError) -> None:
        self.model.acts.append([error])


class LettaStage:
    """Agents in a real Letta server, and the scripted model behind it."""

    def __init__(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        letta: LiveLetta = request.getfixturevalue("letta")
        self.model = letta.model
        self.house = opened(letta, tmp_path)
        self.runtime: AgentRuntime = self.house.agents()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.house.lifetime().aclose()

    def says(self, *fragments: str) -> None:
        self.model.say(*fragments)

    def calls(self, name: str, arguments: str) -> None:
        self.model.call(name, arguments)

    def fails(self, _: LibrarianError) -> None:
        self.model.fail(401)  # with any other status Letta would ask again by itself


STAGES = [ScriptedStage, EmbeddedStage, pytest.param(LettaStage, marks=pytest.mark.live)]
