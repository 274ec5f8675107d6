"""People of several tenants with several templates, on one Letta; each asks for what the others have."""

import asyncio
import json
from contextlib import aclosing

import pytest

from librarian.container import House
from librarian.domain.errors import UnknownConversation
from librarian.domain.identity import Principal, PrincipalId
from librarian.domain.tools import ClientTools, ToolSpec
from librarian.domain.transcript import Message, Role, assistant, user
from librarian.domain.turn import collected
from librarian.settings import Settings
from tests.isolation.grid import CELLS, RECALLED, Kind, canaries, others
from tests.letta.spoken import text_of
from tests.letta.talk import ask

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

TEMPLATES = ("librarian", "scribe")
FEW = [cell for cell in CELLS if cell.tenant < 4 and cell.person in {"ada", None} and cell.template in TEMPLATES]
PAIRS = {(asker, owner) for asker in FEW for owner in others(asker) if owner in FEW}
WEATHER = ClientTools((ToolSpec("get_weather", "Weather.", '{"type":"object"}'),))
TWIN = (user("Good morning."), assistant("Noted."), user("And then?"))
AT_ONCE = 4


@pytest.fixture
async def house(letta, tmp_path):
    house = House(
        settings=Settings(
            _env_file=None,
            data_dir=tmp_path,
            letta={"base_url": letta.base_url, "embedding": letta.model.embedding},
            models={name: {"template": name} for name in TEMPLATES},
            recall={"budget_s": 60},
        )
    )
    yield house
    await house.lifetime().aclose()


@pytest.fixture
def speak(house):
    async def speak(cell, *spoken, **more):
        """The name of the conversation, and the reply."""
        asked = ask(
            *spoken,
            person=cell.person,
            principal=Principal(PrincipalId(cell.principal)),
            model=cell.template,
            **more,
        )
        async with aclosing(house.converse()(asked)) as events:
            began = await anext(events)
            return began.conversation, await collected(events)

    return speak


async def test_nobody_finds_what_is_anothers(house, letta, speak):
    """What the model was shown is in its request log, and told apart by the mark that everybody speaks with."""
    _script(letta.model)
    own = {}

    async def confide(cell):
        asked = user(f"{_mark(cell)} Remember: the {cell.cue} heirloom is {cell.canary(Kind.SAID)}.")
        key = f"chat {cell.canary(Kind.KEY)}"
        own[cell], call = await speak(cell, asked, tools=WEATHER, conversation=key)
        result = Message(Role.TOOL, cell.canary(Kind.TOOL), answers=call.calls[0].id)
        await speak(cell, asked, call, result, tools=WEATHER, conversation=key)

    async def find(cell):
        await speak(cell, user(f"{_mark(cell)} What is the {cell.cue} heirloom?"))

    async def probe(cell):
        await speak(cell, user(f"{_mark(cell)} Search: {' '.join(_queries(cell))}"))
        for other in FEW:
            if other != cell:
                with pytest.raises(UnknownConversation):
                    await speak(cell, user("Go on."), conversation=own[other])

    async def twin(cell):
        """The same words, of everybody."""
        await speak(cell, *TWIN[:1])
        await speak(cell, *TWIN)

    for work in (confide, find, probe):
        await _all(work, FEW)
    await _all(twin, FEW[:: len(TEMPLATES) * 2])

    assert 224 == len(PAIRS)
    assert [] == _leaks(letta.model.requests)
    for cell in FEW:
        (found,) = [request for request in letta.model.requests if _last(request).startswith(f"{_mark(cell)} What")]
        shown = {kind for kind, whose in canaries(_all_of(found)) if whose == cell}
        assert {Kind.SAID, Kind.BLOCK, Kind.PASSAGE} <= shown
    await _nothing_is_shared(house, letta)


def _leaks(requests):
    """Of the twins, nobody can tell who spoke: none of them was shown what is two people's."""
    leaks = []
    for request in requests:
        asker, shown = _asker(request), canaries(_all_of(request))
        if asker is None:
            owners = {cell.owner for _, cell in shown}
            leaks += [("a twin", owner) for owner in owners if len(owners) > 1]
        for kind, cell in shown if asker is not None else ():
            if cell.owner != asker.owner or (cell != asker and kind not in RECALLED):
                leaks.append((asker, kind, cell))
    return leaks


async def _nothing_is_shared(house, letta):
    """No block, archive or conversation on the server is of two agents, or has what is another's."""
    refs = dict(house.database().rows("SELECT ref, agent FROM backend_agent", ()))
    rows = house.database().rows("SELECT id, principal, subject, template FROM agent", ())
    cells = {row[0]: next(cell for cell in FEW if _key(cell) == tuple(row[1:])) for row in rows}
    seen = set()
    async with letta.client() as client:
        for ref, agent in refs.items():
            blocks = (await client.get(f"/v1/agents/{ref}/core-memory/blocks")).json()
            passages = (await client.get(f"/v1/agents/{ref}/archival-memory")).json()
            chats = (await client.get("/v1/conversations/", params={"agent_id": ref})).json()
            ids = {block["id"] for block in blocks} | {chat["id"] for chat in chats}
            assert not ids & seen
            seen |= ids
            found = canaries(json.dumps([blocks, passages]))
            assert {cells[agent]} == {cell for _, cell in found}
            assert {Kind.BLOCK, Kind.PASSAGE, Kind.TAG} == {kind for kind, _ in found}


def _script(model):
    """The model does what the last words ask of it, whoever says them."""
    for cell in FEW:
        letter = {"content": f"The {cell.cue} letter is {cell.canary(Kind.PASSAGE)}.", "tags": [cell.canary(Kind.TAG)]}
        model.when(_begins(f"{_mark(cell)} Remember")).calls(
            ("memory_insert", {"label": "human", "new_string": f"The motto is {cell.canary(Kind.BLOCK)}."}),
            ("archival_memory_insert", letter),
            ("get_weather", {}),
        )
        model.when(_begins(f"{_mark(cell)} Search")).calls(
            *(("conversation_search", {"query": query, "limit": 50}) for query in _queries(cell)),
            *(("archival_memory_search", {"query": query, "top_k": 50}) for query in _queries(cell)),
            ("conversation_search", {"start_date": "2000-01-01", "limit": 50}),
            ("memory_rethink", {"label": "..", "new_memory": "Mine."}),
            ("memory_insert", {"label": "../human", "new_string": "Mine."}),
        )
    model.when(lambda asked: True).say("Noted.")


def _begins(words):
    return lambda asked: _last(asked).startswith(words)


def _queries(cell):
    """The words that lead to what all the others have, no more at a time than the index looks for."""
    cues = [other.cue for other in others(cell) if other in FEW]
    return [" ".join(cues[at : at + 8]) for at in range(0, len(cues), 8)]


async def _all(work, cells):
    """A few at once, as they come."""
    waiting = iter(cells)

    async def hand():
        for cell in waiting:
            await work(cell)

    async with asyncio.TaskGroup() as hands:
        for _ in range(AT_ONCE):
            hands.create_task(hand())


def _mark(cell):
    return f"[{cell.number:03d}]"


def _key(cell):
    return cell.principal, f"user:{cell.person}" if cell.person else f"self:{cell.principal}", cell.template


def _asker(request):
    """Who spoke last; None for the twins, of whom nobody can tell."""
    spoken = [text_of(message) for message in request.messages if message["role"] == "user"]
    return next((cell for cell in FEW if spoken[-1].startswith(_mark(cell))), None)


def _last(request):
    message = request.messages[-1]
    return text_of(message) if message["role"] == "user" else ""


def _all_of(request):
    return json.dumps(request.body)
