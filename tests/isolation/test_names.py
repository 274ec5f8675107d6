"""Names of conversations that are somebody else's, made up, or nobody's: nobody can tell which."""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import pytest

from librarian.application.converse import root_of
from librarian.application.ports.memory import AgentKey
from librarian.domain.clients import CLIENTS, LABELS
from librarian.domain.conversation import name_of_key, new_name
from librarian.domain.identity import Principal, PrincipalId, owner_of
from tests.isolation.grid import CELLS, Cell
from tests.isolation.mansion import Mansion, key, said, says
from tests.unit.edge_house import CHAT, COMPLETIONS, Answer

pytestmark = pytest.mark.integration

ASKER = CELLS[0]
OWNERS = {
    "another template": next(cell for cell in CELLS if cell.owner == ASKER.owner and cell != ASKER),
    "another person": next(cell for cell in CELLS if cell.tenant == ASKER.tenant and cell.person != ASKER.person),
    "nobody named": next(cell for cell in CELLS if cell.tenant == ASKER.tenant and cell.person is None),
    "another tenant": next(cell for cell in CELLS if cell.tenant != ASKER.tenant),
}
HELLO, GO_ON = says("Hello."), says("Go on.")
CHAT_SO_FAR = [HELLO, {"role": "assistant", "content": "Indeed."}, GO_ON]
CODEX = {"user-agent": "codex_cli_rs/0.1"}
HEADERS = sorted({name for profile in CLIENTS for name in profile.conversation} | {"X-Librarian-Conversation"})


@dataclass(frozen=True)
class Way:
    """Of naming a conversation in a request."""

    header: str = "host-of-none"
    path: str = "{path}"
    query: str = ""
    label: str | None = None
    field: str | None = None
    more: tuple[tuple[str, str], ...] = ()

    async def take(self, mansion: Mansion, cell: Cell, name: str, *messages, path: str = CHAT, **body) -> Answer:
        if self.label is not None:
            body["metadata"] = {self.label: name}
        if self.field is not None:
            body[self.field] = name
        headers = {self.header: name} | dict(self.more)
        at = self.path.format(path=path, name=name)
        if path == COMPLETIONS:
            body["prompt"] = messages[-1]["content"]
        return await mansion.ask(cell, *messages, headers=headers, path=at, query=self.query.format(name=name), **body)


WAYS = {
    **{header: Way(header=header.lower()) for header in HEADERS},
    **{label: Way(label=label) for label in LABELS},
    "/c/": Way(path="/c/{name}{path}"),
    "?conversation=": Way(query="conversation={name}"),
    "prompt_cache_key": Way(field="prompt_cache_key", more=tuple(CODEX.items())),
    "read": Way(header="x-librarian-conversation", more=(("x-librarian-memory", "read"),)),
    "retry": Way(header="x-librarian-conversation", more=(("x-stainless-retry-count", "2"),)),
    "idempotent": Way(header="x-librarian-conversation", more=(("idempotency-key", "once"),)),
    "message": Way(header="x-librarian-conversation", more=(("x-librarian-parent", "answer"),)),
    "debug": Way(header="x-librarian-conversation", more=(("x-librarian-debug", "1"),)),
}


@pytest.fixture
async def names(empty):
    """One of each kind: of everybody else, with and without a name of the client's; made up; and known to nobody."""
    names = {}
    for whose, cell in OWNERS.items():
        first = await empty.ask(cell, HELLO, headers={"x-librarian-message": "answer"})
        names[whose] = first.headers["x-librarian-conversation"]
        keyed = await empty.ask(cell, HELLO, headers={"x-session-id": "s 1", "x-librarian-message": "answer"})
        names[f"{whose}, by its name"] = keyed.headers["x-librarian-conversation"]
        names[f"{whose}, not begun"] = new_name(root(cell), "1" * 24)
        names[f"{whose}, of a key never used"] = name_of_key(root(cell), "s 2")
    own = (await empty.ask(ASKER, HELLO)).headers["x-librarian-conversation"]
    foreign = names["another tenant"]
    return names | {
        "unknown": "conv_" + "0" * 32,
        "unknown, of the old form": "conv_" + "0" * 24,
        "foreign, of the old form": foreign[:-8],
        "own, another digit": own[:5] + ("0" if own[5] != "0" else "1") + own[6:],
        "own, another seal": own[:-8] + ("0" * 8),
        "foreign under one's own seal": foreign[:-8] + own[-8:],
    }


def root(cell: Cell):
    return root_of(AgentKey(cell.template, owner_of(Principal(PrincipalId(cell.principal)), person=cell.person)))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_every_name_but_ones_own_is_unknown_in_the_same_words(empty, names, way, stream):
    turns = empty.rows("SELECT count(*) FROM turn")
    prompts = len(empty.model.prompts[ASKER])
    for messages, path in [((GO_ON,), CHAT), (CHAT_SO_FAR, CHAT), ((GO_ON,), COMPLETIONS)]:
        seen = {}
        for kind, name in names.items():
            answer = await way.take(empty, ASKER, name, *messages, path=path, stream=stream)
            headers = {known: value for known, value in answer.headers.items() if known != "x-request-id"}
            if "of the old form" in kind:  # shorter by eight digits
                headers["content-length"] = str(int(headers["content-length"]) + 8)
            assert answer.body.count(name.encode()) == 1
            seen[kind] = (answer.status, headers, answer.body.replace(name.encode(), b"..."))
        assert {404} == {status for status, _, _ in seen.values()}
        assert [] == [kind for kind in seen if seen[kind] != seen["unknown"]]

    assert turns == empty.rows("SELECT count(*) FROM turn")
    assert prompts == len(empty.model.prompts[ASKER])
    assert [] == empty.leaks()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_ones_own_name_is_known_by_every_way(empty, way):
    first = await empty.ask(ASKER, HELLO, headers={"x-librarian-message": "answer"})
    own = first.headers["x-librarian-conversation"]
    answer = await way.take(empty, ASKER, own, HELLO, said(first), GO_ON)

    assert 200 == answer.status
    assert answer.headers.get("x-librarian-conversation", own) == own


async def test_one_takes_no_longer_than_the_other(empty, names):
    """Loosely: a look-up more would be lost in it, a turn or a wait would not."""
    took = {kind: [] for kind in ("unknown", "another tenant", "another person", "own, another seal")}
    for _ in range(40):
        for kind, times in took.items():
            began = perf_counter()
            await empty.ask(ASKER, *CHAT_SO_FAR, headers={"x-librarian-conversation": names[kind]})
            times.append(perf_counter() - began)
    medians = [median(times) for times in took.values()]

    assert max(medians) < 3 * min(medians) + 0.005


async def test_without_memory_no_name_is_looked_up(empty, names):
    """Then nothing is told, of one's own and of others' alike."""
    for name in names.values():
        headers = {"x-librarian-conversation": name, "x-librarian-memory": "off"}
        answer = await empty.ask(ASKER, GO_ON, headers=headers)
        assert (200, None) == (answer.status, answer.headers.get("x-librarian-conversation"))

    assert [] == empty.leaks()


async def test_agents_that_are_not_ones_own_are_unknown_in_the_same_words(empty, names):
    agents = dict(empty.rows("SELECT principal || subject || template, id FROM agent"))
    foreign = [agent for whose, agent in agents.items() if not whose.startswith(ASKER.principal)]
    assert 1 == len(foreign)
    for method, rest, body in [
        ("GET", "", b""),
        ("HEAD", "", b""),
        ("PATCH", "", {"state": "paused"}),
        ("DELETE", "", b""),
        ("DELETE", "?forget=true", b""),
        ("GET", "/blocks", b""),
        ("PUT", "/blocks/human", {"value": "Mine."}),
        ("GET", "/passages", b""),
        ("POST", "/passages", {"text": "Mine."}),
        ("DELETE", "/passages/1", b""),
        ("GET", "/abandoned", b""),
        ("DELETE", "/abandoned/turn_1", b""),
    ]:
        seen = []
        for agent in (*foreign, "agent-" + "0" * 24):
            answer = await empty.keep(ASKER.tenant, method, f"/librarian/agents/{agent}{rest}", body)
            headers = {known: value for known, value in answer.headers.items() if known != "x-request-id"}
            seen.append((answer.status, headers, answer.body.replace(agent.encode(), b"...")))
        assert 404 == seen[0][0]
        assert seen[0] == seen[1]

    assert [] == empty.leaks()


@pytest.mark.parametrize("secret", [None, "", "nobody", key(0)[:-1], key(0) + "x", f"{key(0)} {key(1)}"])
async def test_without_the_right_key_nothing_is_said_of_what_there_is(empty, names, secret):
    (agent,), *_ = empty.rows("SELECT id FROM agent")
    for method, path in [
        ("POST", CHAT),
        ("POST", f"/c/{names['another tenant']}{CHAT}"),
        ("POST", COMPLETIONS),
        ("GET", "/v1/models"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/librarian/agents"),
        ("GET", f"/librarian/agents/{agent}"),
        ("GET", f"/librarian/agents/{agent}/blocks"),
        ("DELETE", f"/librarian/agents/{agent}"),
        ("POST", "/librarian/agents"),
        ("GET", "/nothing"),
    ]:
        answer = await empty.knock(None, method, path, secret, body={"model": "librarian"} if method == "POST" else b"")
        assert (401, "invalid_api_key") == (answer.status, answer.error["code"])

    assert [] == empty.leaks()
