"""The world of the features, with the engine that comes with the house and with agents in a real Letta server."""

from collections.abc import Iterator

import pytest

from tests.steps.world import World

BACKENDS = ["embedded", pytest.param("letta", marks=pytest.mark.live)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A scenario that is tagged @embedded says there why it is not for Letta."""
    only = metafunc.definition.get_closest_marker("embedded") is not None
    metafunc.parametrize("backend", BACKENDS[:1] if only else BACKENDS)


@pytest.fixture(autouse=True)
def backend() -> str:
    """Parametrised above."""
    raise NotImplementedError


@pytest.fixture
def world(request, tmp_path, run, backend) -> Iterator[World]:
    world = World(
        tmp_path / "data",
        http=request.node.get_closest_marker("http") is not None,
        run=run,
        letta=request.getfixturevalue("letta") if backend == "letta" else None,
    )
    yield world
    world.close()
