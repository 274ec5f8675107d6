"""The house without HTTP: a script of ten lines, and somebody else's service with the agents swapped for the fake."""

import subprocess
import sys

import pytest
from dependency_injector import providers

from librarian.application.converse import Ask
from librarian.container import House
from librarian.domain.transcript import Transcript, user
from librarian.domain.turn import collected
from librarian.settings import Settings
from librarian.testing import ScriptedAgents

SCRIPT = """\
import asyncio, sys
from librarian.application.converse import Ask
from librarian.container import House
from librarian.domain.transcript import Transcript, user
from librarian.domain.turn import collected
from librarian.settings import Settings
async def main(data_dir, text):
    async with (house := House(settings=Settings(data_dir=data_dir, upstream={"discover": False}))).lifetime():
        print((await collected(house.converse()(Ask(model="librarian", transcript=Transcript([user(text)]))))).text)
asyncio.run(main(*sys.argv[1:]))
"""


def script(data_dir, text):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(data_dir), text], capture_output=True, text=True, timeout=60, check=False
    )
    assert "" == run.stderr
    return run.stdout


@pytest.mark.e2e
def test_a_script_of_ten_lines_converses_and_remembers(tmp_path):
    script(tmp_path, "Remember that my cat is called Bertrand.")

    assert "Bertrand" in script(tmp_path, "What is my cat called?")


class Concierge:
    """Somebody else's service, which asks a librarian."""

    def __init__(self, house: House) -> None:
        self._converse = house.converse()

    async def greet(self, guest: str) -> str:
        ask = Ask(model="librarian", transcript=Transcript([user(f"Greet {guest}.")]))
        return (await collected(self._converse(ask))).text


async def test_a_foreign_service_swaps_the_agents_for_the_fake(tmp_path):
    agents = ScriptedAgents()
    agents.say("Welcome, Ada.")
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path))
    house.agents.override(providers.Object(agents))

    async with house.lifetime():
        assert "Welcome, Ada." == await Concierge(house).greet("Ada")

    assert "Greet Ada." == agents.heard[-1].transcript.messages[-1].text
