"""Who is believed about whom they speak for, and what becomes of a request where nobody can tell whose memory it is."""

import re

import pytest

from tests.isolation.grid import CELLS, Kind, canaries
from tests.isolation.mansion import key, said, says
from tests.unit.edge_house import CHAT, COMPLETIONS

pytestmark = pytest.mark.integration

THE_TENANT = next(cell for cell in CELLS if cell.tenant == 0 and cell.person is None)
ADA = next(cell for cell in CELLS if cell.tenant == 0 and cell.person == "ada")
TABLES = ("conversation", "turn", "request", "agent", "block", "block_edit", "passage", "passage_source")
QUESTION = says("What are the heirloom and its letter?")
NAMES = ["ada", "nobody yet", "tenant-0", "self:tenant-0", "user:ada", "tenant-1", "{}", "' OR 1=1 --"]
WAYS = {
    "user": lambda name: ({}, {"user": name}),
    "safety_identifier": lambda name: ({}, {"safety_identifier": name}),
    "a header": lambda name: ({"x-openwebui-user-id": name}, {}),
    "all of them": lambda name: ({"x-openwebui-user-id": name}, {"user": name, "safety_identifier": name}),
    "one that is empty": lambda name: ({"x-openwebui-user-id": ""}, {"user": name, "safety_identifier": ""}),
}
HOW = {
    "plain": ({}, {}),
    "streamed": ({}, {"stream": True}),
    "to read": ({"x-librarian-memory": "read"}, {}),
    "named": ({"x-librarian-conversation": "a chat", "x-librarian-message": "an answer"}, {}),
    "again": ({"x-stainless-retry-count": "1"}, {}),
    "once": ({"idempotency-key": "once"}, {}),
    "of several": ({}, {"n": 3}),
}


@pytest.fixture
async def told(empty):
    """The tenant itself and one of its people each have told it something."""
    for cell in (THE_TENANT, ADA):
        calls = [
            ("memory_insert", {"label": "human", "new_string": f"The motto is {cell.canary(Kind.BLOCK)}."}),
            ("archival_memory_insert", {"content": f"The heirloom letter is {cell.canary(Kind.PASSAGE)}."}),
        ]
        await empty.ask(cell, says(f"The heirloom is {cell.canary(Kind.SAID)}."), acts=[calls, "Noted."])
    return empty


def kept(mansion):
    return {table: mansion.rows(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}  # noqa: S608  of ours


async def withheld(mansion, why):
    metrics = (await mansion.keep(0, "GET", "/metrics")).body.decode()
    found = re.search(rf'librarian_memory_withheld_total{{why="{why}"}} (\d+)', metrics)
    return int(found[1]) if found else 0


async def ask(mansion, which, headers, body, path=CHAT):
    """As a stranger to the scripted model: whatever it is shown of anybody is a leak."""
    said = {"prompt": QUESTION["content"]} if path == COMPLETIONS else {"messages": [QUESTION]}
    before = len(mansion.model.prompts[None])
    wants = [
        ("memory_insert", {"label": "human", "new_string": "Mine."}),
        ("conversation_search", {"query": "heirloom"}),
    ]
    mansion.model.lay_down(None, [wants])
    answer = await mansion.knock(
        None, "POST", path, key(0, which), body={"model": "librarian"} | said | body, headers=headers
    )
    return answer, mansion.model.prompts[None][before:]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
async def test_a_person_named_by_a_key_that_may_not_has_no_memory_at_all(told, way, how):
    """Whoever it names: the key's own principal, too."""
    before, counted = kept(told), await withheld(told, "not_believed")
    requests = turns = 0
    for name in NAMES:
        for path in (CHAT, COMPLETIONS):
            headers, body = way(name)
            if path == COMPLETIONS and "n" in how[1]:
                continue
            answer, prompts = await ask(told, "person", headers | how[0], body | how[1], path)
            assert 200 == answer.status
            assert "x-librarian-conversation" not in answer.headers
            assert [] == [prompt.tools for prompt in prompts if prompt.tools]
            assert [] == canaries(repr(prompts))
            requests += 1
            turns += how[1].get("n", 1)

    assert before == kept(told)
    assert counted + turns == await withheld(told, "not_believed")
    assert [] == told.leaks()


async def test_names_of_conversations_do_not_help_it(told):
    """Not even those of the tenant's own: they are not looked up."""
    before = kept(told)
    for name in (*told.conversations[THE_TENANT], *told.conversations[ADA], "conv_" + "0" * 32):
        answer, prompts = await ask(told, "person", {"x-librarian-conversation": name}, {"user": "ada"})
        assert (200, []) == (answer.status, canaries(repr(prompts)))

    assert before == kept(told)
    assert [] == told.leaks()


async def test_a_key_that_may_not_name_anybody_has_the_memory_of_its_principal(told):
    await told.ask(THE_TENANT, QUESTION, by="person")

    assert {THE_TENANT} == {cell for _, cell in canaries(repr(told.model.prompts[THE_TENANT][-1]))}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
async def test_a_key_that_demands_a_name_has_no_memory_without_one(told, how):
    before, counted = kept(told), await withheld(told, "unknown")
    turns = 0
    for headers, body in (({}, {}), ({"x-openwebui-user-id": ""}, {"user": "", "safety_identifier": ""})):
        answer, prompts = await ask(told, "strict", headers | how[0], body | how[1])
        assert (200, []) == (answer.status, canaries(repr(prompts)))
        assert "x-librarian-conversation" not in answer.headers
        turns += how[1].get("n", 1)

    assert before == kept(told)
    assert counted + turns == await withheld(told, "unknown")
    assert [] == told.leaks()


async def test_a_key_that_demands_a_name_has_the_memory_of_whom_it_names(told):
    await told.ask(ADA, QUESTION, by="strict")

    assert {ADA} == {cell for _, cell in canaries(repr(told.model.prompts[ADA][-1]))}


async def test_names_that_look_alike_are_of_different_people(empty):
    """Nothing is folded, trimmed or put in another form; what stands for a tenant names nobody else."""
    names = [
        *("ada", "Ada", "ADA", "ada ", " ada", "ada\u00a0", "ａda", "аda", "a\u0308da", "äda", "ada/", "ada%20"),
        *("tenant-0", "self:tenant-0", "user:ada", "user:", "self:", "0:tenant-0", "null", "None", "0", "%", "_", "*"),
        *("a" * 255, "a" * 256),
    ]
    seen = {}
    for name in names:
        answer, _ = await ask(empty, "a", {}, {"user": name, "messages": [says("Good morning.")]})
        seen[name] = answer.headers["x-librarian-conversation"]
    agents = empty.rows("SELECT subject, hex(owner) FROM agent")

    assert len(names) == len(set(seen.values())) == len({subject for subject, _ in agents})
    assert len(names) == len({owner for _, owner in agents})


async def test_a_person_is_the_same_however_named(told):
    """So that the ways differ in nothing but what is believed."""
    for headers, body in ({"x-openwebui-user-id": "ada"}, {}), ({}, {"safety_identifier": "ada"}):
        asked = {"model": "librarian", "messages": [QUESTION]} | body
        await told.knock(ADA, "POST", CHAT, key(0), body=asked, headers=headers)
        assert {ADA} == {cell for _, cell in canaries(repr(told.model.prompts[ADA][-1]))}


async def test_tasks_and_requests_without_memory_are_shown_nothing(told):
    before = kept(told)
    task = {"role": "user", "content": "### Task:\nGenerate a concise title summarizing the chat history. Heirloom."}
    for messages, headers in [
        ([task], {}),
        ([QUESTION], {"x-openwebui-task": "title_generation"}),
        ([QUESTION], {"x-librarian-purpose": "task"}),
        ([QUESTION], {"x-librarian-memory": "off"}),
    ]:
        answer = await told.ask(ADA, *messages, headers=headers)
        assert 200 == answer.status
        assert [] == canaries(repr(told.model.prompts[ADA][-1]))
        assert said(answer)["content"] == "Indeed."

    assert before == kept(told)


async def test_a_key_that_may_not_speak_for_others_sees_no_agents_of_theirs(told):
    """What they remember is theirs: such a key is in the hands of one person."""
    agents = {
        subject: agent for agent, subject in told.rows("SELECT id, subject FROM agent WHERE principal = 'tenant-0'")
    }
    before = kept(told)
    listed = (await told.keep(0, "GET", "/librarian/agents", by="person")).json["data"]
    own, ada = agents["self:tenant-0"], agents["user:ada"]
    assert [own] == [one["id"] for one in listed]
    for method, rest, body in [
        ("GET", "", b""),
        ("PATCH", "", {"state": "paused"}),
        ("DELETE", "?forget=true", b""),
        ("GET", "/blocks", b""),
        ("PUT", "/blocks/human", {"value": "Mine."}),
        ("GET", "/passages", b""),
        ("POST", "/passages", {"text": "Mine."}),
        ("DELETE", "/passages/1", b""),
        ("GET", "/abandoned", b""),
        ("DELETE", "/abandoned/turn_1", b""),
    ]:
        answers = [
            await told.keep(0, method, f"/librarian/agents/{agent}{rest}", body, by="person")
            for agent in (ada, "agent-" + "0" * 24)
        ]
        assert [404, 404] == [answer.status for answer in answers]
        assert 1 == len({answer.body.replace(ada.encode(), b"agent-" + b"0" * 24) for answer in answers})
    made = await told.keep(0, "POST", "/librarian/agents", {"person": "ada"}, by="person")
    assert (400, "person") == (made.status, made.error["param"])

    assert before == kept(told)
    shown = await told.keep(0, "GET", f"/librarian/agents/{own}/blocks", by="person")
    assert {THE_TENANT} == {cell for _, cell in canaries(shown.body.decode())}


@pytest.mark.parametrize("field", ["safety_identifier", "user"])
async def test_what_a_person_writes_into_the_body_does_not_make_them_another(told, field):
    """As whoever may set the parameters of a chat in Open WebUI could."""
    body = {"model": "librarian", "messages": [QUESTION], field: "ada"}
    await told.knock(None, "POST", CHAT, key(0), body=body, headers={"x-openwebui-user-id": "ben"})

    assert [] == canaries(repr(told.model.prompts[None]))
    assert {"self:tenant-0", "user:ada", "user:ben"} == {row[0] for row in told.rows("SELECT subject FROM agent")}
