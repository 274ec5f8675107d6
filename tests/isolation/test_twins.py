"""All say the same, word by word and name by name, and are told apart all the same."""

import pytest

from tests.isolation.grid import CELLS, PEOPLE, TEMPLATES, TENANTS, Cell, Kind, canaries
from tests.isolation.mansion import WEATHER, said, says
from tests.isolation.seeds import all_at_once
from tests.unit.edge_house import COMPLETIONS

pytestmark = pytest.mark.integration

HELLO = says("Good morning.")
DEBUG = {"x-librarian-debug": "1"}
SAME = [
    {},
    {"x-librarian-conversation": "the same"},
    {"x-openwebui-chat-id": "the same", "x-openwebui-message-id": "also the same"},
]


@pytest.mark.parametrize("named", SAME, ids=["no name", "one name", "one name of a client's"])
async def test_twins_share_no_conversation_no_turn_and_no_thread(empty, named):
    """What stays beside the transcript, the house's own tool steps, is what would cross."""
    own: dict[Cell, str] = {}

    async def begin(cell: Cell) -> None:
        calls = [("archival_memory_insert", {"content": f"The letter is {cell.canary(Kind.PASSAGE)}."})]
        answer = await empty.ask(cell, HELLO, acts=[calls, "Indeed."], headers=DEBUG | named)
        assert "Start" == answer.headers["x-librarian-plan"]
        own[cell] = answer.headers["x-librarian-conversation"]

    async def go_on(cell: Cell) -> None:
        chat = [HELLO, {"role": "assistant", "content": "Indeed."}]
        for turn in range(3):
            answer = await empty.ask(cell, *chat, says(f"And {turn}?"), headers=DEBUG | named)
            assert "Continue" == answer.headers["x-librarian-plan"]
            assert own[cell] == answer.headers["x-librarian-conversation"]
            assert cell.canary(Kind.PASSAGE) in repr(empty.model.prompts[cell][-1].messages)
            chat += [says(f"And {turn}?"), said(answer)]
        for plan, messages in [
            ("Branch", [*chat[:2], says("Something else?")]),
            ("Start", [says("Good evening.")]),
            ("Rebuild", [says("Never said."), {"role": "assistant", "content": "Never answered."}, HELLO]),
        ]:
            answer = await empty.ask(cell, *messages, headers=DEBUG | named)
            assert plan == answer.headers["x-librarian-plan"]

    cells = CELLS[:: 2 if named else 1]
    await all_at_once(begin, cells)
    await all_at_once(go_on, cells)

    assert len(cells) == len(set(own.values()))
    assert [] == empty.leaks()
    crossing = "SELECT count(*) FROM turn t JOIN turn p ON p.number = t.parent WHERE p.conversation <> t.conversation"
    foreign = "SELECT count(*) FROM turn t JOIN conversation c ON c.id = t.conversation WHERE c.owner <> t.owner"
    assert [(0,), (0,)] == empty.rows(crossing) + empty.rows(foreign)


async def test_twins_who_ask_again_are_told_their_own_answer_again(empty):
    """By the count of a retry: word by word the same request, of everybody; and nothing runs twice."""
    said_first: dict[Cell, str] = {}

    async def ask(cell: Cell, retries: int, act: str, **how):
        headers = {"x-stainless-retry-count": str(retries)}
        return (await empty.ask(cell, HELLO, acts=[act], headers=headers, **how)).json["choices"][0]

    async def first(cell: Cell) -> None:
        said_first[cell] = cell.canary(Kind.ANSWERED)
        assert cell.canary(Kind.ANSWERED) in str(await ask(cell, 0, cell.canary(Kind.ANSWERED)))

    async def again(cell: Cell) -> None:
        for retries in (1, 2):
            assert cell.canary(Kind.ANSWERED) in str(await ask(cell, retries, "Something else."))

    await all_at_once(first)
    turns = empty.rows("SELECT count(*) FROM turn")
    await all_at_once(again)

    assert turns == empty.rows("SELECT count(*) FROM turn")
    assert [] == empty.leaks()


async def test_a_retry_of_nobodys_is_no_other_persons_answer(empty):
    """The first that comes from each says that it is a retry: there is an answer to these words, not theirs."""
    first, *others = [cell for cell in CELLS if cell.person is None and cell.template == "librarian"]
    await empty.ask(first, HELLO, acts=[first.canary(Kind.ANSWERED)])
    for cell in others:
        answer = await empty.ask(cell, HELLO, headers={"x-stainless-retry-count": "1"} | DEBUG)
        assert "Start" == answer.headers["x-librarian-plan"]

    assert [] == empty.leaks()


async def test_one_idempotency_key_in_all_tenants(empty):
    """Each tenant has its own; in one tenant, another person with the same key is refused, and learns no more."""
    once = {"idempotency-key": "the same"}

    async def first(cell: Cell) -> None:
        answer = await empty.ask(cell, HELLO, acts=[cell.canary(Kind.ANSWERED)], headers=once)
        assert 200 == answer.status

    async def other(cell: Cell) -> None:
        for more in ({}, {"x-stainless-retry-count": "1"}, {"x-librarian-conversation": "elsewhere"}):
            answer = await empty.ask(cell, HELLO, headers=once | more)
            assert (409, "idempotency_mismatch") == (answer.status, answer.error["code"])
        completion = await empty.ask(cell, path=COMPLETIONS, prompt="Good morning.", headers=once)
        assert 409 == completion.status

    firsts = [next(cell for cell in CELLS if cell.tenant == tenant) for tenant in range(TENANTS)]
    await all_at_once(first, firsts)
    await all_at_once(other, [cell for cell in CELLS if cell.template == "librarian" and cell not in firsts])
    for cell in firsts:
        again = await empty.ask(cell, HELLO, headers=once)
        assert cell.canary(Kind.ANSWERED) in again.body.decode()

    assert TENANTS == empty.rows("SELECT count(*) FROM turn")[0][0]
    assert [] == empty.leaks()


async def test_pending_calls_are_answered_by_whose_they_are(empty):
    """The same calls with the same ids wait for the same results in every cell; each is shown its own."""

    async def go(cell: Cell) -> None:
        calls = [
            ("archival_memory_insert", {"content": cell.canary(Kind.PASSAGE)}),
            ("get_weather", {"place": "Ghent"}),
        ]
        asked = says("Weather?")
        first = await empty.ask(cell, asked, acts=[calls], tools=[WEATHER])
        (call,) = said(first)["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": "Rain."}
        second = await empty.ask(cell, asked, said(first), result, tools=[WEATHER], headers=DEBUG)
        assert "Resume" == second.headers["x-librarian-plan"]

    await all_at_once(go)

    assert [] == empty.leaks()


async def test_twins_of_one_person_are_told_apart_by_template_only_where_that_is_meant(empty):
    """One person's recall is one, through whichever template; blocks and conversations are each agent's."""
    cells = [cell for cell in CELLS if cell.owner == (0, PEOPLE[0])]
    assert len(TEMPLATES) == len(cells)
    for cell in cells:
        block = [("memory_insert", {"label": "human", "new_string": cell.canary(Kind.BLOCK)})]
        await empty.ask(cell, says(f"The heirloom is {cell.canary(Kind.SAID)}."), acts=[block])
    for cell in cells:
        await empty.ask(cell, says("What is the heirloom?"))
        shown = canaries(repr(empty.model.prompts[cell][-1]))
        assert {(Kind.SAID, one) for one in cells} | {(Kind.BLOCK, cell)} == set(shown)

    assert [] == empty.leaks()
