"""Looking after agents on a real Letta server: templates, tools, bootstrap, retirement."""

import subprocess
import sys
from pathlib import Path

import pytest

from librarian.application.bootstrap import FIRST
from librarian.application.converse import Ask
from librarian.application.ports.memory import AgentKey
from librarian.container import House
from librarian.domain.errors import AgentPaused
from librarian.domain.identity import LOCAL, owner_of
from librarian.domain.transcript import Role, Transcript, user
from librarian.domain.turn import collected
from librarian.settings import Settings

pytestmark = pytest.mark.live

ROLL = '''
def roll_dice(sides: int) -> str:
    """Roll a die.

    Args:
        sides: How many sides it has.
    """
    return f"It shows {sides - 1}."
'''
MCP = """
from mcp.server.fastmcp import FastMCP

server = FastMCP("tower")


@server.tool()
def ring_bell(times: int) -> str:
    \"\"\"Ring the bell of the tower.\"\"\"
    return "dong " * times


server.run()
"""
MODEL = "openai-proxy/gpt-4o-mini"
OTHER = "openai-proxy/text-embedding-3-small"
"""It speaks as well as any: the scripted server heeds no names."""
BARE = {handle: handle.partition("/")[2] for handle in (MODEL, OTHER)}
BY_ADDRESS = """
import socket
from urllib.parse import urlsplit

import uvicorn
from mcp.server.fastmcp import FastMCP

tower, steeple = FastMCP("tower"), FastMCP("steeple")


@tower.tool()
def ring_bell(times: int) -> str:
    \"\"\"Ring the bell of the tower.\"\"\"
    return "dong " * times


@steeple.tool()
def turn_vane(wind: str) -> str:
    \"\"\"Turn the vane of the steeple.\"\"\"
    return f"It points {wind}."


streamed, sse = tower.streamable_http_app(), steeple.sse_app()


async def app(scope, receive, send):
    if scope["type"] == "http":
        scope["path"] = urlsplit(scope["path"]).path  # to a proxy, the whole address is named
        headers = dict(scope["headers"])
        if (headers.get(b"authorization"), headers.get(b"x-floor")) != (b"Bearer sesame", b"13"):
            await send({"type": "http.response.start", "status": 403})
            return await send({"type": "http.response.body"})
    plain = scope["type"] == "http" and not scope["path"].startswith("/mcp")
    await (sse if plain else streamed)(scope, receive, send)


listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
"""
PUBLIC = "http://192.88.99.1"
"""Letta takes no address but such a one, and asks its proxy for it; nobody has it any more (RFC 7526)."""
LETTA_PYTHON = Path(__file__).resolve().parents[2] / ".venv-letta" / "bin" / "python"


@pytest.fixture
async def open_house(letta, tmp_path):
    houses = []

    def open_one(base_url=letta.base_url, data="data", models=None, windows=None, **chosen):
        told = {"base_url": base_url, **chosen}
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path / data,
            letta=told,
            models=models or {},
            windows_tokens=windows or {},
        )
        houses.append(House(settings=settings))
        return houses[-1]

    yield open_one
    for house in houses:
        await house.lifetime().aclose()


async def made(letta, **more):
    """An agent that somebody made, who knows nothing of the house."""
    body = {"name": "Sage", "model": MODEL, "embedding": "openai/text-embedding-3-small"}
    body["memory_blocks"] = [
        {"label": "persona", "value": "I am the Sage of the mountain."},
        {"label": "human", "value": "The reader is called Grace."},
    ]
    async with letta.client() as client:
        return (await client.post("/v1/agents/", json=body | {"include_base_tools": False} | more)).json()


async def said(house, text, model="librarian", person=None):
    ask = Ask(model=model, transcript=Transcript((user(text),)), person=person)
    return (await collected(house.converse()(ask))).text


async def ref_of(house, template="librarian", person=None):
    card = await house.register().find(AgentKey(template, owner_of(LOCAL, person=person)))
    return await house.threads().agent(house.settings().letta.address, card.id)


async def tools_of(house, ref):
    return {tool.name for tool in await house.letta().tools.of_agent(ref)}


async def test_a_template_serves_its_owner_itself_and_others_by_agents_of_their_own(open_house, letta):
    sage = (await made(letta))["id"]
    house = open_house(models={"sage": {"agent_id": sage}})
    await said(house, "Hello.", model="sage")
    own = letta.model.requests[-1].messages[0]["content"]
    await said(house, "Hello.", model="sage", person="Ben")
    bens = letta.model.requests[-1].messages[0]["content"]

    assert sage == await ref_of(house, sage)
    assert "I am the Sage of the mountain." in own
    assert "Grace" in own
    assert sage != await ref_of(house, sage, "Ben")
    assert "I am the Sage of the mountain." in bens
    assert "Grace" not in bens


async def test_a_template_speaks_with_its_own_prompt_and_through_its_own_model(open_house, letta):
    own = {"system": "You are the Sage. Speak in riddles.\n{CORE_MEMORY}", "model": OTHER, "context_window_limit": 9000}
    sage = (await made(letta, **own))["id"]
    house = open_house(models={"sage": {"agent_id": sage}, "plain": {"agent_id": sage, "model": MODEL}})
    told = {}
    for model, person in (("sage", None), ("sage", "Ben"), ("plain", None), ("librarian", None)):
        await said(house, "Hello.", model=model, person=person)
        request = letta.model.requests[-1]
        told[model, person] = request.body["model"], request.messages[0]["content"]

    handles = {who: model for who, (model, _) in told.items()}
    ours = {who for who, (_, system) in told.items() if "You are the Librarian." in system}
    theirs = {who for who, (_, system) in told.items() if system.startswith("You are the Sage. Speak in riddles.")}
    assert {("sage", None): BARE[OTHER], ("sage", "Ben"): BARE[OTHER]} == {
        who: model for who, model in handles.items() if model != BARE[MODEL]
    }
    assert {("librarian", None)} == ours
    assert set(told) - ours == theirs
    assert all("memory_insert" in system and "{CORE_MEMORY}" not in system for _, system in told.values())
    assert 9000 == (await house.letta().agents.get(await ref_of(house, sage, "Ben"))).llm_config.context_window


async def test_a_template_that_changes_is_followed_and_one_that_is_gone_is_remembered(open_house, letta, monkeypatch):
    monkeypatch.setattr("librarian.adapters.letta.making.FRESH_S", 0.0)
    sage = (await made(letta, system="You are the Sage.", model=OTHER))["id"]
    house = open_house(models={"sage": {"agent_id": sage}})
    await said(house, "Hello.", model="sage", person="Ben")
    assert [OTHER] == [view.model for view in await house.keep_agents().list()]
    async with letta.client() as client:
        await client.patch(f"/v1/agents/{sage}", json={"system": "You are the Hermit."})
        await said(house, "Hello.", model="sage", person="Ben")
        assert letta.model.requests[-1].messages[0]["content"].startswith("You are the Hermit.")
        await client.delete(f"/v1/agents/{sage}")
    await said(house, "Hello.", model="sage", person="Ben")

    assert letta.model.requests[-1].messages[0]["content"].startswith("You are the Hermit.")


async def test_an_agents_window_is_what_is_configured(open_house, letta):
    house = open_house(windows={"*": 16_000})
    await said(house, "Hello.")

    assert 16_000 == (await house.letta().agents.get(await ref_of(house))).llm_config.context_window


async def test_what_others_change_in_a_template_is_taken_over_and_never_overwritten(open_house, letta):
    sage = (await made(letta))["id"]
    house = open_house(models={"sage": {"agent_id": sage}})
    await said(house, "Hello.", model="sage")
    async with letta.client() as client:
        await client.patch(f"/v1/agents/{sage}/core-memory/blocks/human", json={"value": "She moved to Rome."})
    await said(house, "Again.", model="sage")

    assert "She moved to Rome." in letta.model.requests[-1].messages[0]["content"]


async def test_a_template_owned_by_a_person_serves_that_person(open_house, letta):
    sage = (await made(letta))["id"]
    house = open_house(models={"sage": {"agent_id": sage, "owner": "local/Ada"}})
    await said(house, "Hello.", model="sage", person="Ada")
    await said(house, "Hello.", model="sage")

    assert sage == await ref_of(house, sage, "Ada")
    assert sage != await ref_of(house, sage)


async def test_agents_made_after_a_template_have_its_tools(open_house, letta):
    async with letta.client() as client:
        source = ROLL.replace("roll_dice", "roll_sages_dice")
        tool = (await client.put("/v1/tools/", json={"source_code": source})).json()
    sage = (await made(letta, tool_ids=[tool["id"]], tools=["archival_memory_search"]))["id"]
    house = open_house(models={"sage": {"agent_id": sage}})
    await said(house, "Hello.", model="sage", person="Ben")

    assert {"roll_sages_dice"} == await tools_of(house, await ref_of(house, sage, "Ben"))


async def test_a_custom_tool_is_made_attached_run_by_letta_and_detached(open_house, letta, tmp_path):
    file = tmp_path / "dice.py"
    file.write_text(ROLL)
    rule = {"type": "continue_loop", "tool_name": "roll_dice"}
    house = open_house(templates={"librarian": {"tools": [str(file)], "tool_rules": [rule]}})
    dry = await house.bootstrap()(dry_run=True)
    first = await house.bootstrap()()
    again = await house.bootstrap()()
    ref = await ref_of(house)
    async with letta.client() as client:
        theirs = (await client.put("/v1/tools/", json={"source_code": ROLL.replace("roll_dice", "other_dice")})).json()
    await house.letta().tools.attach(ref, theirs["id"])
    letta.model.call("roll_dice", {"sides": 6})
    letta.model.say("Five.")

    assert () == dry.troubles == first.troubles == again.troubles
    assert dry.changes
    assert any("roll_dice" in change for change in first.changes)
    assert () == again.changes
    assert "Five." == await said(house, "Roll.")
    results = [m["content"] for m in letta.model.requests[-1].messages if m["role"] == Role.TOOL]
    assert "It shows 5." in results[-1]
    assert [] != (await house.letta().agents.get(ref)).tool_rules

    await said(house, "Hello.", person="Ben")
    assert {"roll_dice"} == await tools_of(house, await ref_of(house, person="Ben"))

    without = open_house()
    report = await without.bootstrap()()
    assert any("detached" in change for change in report.changes)
    assert {"other_dice"} == await tools_of(house, ref)
    assert [] == (await house.letta().agents.get(ref)).tool_rules


async def test_a_template_that_is_dropped_gives_its_tools_back_and_keeps_its_own(open_house, letta, tmp_path):
    file = tmp_path / "dice.py"
    file.write_text(ROLL.replace("roll_dice", "lent_dice"))
    async with letta.client() as client:
        source = ROLL.replace("roll_dice", "own_dice")
        own = (await client.put("/v1/tools/", json={"source_code": source})).json()
    sage = (await made(letta, tool_ids=[own["id"]], tags=["wise"]))["id"]
    rule = {"type": "continue_loop", "tool_name": "lent_dice"}
    with_it = open_house(
        models={"sage": {"agent_id": sage}}, templates={sage: {"tools": [str(file)], "tool_rules": [rule]}}
    )
    await with_it.bootstrap()()
    agents = with_it.letta().agents
    assert {"own_dice", "lent_dice"} == await tools_of(with_it, sage)
    assert ["lent_dice"] == [rule["tool_name"] for rule in (await agents.get(sage)).tool_rules]
    assert () == (await with_it.bootstrap()()).changes
    await said(with_it, "Hello.", model="sage", person="Ben")
    bens = await ref_of(with_it, sage, "Ben")
    assert {"own_dice", "lent_dice"} == await tools_of(with_it, bens)
    without = open_house()
    report = await without.bootstrap()()
    again = await without.bootstrap()()

    assert any("detached" in change for change in report.changes)
    assert () == again.changes
    assert {"own_dice"} == await tools_of(with_it, sage) == await tools_of(with_it, bens)
    there = await agents.get(sage)
    assert ([], ["wise"]) == (there.tool_rules, there.tags)


async def test_a_tool_that_somebody_else_made_is_left_alone(open_house, letta, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(ROLL.replace("roll_dice", "somebodys_dice").replace("sides - 1", "sides"))
    async with letta.client() as client:
        before = ROLL.replace("roll_dice", "somebodys_dice")
        await client.put("/v1/tools/", json={"source_code": before})
    house = open_house(templates={"librarian": {"tools": [str(file)]}})
    report = await house.bootstrap()()

    assert ["somebodys_dice"] == [word for word in report.troubles[0].split("`") if "dice" in word][:1]
    assert before == (await house.letta().tools.named(["somebodys_dice"]))[0].source_code


async def test_tools_follow_their_files_while_the_house_is_open(open_house, letta, tmp_path, monkeypatch):
    monkeypatch.setattr("librarian.adapters.letta.tooling.LOOK_S", 0.05)
    file = tmp_path / "late.py"
    file.write_text("not python (")
    house = open_house(templates={"librarian": {"tools": [str(file)]}})
    await said(house, "Hello.")
    await house.tooling().open()
    file.write_text(ROLL.replace("roll_dice", "late_dice"))
    ref = await ref_of(house)
    for _ in range(200):
        if "late_dice" in await tools_of(house, ref):
            break
    await house.tooling().aclose()

    assert "late_dice" in await tools_of(house, ref)


async def test_a_local_mcp_server_is_made_known_and_its_tool_is_run_by_letta(open_house, letta, tmp_path):
    script = tmp_path / "tower.py"
    script.write_text(MCP)
    python = str(LETTA_PYTHON if LETTA_PYTHON.exists() else sys.executable)
    with_stdio = letta.another(settings={"MCP_DISABLE_STDIO": "false"})
    tower = {"command": python, "args": [str(script)]}
    house = open_house(with_stdio.base_url, templates={"librarian": {"mcp_servers": {"tower": tower}}})
    try:
        first = await house.bootstrap()()
        again = await house.bootstrap()()
        letta.model.call("ring_bell", {"times": 3})
        letta.model.say("It rang.")
        answer = await said(house, "Ring.")
        results = [m["content"] for m in letta.model.requests[-1].messages if m["role"] == Role.TOOL]
        for server in await house.letta().tools.mcp_servers():
            await house.letta().tools.delete_mcp_server(server.id)
    finally:
        with_stdio.stop()

    assert () == first.troubles
    assert ((), ()) == (again.changes, again.troubles)
    assert "It rang." == answer
    assert "dong dong dong" in results[-1]


@pytest.fixture
def by_proxy():
    """A proxy that answers for whatever address it is asked for: by two servers of tools, of one kind each."""
    python = str(LETTA_PYTHON if LETTA_PYTHON.exists() else sys.executable)
    with subprocess.Popen([python, "-c", BY_ADDRESS], stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@pytest.mark.timeout(240)
async def test_mcp_servers_at_an_address_are_made_known_and_their_tools_are_run_by_letta(open_house, letta, by_proxy):
    behind_proxy = letta.another(settings=dict.fromkeys(("http_proxy", "HTTP_PROXY"), by_proxy))
    secrets = {"auth_token": "Bearer sesame", "headers": {"x-floor": "13"}}
    at = {"tower": {"url": f"{PUBLIC}/mcp"}, "steeple": {"url": f"{PUBLIC}/sse", "sse": True}}

    def servers(**secrets):
        return {"librarian": {"mcp_servers": {name: address | secrets for name, address in at.items()}}}

    try:
        locked = await open_house(behind_proxy.base_url, templates=servers()).bootstrap()()
        house = open_house(behind_proxy.base_url, templates=servers(**secrets))
        first = await house.bootstrap()()
        again = await house.bootstrap()()
        letta.model.call("ring_bell", {"times": 3})
        letta.model.call("turn_vane", {"wind": "north"})
        letta.model.say("It rang, and it turned.")
        answer = await said(house, "Ring, and turn.")
        results = [m["content"] for m in letta.model.requests[-1].messages if m["role"] == Role.TOOL]
        for server in await house.letta().tools.mcp_servers():
            await house.letta().tools.delete_mcp_server(server.id)
    finally:
        behind_proxy.stop()

    assert 2 == len(locked.troubles)
    assert () == first.troubles
    assert ((), ()) == (again.changes, again.troubles)
    assert "It rang, and it turned." == answer
    assert "dong dong dong" in results[0]
    assert "It points north." in results[1]


async def test_bootstrap_makes_the_agent_once(open_house, letta):
    house = open_house(data="fresh")
    dry = await house.bootstrap()(dry_run=True)
    assert await house.register().find(FIRST) is None
    first = await house.bootstrap()()
    again = await house.bootstrap()()
    ref = await ref_of(house)

    assert () != dry.changes
    assert () != first.changes
    assert ((), ()) == (again.changes, again.troubles)
    assert {"persona", "human"} == {block.label for block in await house.letta().memory.blocks(ref)}
    assert 1 == len(await house.letta().memory.archives(ref))


async def test_bootstrap_names_what_is_there_in_place_of_what_is_missing(open_house, letta):
    house = open_house(model="openai/gpt-9", embedding="openai/none")
    report = await house.bootstrap()()

    assert () == report.changes
    assert "`openai/gpt-9`" in report.troubles[0]
    assert "openai-proxy/gpt-4o-mini" in report.troubles[0]
    assert "openai/text-embedding-3-small" in report.troubles[1]
    assert await house.register().find(FIRST) is None


async def test_a_template_that_is_not_there_is_named(open_house, letta):
    house = open_house(models={"sage": {"agent_id": "agent-00000000-0000-4000-8000-000000000000"}})

    assert "agent-00000000" in (await house.bootstrap()()).troubles[0]


async def test_retired_on_the_server_and_brought_back_with_its_memory(open_house, letta):
    house = open_house()
    keep = house.keep_agents()
    letta.model.call("memory_insert", {"label": "human", "new_string": "Her cat is called Bertrand."})
    await said(house, "My cat is called Bertrand.", person="Ada")
    before = await ref_of(house, person="Ada")
    agent = (await house.register().find(AgentKey("librarian", owner_of(LOCAL, person="Ada")))).id
    await keep.retire(agent)
    with pytest.raises(AgentPaused):
        await said(house, "Hello?", person="Ada")
    async with letta.client() as client:
        assert 404 == (await client.get(f"/v1/agents/{before}")).status_code
    await keep.create("librarian", "Ada")
    await said(house, "And now?", person="Ada")

    assert before != await ref_of(house, person="Ada")
    assert "Bertrand" in letta.model.requests[-1].messages[0]["content"]


async def test_forgetting_leaves_nothing_on_the_server(open_house, letta):
    house = open_house()
    keep = house.keep_agents()
    await said(house, "Hello.", person="Eve")
    agent = (await house.register().find(AgentKey("librarian", owner_of(LOCAL, person="Eve")))).id
    await keep.edit(agent, "human", "Eve likes apples.")
    await keep.add_passage(agent, "Eve met a snake.")
    ref = await ref_of(house, person="Eve")
    block = await house.letta().memory.block(ref, "human")
    assert "Eve likes apples." == block.value
    await keep.retire(agent, forget=True)
    async with letta.client() as client:
        assert 404 == (await client.get(f"/v1/blocks/{block.id}")).status_code


async def test_a_passage_is_deleted_on_the_server_too(open_house, letta):
    house = open_house()
    keep = house.keep_agents()
    view, _ = await keep.create("librarian", "Pat")
    passage = await keep.add_passage(view.card.id, "The key is under the mat.")
    await house.letta_memory().aclose()
    ref = await ref_of(house, person="Pat")
    assert ["The key is under the mat."] == [p.text for p in await house.letta().memory.passages(ref)]
    await keep.delete_passage(view.card.id, passage.number)

    assert [] == await house.letta().memory.passages(ref)


async def test_a_template_of_somebodys_is_never_deleted(open_house, letta):
    sage = (await made(letta))["id"]
    house = open_house(models={"sage": {"agent_id": sage}})
    await said(house, "Hello.", model="sage")
    agent = (await house.register().find(AgentKey(sage, owner_of(LOCAL)))).id
    await house.keep_agents().retire(agent)
    async with letta.client() as client:
        assert 200 == (await client.get(f"/v1/agents/{sage}")).status_code


async def test_doctor_says_what_is_wrong_with_the_key_and_the_handles(open_house, letta):
    fine = await open_house().letta_health().check()
    handle = await open_house(model="openai/gpt-9").letta_health().check()
    locked = letta.another(password="open sesame")
    try:
        key = await open_house(locked.base_url).letta_health().check()
    finally:
        locked.stop()

    assert fine.well
    assert (False, True) == (handle.well, handle.needed)
    assert "openai-proxy/gpt-4o-mini" in handle.detail
    assert "refuses the key" in key.detail
