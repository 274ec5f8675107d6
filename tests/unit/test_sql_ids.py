"""Names that rows are kept by."""

import re

from librarian.adapters.system.clock import SystemClock, TimelyIds


def test_later_ids_sort_after_earlier_ones():
    ids = TimelyIds()

    made = [ids.new() for _ in range(10_000)]

    assert sorted(set(made)) == made
    assert all(re.fullmatch("[0-9a-f]{24}", name) for name in made)


def test_two_houses_make_different_ids():
    one, other = TimelyIds(), TimelyIds()

    assert 2000 == len({ids.new() for _ in range(1000) for ids in (one, other)})


def test_elapsed_time_never_goes_back():
    clock = SystemClock()

    readings = [clock.elapsed_s() for _ in range(1000)]

    assert sorted(readings) == readings
