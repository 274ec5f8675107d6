"""Many at once with the same first words, on the engine that comes with the house."""

import pytest
from dependency_injector import providers

from librarian.container import House
from librarian.settings import Settings
from tests.fakes.numbered import Numbered
from tests.races import Race, require_order

pytestmark = pytest.mark.integration
ROUNDS = 100
both_ways = pytest.mark.parametrize("key", [None, "my chat"], ids=["no chat id", "one chat id"])


@pytest.fixture
async def opened(tmp_path):
    houses = []

    def make(model):
        house = House(settings=Settings(_env_file=None, data_dir=tmp_path, recall={"budget_s": 0}))
        house.model.override(providers.Object(model))
        houses.append(house)
        return house

    yield make
    for house in houses:
        await house.lifetime().aclose()


@pytest.mark.parametrize("clients", [2, 4, 8, 32])
@both_ways
async def test_of_those_that_begin_at_once_none_is_lost_and_none_is_crossed(opened, clients, key):
    model = Numbered()
    house = opened(model)
    race = Race(house, model, clients, key)
    for number in range(ROUNDS):
        await race.begin(number)

    require_order(house, 2 * clients * ROUNDS)


@both_ways
async def test_of_those_that_go_on_at_once_one_continues_and_none_is_lost(opened, key):
    model = Numbered()
    house = opened(model)
    race = Race(house, model, 8, key)
    for number in range(ROUNDS):
        await race.go_on(number)

    require_order(house, (1 + 2 * 8) * ROUNDS)
