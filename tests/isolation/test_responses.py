"""Responses and conversations that the house keeps: they are shown, gone on from and deleted by whose they are."""

import json
from dataclasses import dataclass, field

import pytest

from tests.isolation.grid import CELLS, Cell, Kind, canaries
from tests.isolation.mansion import Mansion, key
from tests.isolation.seeds import all_at_once

pytestmark = pytest.mark.integration

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
FEW = [
    cell for cell in CELLS if cell.tenant < 3 and cell.person in {"ada", "ben", None} and cell.template == "librarian"
]
ADA, TENANT = FEW[0], next(cell for cell in FEW if cell.person is None)
UNKNOWN = "0123456789abcdef01234567"
CALL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}


@dataclass
class Kept:
    """What the house keeps for one of them. `items` are of the conversation, `replies` of responses."""

    response: str = ""
    called: str = ""
    aside: str = ""
    conversation: str = ""
    items: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)

    @property
    def responses(self) -> list[str]:
        return [self.response, self.called, self.aside]


async def ask(mansion: Mansion, cell: Cell, method: str, path: str, body=b"", *, acts=(), which=None, headers=None):
    """By a header, as a request without a body can; who names nobody has a key that may not."""
    mansion.model.lay_down(cell, acts)
    which = which or ("a" if cell.person else "person")
    named = {"x-openwebui-user-id": cell.person} if cell.person else {}
    return await mansion.knock(
        cell, method, path, key(cell.tenant, which), body=body, headers=named | dict(headers or {})
    )


@pytest.fixture
async def kept(empty):
    kept = {cell: Kept() for cell in FEW}

    async def keep(cell: Cell) -> None:
        said, answered = cell.canary(Kind.SAID), cell.canary(Kind.ANSWERED)
        asked = {"model": cell.template, "instructions": cell.canary(Kind.OVERLAY), "metadata": {"of": said}}
        own = kept[cell]
        first = await ask(empty, cell, "POST", RESPONSES, asked | {"input": f"Keep {said}."}, acts=[answered])
        own.response = first.json["id"]
        own.replies = [item["id"] for item in first.json["output"]]
        acts = [[("get_weather", {"place": said})]]
        more = {"input": "Weather?", "previous_response_id": own.response, "tools": [CALL]}
        called = await ask(empty, cell, "POST", RESPONSES, asked | more, acts=acts)
        own.called = called.json["id"]
        own.replies += [item["id"] for item in called.json["output"]]
        items = [{"type": "message", "role": "user", "content": f"Put in: {said}."}]
        begun = await ask(empty, cell, "POST", CONVERSATIONS, {"items": items, "metadata": {"of": said}})
        own.conversation = begun.json["id"]
        more = {"input": f"Go on, {said}.", "conversation": own.conversation}
        assert 200 == (await ask(empty, cell, "POST", RESPONSES, asked | more, acts=[answered])).status
        await ask(empty, cell, "POST", f"{CONVERSATIONS}/{own.conversation}/items", {"items": items})
        listed = await ask(empty, cell, "GET", f"{CONVERSATIONS}/{own.conversation}/items")
        own.items = [item["id"] for item in listed.json["data"]]
        assert said in listed.body.decode()
        aside = await ask(empty, cell, "POST", RESPONSES, asked | {"input": said, "background": True}, acts=[answered])
        own.aside = aside.json["id"]
        followed = await ask(empty, cell, "GET", f"{RESPONSES}/{own.aside}?stream=true")
        assert "response.completed" in followed.body.decode()

    await all_at_once(keep, FEW)
    return kept


def requests(own: Kept):
    """All that names what is kept, each as a method, a path and a body; the name itself last."""
    hello = {"model": "librarian", "input": "Go on."}
    for name in own.responses:
        at = f"{RESPONSES}/{name}"
        yield from (("GET", at, b"", name), ("GET", f"{at}?stream=true", b"", name))
        yield from (("GET", f"{at}?stream=true&starting_after=1", b"", name), ("GET", f"{at}/input_items", b"", name))
        yield from (("POST", f"{at}/cancel", b"", name), ("DELETE", at, b"", name))
        for path in (RESPONSES, f"{RESPONSES}/input_tokens", f"{RESPONSES}/compact"):
            yield "POST", path, hello | {"previous_response_id": name}, name
        yield "POST", RESPONSES, hello | {"previous_response_id": name, "stream": True}, name
        yield "POST", RESPONSES, hello | {"previous_response_id": name, "background": True}, name
    name = own.conversation
    at = f"{CONVERSATIONS}/{name}"
    message = {"type": "message", "role": "user", "content": "Mine."}
    yield from (("GET", at, b"", name), ("POST", at, {"metadata": {"of": "mine"}}, name), ("DELETE", at, b"", name))
    yield from (("GET", f"{at}/items", b"", name), ("POST", f"{at}/items", {"items": [message]}, name))
    yield "GET", f"{at}/items?after={own.items[0]}", b"", name
    for path in (RESPONSES, f"{RESPONSES}/input_tokens", f"{RESPONSES}/compact"):
        yield "POST", path, hello | {"conversation": name}, name
    yield "POST", RESPONSES, hello | {"conversation": {"id": name}, "stream": True}, name
    for item in own.items:
        yield from (("GET", f"{at}/items/{item}", b"", name), ("DELETE", f"{at}/items/{item}", b"", name))
    for item in (*own.replies, *own.items):
        refers = [{"type": "item_reference", "id": item}, message]
        yield "POST", RESPONSES, {"model": "librarian", "input": refers}, item
        yield "POST", f"{RESPONSES}/compact", {"model": "librarian", "input": refers}, item


def unknown(name: str) -> str:
    kind, _, digits = name.partition("_")
    return f"{kind}_{(UNKNOWN * 2)[: len(digits)] if len(digits) != 28 else UNKNOWN + digits[24:]}"


async def test_what_is_kept_for_one_is_unknown_to_all_others_in_the_same_words(empty, kept):
    tables = ("answer", "conversation", "turn", "passage", "block")
    before = [empty.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608  of ours
    pairs = {(asker, owner) for asker in FEW for owner in FEW if asker != owner}

    async def pry(asker: Cell) -> None:
        for owner in FEW:
            if owner == asker:
                continue
            for method, path, body, name in requests(kept[owner]):
                other = unknown(name)
                foreign = await ask(empty, asker, method, path, body)
                asked = json.loads(json.dumps(body).replace(name, other)) if body else b""
                nobodys = await ask(empty, asker, method, path.replace(name, other), asked)
                assert 404 == foreign.status, (method, path, body)
                assert foreign.body.replace(name.encode(), b"...") == nobodys.body.replace(other.encode(), b"...")
                assert _headers(foreign) == _headers(nobodys)

    prompts = sum(map(len, empty.model.prompts.values()))
    await all_at_once(pry, FEW)

    assert 72 == len(pairs)
    assert before == [empty.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608
    assert prompts == sum(map(len, empty.model.prompts.values()))
    assert [] == empty.leaks()


async def test_everybody_finds_their_own(empty, kept):
    """Else that others find nothing would prove nothing."""
    for cell in FEW:
        found = []
        for method, path, body, _ in requests(kept[cell]):
            if method == "GET":
                answer = await ask(empty, cell, method, path, body)
                assert 200 == answer.status
                found += canaries(answer.body.decode())
        assert {cell} == {whose for _, whose in found}
        assert {Kind.SAID, Kind.ANSWERED, Kind.OVERLAY} == {kind for kind, _ in found}

    assert [] == empty.leaks()


async def test_what_goes_on_from_ones_own_has_ones_own_in_view(empty, kept):
    for cell in FEW:
        for more in ({"previous_response_id": kept[cell].response}, {"conversation": kept[cell].conversation}):
            asked = {"model": "librarian", "input": "What was I to keep?"} | more
            assert 200 == (await ask(empty, cell, "POST", RESPONSES, asked)).status
            assert {cell} == {whose for _, whose in canaries(repr(empty.model.prompts[cell][-1]))}

    assert [] == empty.leaks()


@pytest.mark.parametrize("without", [{"x-librarian-memory": "off"}, {"x-librarian-purpose": "task"}], ids=str)
async def test_a_request_without_memory_goes_on_from_nothing_of_anothers(empty, kept, without):
    """What it goes on from is shown to the model, though nothing is remembered."""
    ben = next(cell for cell in FEW if cell.person == "ben" and cell.tenant == ADA.tenant)
    for asker in (ben, TENANT, FEW[-1]):
        for method, path, body, _ in requests(kept[ADA]):
            if method == "POST" and path == RESPONSES:
                answer = await ask(empty, asker, method, path, body, headers=without)
                assert 404 == answer.status

    assert [] == empty.leaks()


@pytest.mark.parametrize(("which", "headers"), [("person", {"x-openwebui-user-id": "ada"}), ("strict", {})])
async def test_who_is_to_have_no_memory_has_nothing_kept_and_is_shown_nothing(empty, kept, which, headers):
    """A key that names whom it may not speak for, and one that has to name somebody and does not."""
    tables = ("answer", "conversation", "turn")
    before = [empty.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608  of ours

    async def knock(method, path, body=b""):
        return await empty.knock(None, method, path, key(0, which), body=body, headers=headers)

    hello = {"model": "librarian", "input": "Hello."}
    assert 200 == (await knock("POST", RESPONSES, hello)).status
    assert 200 == (await knock("POST", RESPONSES, hello | {"stream": True})).status
    assert (403, "insufficient_scope") == _refused(await knock("POST", RESPONSES, hello | {"background": True}))
    assert (403, "insufficient_scope") == _refused(await knock("POST", CONVERSATIONS, {}))
    for owner in (ADA, TENANT):
        for method, path, body, _ in requests(kept[owner]):
            answer = await knock(method, path, body)
            assert 404 == answer.status, (method, path, body)

    assert before == [empty.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608
    assert [] == canaries(repr(empty.model.prompts[None]))
    assert [] == empty.leaks()


async def test_a_name_in_the_body_does_not_open_what_is_anothers(empty, kept):
    """Whoever forwards a person is believed about that one, and not about what the person wrote."""
    for point in ({"previous_response_id": kept[ADA].response}, {"conversation": kept[ADA].conversation}):
        for named in ({"user": "ada"}, {"safety_identifier": "ada"}):
            asked = {"model": "librarian", "input": "Go on."} | point | named
            answer = await empty.knock(
                None, "POST", RESPONSES, key(0), body=asked, headers={"x-openwebui-user-id": "ben"}
            )
            assert 404 == answer.status

    assert [] == empty.leaks()


def _headers(answer):
    return {name: value for name, value in answer.headers.items() if name != "x-request-id"}


def _refused(answer):
    return answer.status, answer.error["code"]
