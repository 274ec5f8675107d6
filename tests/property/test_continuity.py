"""Many clients, each with its own chats, in one house: whatever they do, each is answered by the rules.

LIBRARIAN_EXAMPLES=1000 runs that many programs, drawn anew; without it they are the same every time.
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from dependency_injector import providers
from hypothesis import HealthCheck, event, given, settings

from librarian.container import House
from librarian.settings import Settings
from tests.property.interpreter import World
from tests.property.programs import programs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(0)]
GIVEN = int(os.environ.get("LIBRARIAN_EXAMPLES", "0"))
MODELS = ("librarian", "librarian-worker", "librarian-persona")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store that has its tables: to make them takes longer than a program."""
    folder = tmp_path_factory.mktemp("empty")
    house = house_in(folder, None)
    house.database().open()
    house.database().close()
    return folder


def house_in(folder, model):
    house = House(
        settings=Settings(
            _env_file=None,
            data_dir=folder,
            upstream={"discover": False},
            recall={"budget_s": 5.0},
            pool={"seats": 3},
        )
    )
    house.model.override(providers.Object(model))
    return house


@given(program=programs())
@settings(
    max_examples=GIVEN or 200,
    derandomize=not GIVEN,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_client_is_answered_by_the_rules(empty_store, program):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "house"
        shutil.copytree(empty_store, home)
        world = World(lambda model: house_in(home, model), models=MODELS)
        asyncio.run(world.run(program))
        for plan, times in world.plans.items():
            event(f"{plan} ({'once' if times == 1 else 'several times'})")
