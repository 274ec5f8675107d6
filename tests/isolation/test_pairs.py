"""Everybody asks for everybody else's secrets, by every door there is; nobody finds any."""

import re
from collections.abc import Sequence

import pytest
import pytest_asyncio

from tests.isolation.grid import CELLS, PAIRS, PEOPLE, TEMPLATES, TENANTS, Cell, Kind, canaries, others
from tests.isolation.mansion import Mansion, key, overheard, says
from tests.isolation.seeds import all_at_once, confide
from tests.unit.edge_house import CHAT, COMPLETIONS

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

AGENTS = "/librarian/agents"
SHOWN_UNASKED = 8
"""Entries that are put in view before a turn: so many cues a question has."""
TERMS = 12
"""Words of a question that are looked for in the index."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mansion(tmp_path_factory):
    mansion = Mansion(tmp_path_factory.mktemp("mansion"))
    with overheard(mansion.exhibits):
        await all_at_once(lambda cell: confide(mansion, cell))
        yield mansion
    await mansion.aclose()


async def test_everybody_finds_their_own(mansion):
    """Else that nobody finds what is another's would prove nothing."""

    async def check(cell: Cell) -> None:
        words = f"What are the {cell.cue} heirloom, its answer, and the motto?"
        calls = [[("archival_memory_search", {"query": cell.cue}), ("conversation_search", {"query": cell.cue})]]
        await mansion.ask(cell, says(words), acts=calls)
        first, second = mansion.model.prompts[cell][-2:]
        own = {kind for kind, whose in canaries(repr(first)) if whose == cell}
        assert {Kind.SAID, Kind.ANSWERED, Kind.PASSAGE, Kind.BLOCK, Kind.ABANDONED} <= own
        found = [{kind for kind, whose in canaries(message.text) if whose == cell} for message in second.messages[-2:]]
        assert {Kind.PASSAGE, Kind.TAG} <= found[0]
        assert {Kind.SAID, Kind.ANSWERED} <= found[1]

    await all_at_once(check)


async def test_the_searches_of_the_agent_find_nothing_of_others(mansion):
    """One turn of each, in which a model that wants everything asks for it. Before anybody has said the words."""
    aimed = set()

    async def probe(cell: Cell) -> None:
        calls = []
        for some in _some(others(cell), TERMS):
            query = " ".join(other.cue for other in some)
            calls += [
                ("conversation_search", {"query": query, "limit": 50}),
                ("archival_memory_search", {"query": query, "top_k": 50}),
            ]
            aimed.update((cell, other) for other in some)
        tags = [other.cue for other in others(cell)]
        searches = [
            ("archival_memory_search", {"query": "heirloom", "top_k": 50, "tags": some}) for some in _some(tags, 16)
        ]
        before = len(mansion.model.prompts[cell])
        assert 200 == (await mansion.ask(cell, says("Find it."), acts=[[*calls, *searches], "Nothing."])).status
        shown = mansion.model.prompts[cell][before + 1].messages
        results = [message.text for message in shown if message.role == "tool"]
        assert len(calls) + len(searches) == len(results)
        assert {"Nothing was found."} == set(results)

    await all_at_once(probe)

    assert PAIRS == aimed
    assert [] == mansion.leaks()


async def test_what_is_asked_for_is_not_put_in_view(mansion):
    """The words that lead to every entry of everybody else's, as many at a time as are shown."""
    aimed = set()

    async def probe(cell: Cell) -> None:
        for some in _some(others(cell), SHOWN_UNASKED):
            question = f"Tell: {' '.join(other.cue for other in some)}"
            assert 200 == (await mansion.ask(cell, says(question))).status
            aimed.update((cell, other) for other in some)

    await all_at_once(probe)

    assert PAIRS == aimed
    assert 13_920 == len(aimed)
    assert [] == mansion.leaks()


async def test_the_names_of_others_conversations_are_unknown(mansion):
    """Every pair: by one of the ways to name a conversation, the next one by the next."""
    aimed = set()
    own = {cell: min(mansion.conversations[cell]) for cell in CELLS}
    ways = list(WAYS.values())

    async def probe(cell: Cell) -> None:
        for at, other in enumerate(others(cell), cell.number):
            answer = await ways[at % len(ways)](mansion, cell, own[other])
            assert UNKNOWN.format(own[other]) == answer.body.decode()
            assert 404 == answer.status
            aimed.add((cell, other))
        for template in set(TEMPLATES) - {cell.template}:
            (sibling,) = (one for one in CELLS if one.owner == cell.owner and one.template == template)
            answer = await ways[sibling.number % len(ways)](mansion, cell, own[sibling])
            assert UNKNOWN.format(own[sibling]) == answer.body.decode()

    turns = mansion.rows("SELECT count(*) FROM turn")
    await all_at_once(probe)

    assert PAIRS == aimed
    assert turns == mansion.rows("SELECT count(*) FROM turn")
    assert [] == mansion.leaks()


async def test_agents_of_other_tenants_are_unknown(mansion):
    """Each tenant, every agent of every other: all that can be asked of an agent, in turn."""
    agents = mansion.rows("SELECT id, principal FROM agent")
    assert len(CELLS) == len(agents)
    before = _kept(mansion)
    aimed = set()
    for tenant in range(TENANTS):
        foreign = [agent for agent, of in agents if of != f"tenant-{tenant}"]
        for at, agent in enumerate(foreign):
            for method, rest, body in (REQUESTS[at % len(REQUESTS)], REQUESTS[(at + 1) % len(REQUESTS)]):
                answer = await mansion.keep(tenant, method, f"{AGENTS}/{agent}{rest}", body)
                said = f"There is no agent `{agent}`."
                assert (404, said) == (answer.status, answer.error["message"])
            aimed.add((tenant, agent))
        listed = (await mansion.keep(tenant, "GET", f"{AGENTS}?limit=1000")).json["data"]
        assert {agent for agent, of in agents if of == f"tenant-{tenant}"} == {one["id"] for one in listed}
        for after in foreign[:: len(foreign) // 4]:
            await mansion.keep(tenant, "GET", f"{AGENTS}?limit=1000&after={after}")

    assert TENANTS * (TENANTS - 1) * len(PEOPLE) * len(TEMPLATES) == len(aimed)
    assert before == _kept(mansion)
    assert [] == mansion.leaks()


async def test_what_a_tenant_sees_of_its_agents_is_its_own(mansion):
    for tenant in range(TENANTS):
        seen = []
        for one in (await mansion.keep(tenant, "GET", AGENTS, by="b")).json["data"]:
            for rest in ("", "/blocks", "/passages", "/abandoned"):
                answer = await mansion.keep(tenant, "GET", f"{AGENTS}/{one['id']}{rest}")
                assert 200 == answer.status
                seen += canaries(answer.body.decode())
        own = [cell for cell in CELLS if cell.tenant == tenant]
        assert set(own) == {cell for _, cell in seen}
        assert {Kind.BLOCK, Kind.PASSAGE, Kind.TAG, Kind.ABANDONED} == {kind for kind, _ in seen}

    assert [] == mansion.leaks()


async def test_turns_and_passages_of_others_are_unknown_to_ones_own_agent(mansion):
    """Of other tenants, and of other people of the same one."""
    before = _kept(mansion)
    turns = mansion.rows("SELECT DISTINCT turn, agent FROM block_edit")
    passages = mansion.rows("SELECT number, agent FROM passage")
    for at, (agent, of) in enumerate(mansion.rows("SELECT id, principal FROM agent")):
        tenant = int(of[-1])
        foreign = [turn for turn, whose in turns if whose != agent]
        for turn in foreign[at :: len(CELLS)]:
            answer = await mansion.keep(tenant, "DELETE", f"{AGENTS}/{agent}/abandoned/{turn}")
            unknown = await mansion.keep(tenant, "DELETE", f"{AGENTS}/{agent}/abandoned/{turn[::-1]}")
            assert 404 == answer.status
            assert answer.body.replace(turn.encode(), b"") == unknown.body.replace(turn[::-1].encode(), b"")
        for number in [number for number, whose in passages if whose != agent][at :: len(CELLS)]:
            answer = await mansion.keep(tenant, "DELETE", f"{AGENTS}/{agent}/passages/{number}")
            unknown = await mansion.keep(tenant, "DELETE", f"{AGENTS}/{agent}/passages/{number + 10**9}")
            assert 404 == answer.status
            assert re.sub(rb"\d+", b"", answer.body) == re.sub(rb"\d+", b"", unknown.body)

    assert before == _kept(mansion)
    assert [] == mansion.leaks()


async def test_vectors_tell_of_nobody(mansion):
    """Whatever was asked before by whomever: the same words, the same answer."""
    asked = [{"model": "scripted", "input": words} for words in ("heirloom", [cell.cue for cell in CELLS])]
    answers = [
        [(await mansion.keep(tenant, "POST", "/v1/embeddings", body)).status for body in asked]
        for tenant in range(TENANTS)
    ]

    assert 1 == len({str(told) for told in answers})
    assert [] == mansion.leaks()


async def test_no_room_is_left_out(mansion):
    """One that is new is to be tried, here or beside this, before it is named."""
    described = (await mansion.knock(None, "GET", "/openapi.json", None)).json

    assert TRIED == described["paths"].keys()


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/v1/models", "/nothing"],
)
async def test_rooms_that_are_the_same_for_all_tell_of_nobody(mansion, path):
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        for secret in (None, "no key", key(0), key(1, "person")):
            await mansion.knock(None, method, path, secret)

    assert [] == mansion.leaks()


async def test_models_are_the_same_for_all(mansion):
    listed = [(await mansion.keep(tenant, "GET", "/v1/models")).body for tenant in range(TENANTS)]
    for name in TEMPLATES:
        assert 200 == (await mansion.keep(1, "GET", f"/v1/models/{name}")).status

    assert 1 == len(set(listed))
    assert [] == mansion.leaks()


async def test_refusals_tell_of_nobody(mansion):
    """What goes wrong for one says nothing of another."""

    async def fail(cell: Cell) -> None:
        hello = says("Hello?")
        tool = {"role": "tool", "tool_call_id": "call_1", "content": "?"}
        for messages, more in [
            ((tool,), {}),
            ((hello,), {"model": "nobody"}),
            ((hello,), {"temperature": 9}),
            ((hello,), {"headers": {"idempotency-key": "x" * 300}}),
            ((hello,), {"headers": {"x-librarian-conversation": "{{CHAT_ID}}"}}),
            ((hello,), {"headers": {"x-openwebui-user-jwt": "e30.e30.e30"}}),
            ((hello,), {"headers": {"x-librarian-memory": "perhaps"}}),
            ((hello,), {"by": "nobody"}),
            ((says("word " * 200_000),), {}),
        ]:
            answer = await mansion.ask(cell, *messages, **more)
            assert 400 <= answer.status < 500
        wrong = await mansion.ask(cell, hello, headers={"idempotency-key": f"once {cell.canary(Kind.IDEMPOTENCY)}"})
        assert 409 == wrong.status

    await all_at_once(fail, CELLS[:: len(TEMPLATES)])

    assert [] == mansion.leaks()


async def test_in_the_end_nothing_of_anybodys_was_shown_to_another(mansion):
    """All prompts, replies, headers, refusals and log lines of this file, once more."""
    where = {exhibit.where.partition(" ")[0] for exhibit in mansion.exhibits}

    assert {"prompt", "log", "GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"} == where
    assert [] == mansion.leaks(since_the_last_look=False)


TRIED = {
    *("/", "/health", "/health/live", "/health/ready", "/metrics", "/v1/models", "/v1/models/{id}"),
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings"),
    *(f"/v1/responses{rest}" for rest in ("", "/compact", "/input_tokens", "/{response_id}")),
    *(f"/v1/responses/{{response_id}}{rest}" for rest in ("/cancel", "/input_items")),
    *(f"/v1/conversations{rest}" for rest in ("", "/{conversation_id}", "/{conversation_id}/items")),
    "/v1/conversations/{conversation_id}/items/{item_id}",
    *(f"/librarian/agents{rest}" for rest in ("", "/{agent}", "/{agent}/blocks", "/{agent}/blocks/{label}")),
    *(f"/librarian/agents/{{agent}}{rest}" for rest in ("/passages", "/passages/{number}", "/abandoned")),
    "/librarian/agents/{agent}/abandoned/{turn}",
}


async def _by_header(mansion, cell, name, header="x-librarian-conversation", **more):
    return await mansion.ask(cell, says("Go on."), headers={header: name}, **more)


async def _by_address(mansion, cell, name):
    return await mansion.ask(cell, says("Go on."), path=f"/c/{name}{CHAT}", stream=True)


async def _by_query(mansion, cell, name):
    return await mansion.ask(cell, path=COMPLETIONS, prompt="Go on.", query=f"conversation={name}")


async def _by_metadata(mansion, cell, name):
    return await mansion.ask(cell, says("Hello."), INDEED, says("Go on."), metadata={"conversation_id": name})


async def _by_a_clients_header(mansion, cell, name):
    return await _by_header(mansion, cell, name, "x-openwebui-chat-id")


async def _to_read(mansion, cell, name):
    headers = {"x-librarian-memory": "read", "x-librarian-conversation": name}
    return await mansion.ask(cell, says("Go on."), headers=headers)


async def _from_a_message(mansion, cell, name):
    (other,) = (one for one in CELLS if name in mansion.conversations[one])
    headers = {"x-librarian-conversation": name, "x-librarian-parent": other.canary(Kind.MESSAGE)}
    return await mansion.ask(cell, says("Hello."), INDEED, says("Go on."), headers=headers)


async def _again(mansion, cell, name):
    headers = {"x-librarian-conversation": name, "x-stainless-retry-count": "1"}
    return await mansion.ask(cell, says("Go on."), headers=headers)


INDEED = {"role": "assistant", "content": "Indeed."}
WAYS = {
    "header": _by_header,
    "address": _by_address,
    "query": _by_query,
    "metadata": _by_metadata,
    "a client's header": _by_a_clients_header,
    "read": _to_read,
    "message": _from_a_message,
    "retry": _again,
}
UNKNOWN = (
    '{{"error":{{"message":"There is no conversation `{}`.","type":"invalid_request_error","param":null,'
    '"code":"not_found"}}}}'
)
REQUESTS = [
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
    ("DELETE", "", b""),
]


def _some(items: Sequence, size: int) -> list[Sequence]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _kept(mansion: Mansion):
    """What everybody remembers, and how every agent stands."""
    return [
        mansion.rows(f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608  of ours
        for table in ("agent", "block", "block_edit", "passage", "passage_source")
    ]
