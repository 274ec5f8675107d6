"""What a request costs does not depend on how long its chat is."""

from collections import Counter
from contextlib import aclosing
from hashlib import sha256

import pytest
from dependency_injector import providers

from librarian.adapters.sql.database import Database
from librarian.application.converse import Ask
from librarian.application.replays import Attempt
from librarian.container import House
from librarian.domain.transcript import Transcript, assistant, user
from librarian.domain.turn import Collected, TextSpoken, TurnBegan
from librarian.settings import Settings
from tests.fakes.numbered import Numbered

pytestmark = pytest.mark.integration
SHORT, LONG = 12, 120
"""Turns."""


class Counted(Database):
    """Counts the statements it is given, by how they begin."""

    def __init__(self, url):
        super().__init__(url)
        self.looked_up = Counter()
        self.written = Counter()

    def row(self, sql, values=()):
        self.looked_up[sql] += 1
        return super().row(sql, values)

    def rows(self, sql, values=()):
        self.looked_up[sql] += 1
        return super().rows(sql, values)

    async def write(self, job):
        def traced(connection):
            connection.set_trace_callback(lambda sql: self.written.update([" ".join(sql.split()[:4])]))
            try:
                return job(connection)
            finally:
                connection.set_trace_callback(None)

        return await super().write(traced)


@pytest.fixture
async def house(tmp_path):
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path, recall={"budget_s": 0}))
    house.database.override(providers.Singleton(Counted, house.own.database))
    house.model.override(providers.Object(Numbered()))
    async with house.lifetime():
        yield house


async def taken(house, *spoken, **how):
    said, plan = Collected(), None
    async with aclosing(house.converse()(Ask(model="librarian", transcript=Transcript(spoken), **how))) as events:
        async for event in events:
            match event:
                case TurnBegan():
                    plan = event.plan
                case TextSpoken(fragments):
                    said.speak(fragments)
    return plan, said.message


async def talked(house, turns, **how):
    chat = []
    for number in range(turns):
        chat.append(user(f"Remark {number}."))
        _, reply = await taken(house, *chat, **how)
        chat.append(reply)
    return chat


BODY = sha256(b"body").digest()
REQUESTS = {
    "a new chat": ("Start", {}, lambda chat: [user("Hello.")]),
    "it goes on": ("Continue", {}, lambda chat: [*chat, user("On.")]),
    "it goes on under its key": ("Continue", {"conversation": "my chat"}, lambda chat: [*chat, user("On.")]),
    "its last turn is edited": ("Branch", {}, lambda chat: [*chat[:-2], user("I meant something else.")]),
    "an answer is edited": ("Rebuild", {}, lambda chat: [*chat[:-1], assistant("Edited."), user("On.")]),
    "a chat nobody knows": ("Rebuild", {}, lambda chat: [user("Before."), *chat, user("On.")]),
    "its beginning is cut": ("Rebuild", {"conversation": "my chat"}, lambda chat: [*chat[6:], user("On.")]),
}


@pytest.mark.parametrize(("plan", "how", "request_of"), REQUESTS.values(), ids=REQUESTS.keys())
async def test_statements_do_not_grow_with_the_chat(house, plan, how, request_of):
    short, long = [await statements_of(house, turns, plan, how, request_of) for turns in (SHORT, LONG)]

    assert short == long
    assert sum(counted.total() for counted in short) < 25


async def test_what_is_left_goes_off_the_path_turn_by_turn_and_is_not_looked_up(house):
    """The one thing that takes as long as what it leaves is long, and once for each turn that is left."""
    how = {"conversation": "my chat"}
    short, long = [
        await statements_of(house, turns, "Start", how, lambda _: [user("Anew.")]) for turns in (SHORT, LONG)
    ]

    assert short[0] == long[0]
    assert LONG - SHORT == long[1]["UPDATE turn SET on_path"] - short[1]["UPDATE turn SET on_path"]


async def statements_of(house, turns, plan, how, request_of):
    """Of one request in a chat of so many turns: what it looks up, and what it writes."""
    who = how | {"person": f"Reader {turns}"}
    chat = await talked(house, turns, **who)
    database = house.database()
    database.looked_up.clear()
    database.written.clear()

    attempt = Attempt(BODY, "/v1/chat/completions", idempotency_key=f"key {turns}")
    assert plan == (await taken(house, *request_of(chat), attempt=attempt, **who))[0]
    return database.looked_up.copy(), database.written.copy()
