"""Many at once with the same first words, on a real Letta."""

import pytest

from tests.fakes.numbered import Numbered
from tests.letta.spoken import spoken_by
from tests.letta.talk import opened
from tests.races import Race, require_order

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
ROUNDS = 5


@pytest.fixture
async def house(letta, tmp_path):
    house = opened(letta, tmp_path)
    yield house
    await house.lifetime().aclose()


@pytest.fixture
def model(letta):
    model = Numbered()
    letta.model.when(lambda _: True).do(spoken_by(model))
    return model


@pytest.mark.parametrize("clients", [2, 4, 8])
@pytest.mark.parametrize("key", [None, "my chat"], ids=["no chat id", "one chat id"])
async def test_of_those_that_begin_at_once_none_is_lost_and_none_is_crossed(house, model, clients, key):
    race = Race(house, model, clients, key)
    for number in range(ROUNDS):
        await race.begin(number)

    require_order(house, 2 * clients * ROUNDS)


async def test_of_those_that_go_on_at_once_one_continues_and_none_is_lost(house, model):
    race = Race(house, model, 4)
    for number in range(ROUNDS):
        await race.go_on(number)

    require_order(house, (1 + 2 * 4) * ROUNDS)
