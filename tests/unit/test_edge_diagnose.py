"""Asking the parts how they are."""

import asyncio

from librarian.application.diagnose import Diagnose
from librarian.application.ports.health import Finding


class Clock:
    elapsed = 0.0

    def now_s(self):
        return 0.0

    def elapsed_s(self):
        return self.elapsed


class Part:
    def __init__(self, *, well=True, needed=True):
        self.finding = Finding("part", well, "", needed)
        self.asked = 0

    async def check(self):
        self.asked += 1
        return self.finding


class Silent:
    async def check(self):
        await asyncio.Event().wait()


async def test_all_parts_are_asked():
    diagnosis = await Diagnose(parts=[Part(), Part(well=False, needed=False)], clock=Clock())()

    assert (2, True, False) == (len(diagnosis.findings), diagnosis.ready, diagnosis.well)


async def test_a_needed_part_that_is_unwell_is_not_done_without():
    assert not (await Diagnose(parts=[Part(), Part(well=False)], clock=Clock())()).ready


async def test_silence_is_not_health():
    (finding,) = (await Diagnose(parts=[Silent()], clock=Clock(), patience_s=0.01)()).findings

    assert (False, "Silent") == (finding.well, finding.part)


async def test_many_who_ask_at_once_are_one():
    part, clock = Part(), Clock()
    diagnose = Diagnose(parts=[part], clock=clock)

    await asyncio.gather(*(diagnose() for _ in range(20)))
    assert 1 == part.asked

    clock.elapsed = 2.0
    await diagnose()
    assert 2 == part.asked
