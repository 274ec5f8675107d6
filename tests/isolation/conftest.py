"""A house of its own for each test, which nobody has told anything yet."""

import pytest

from tests.isolation.mansion import Mansion, overheard


@pytest.fixture
async def empty(tmp_path):
    mansion = Mansion(tmp_path)
    with overheard(mansion.exhibits):
        yield mansion
    await mansion.aclose()
