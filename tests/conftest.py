"""Fixtures every test may ask for."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.letta.server import letta, letta_server, pytest_collection_finish  # noqa: F401  found by being here
from tests.scripted.fixtures import scripted_model  # noqa: F401  a fixture is found by being here

# A busy machine is late, and that is no fault of what is tested; those about time say so themselves.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    """No test reads this machine's environment, nor writes to its data folder."""
    import os  # noqa: PLC0415

    for name in os.environ:
        if name.startswith(("LIBRARIAN_", "OPENAI_", "LETTA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine; pytest-bdd steps are plain functions, and one loop serves a whole scenario."""
    with asyncio.Runner() as runner:
        yield runner.run
