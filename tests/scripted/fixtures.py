"""The scripted model's server, for tests to ask for."""

from collections.abc import Iterator

import pytest

from tests.scripted.server import ScriptedServer


@pytest.fixture
def scripted_model() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server
