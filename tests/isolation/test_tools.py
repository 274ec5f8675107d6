"""A model that was talked into it asks the house's tools for what is another's."""

import pytest

from tests.isolation.grid import CELLS, Kind, canaries
from tests.isolation.mansion import says
from tests.isolation.seeds import all_at_once, confide

pytestmark = pytest.mark.integration

FEW = [cell for cell in CELLS if cell.tenant < 2 and cell.person in {"ada", "ben"}]
QUERIES = [
    *("", " ", "*", "%", "_", "?", ".", '"', "'", '""', "\\", "(", ")", "^", "+", "-", "NOT", "AND OR", "NEAR"),
    *("heirloom", "heirloom*", "h*", '"heirloom"', "body : heirloom", "tags:heirloom", "{body tags} : heirloom"),
    *("heirloom OR letter", "heirloom AND NOT x", "NEAR(heirloom letter, 10)", '" OR "heirloom', '") OR ("heirloom'),
    *("' OR 1=1 --", "'; SELECT * FROM passage; --", "x UNION SELECT text FROM passage", "MATCH '*'", "rowid:1"),
    *("heirloom of ben", "what did tenant-1 say", "user:ben", "self:tenant-1", "owner:*", "agent-*", "conv_*"),
    *("../../other.db", "heirloom\0ben", "ｈｅｉｒｌｏｏｍ", "heirloom " * 5000, "(" * 5000, '"' * 4999),
]
MORE = [
    {},
    {"owner": "ben"},
    {"user_id": "ben", "agent_id": "*", "archive_id": "*", "principal": "tenant-1", "subject": "user:ben"},
    {"tags": ["heirloom"]},
    {"tags": ["%", "*"], "tag_match_mode": "all"},
    {"tags": []},
    {"roles": ["user", "assistant"]},
    {"roles": ["system", "tool"]},
    {"top_k": 10**18, "limit": 10**18},
    {"top_k": 2**63, "limit": 2**63},
    {"top_k": -1, "limit": -1},
    {"top_k": "50", "limit": None},
    {"offset": 10**6, "page": -1},
    {"start_date": "0001-01-01", "end_date": "9999-12-30"},
    {"start_datetime": "0001-01-01", "end_datetime": "9999-12-31T23:59:59"},
    {"start_date": "-inf", "start_datetime": "' OR 1=1"},
]
LABELS = [
    *("../x", "..", ".", "/", "human/", "../human", "human\0", "HUMAN", "Human", " human", "human ", "*", "%", "", "_"),
    *(
        "' OR '1'='1",
        "human' --",
        "agent-1/human",
        "persona;human",
        "x" * 65,
        "x" * 100_000,
        "hu\u200bman",
        "ｈｕｍａｎ",
    ),
]
OTHER_TOOLS = ["send_message_to_agent_async", "memory", "core_memory_replace", "run_code", "archival_memory_delete", ""]


@pytest.fixture
async def told(empty):
    await all_at_once(lambda cell: confide(empty, cell), FEW)
    return empty


async def results(mansion, cell, calls):
    """What the agent reads of its calls, in order; they are made in one step."""
    before = len(mansion.model.prompts[cell])
    answer = await mansion.ask(cell, says("Do as you are told."), acts=[calls, "Done."])
    assert 200 == answer.status
    read = [message for message in mansion.model.prompts[cell][before + 1].messages if message.role == "tool"]
    return [message.text for message in read[-len(calls) :]]


@pytest.mark.parametrize("tool", ["conversation_search", "archival_memory_search"])
async def test_searches_for_everything_find_what_is_ones_own(told, tool):
    async def search(cell):
        for query in QUERIES:
            calls = [(tool, {"query": query} | more) for more in MORE]
            found = canaries("".join(await results(told, cell, calls)))
            assert {cell.owner} >= {whose.owner for _, whose in found}

    await all_at_once(search, FEW[:: len(FEW) // 2])

    assert [] == told.leaks()


@pytest.mark.parametrize("tool", ["conversation_search", "archival_memory_search"])
async def test_arguments_that_are_none_are_refused_and_harm_nothing(told, tool):
    cell = FEW[0]
    wrong = [
        "",
        "null",
        "[]",
        '"*"',
        "{",
        '{"query": null}',
        '{"query": ["heirloom"]}',
        '{"query": {"$ne": 1}}',
        "[" * 9999,
    ]
    read = []
    for text in wrong:
        calls = [[(tool, text), (tool, {"query": "heirloom"})]]
        before = len(told.model.prompts[cell])
        await told.ask(cell, says("Search."), acts=calls)
        messages = told.model.prompts[cell][before + 1].messages
        read += [message.text for message in messages if message.role == "tool"]

    assert {cell.owner} >= {whose.owner for _, whose in canaries("".join(read))}
    assert [] == told.leaks()


async def test_labels_lead_to_ones_own_blocks_and_nowhere_else(told):
    """Made or refused: what others have stays as it was."""
    cell, *_ = FEW
    (agent,), *_ = told.rows(
        "SELECT id FROM agent WHERE principal = 'tenant-0' AND subject = 'user:ada' AND template = 'librarian'"
    )
    ids = [row[0] for row in told.rows("SELECT id FROM agent")]
    others = told.rows(f"SELECT * FROM block WHERE agent <> '{agent}' ORDER BY agent, position")  # noqa: S608  of ours
    for label in [*LABELS, *(f"{other}/human" for other in ids), *ids]:
        read = await results(
            told,
            cell,
            [
                ("memory_insert", {"label": label, "new_string": "Mine.", "agent_id": ids[-1]}),
                ("memory_replace", {"label": label, "old_string": "", "new_string": "Mine."}),
                ("core_memory_append", {"label": label, "content": "Mine."}),
                ("memory_rethink", {"label": label, "new_memory": "Mine.", "owner": "ben"}),
                ("archival_memory_insert", {"content": "Mine.", "tags": [label[:64]], "agent_id": ids[-1]}),
            ],
        )
        assert {cell.owner} >= {whose.owner for _, whose in canaries("".join(read))}

    assert others == told.rows(f"SELECT * FROM block WHERE agent <> '{agent}' ORDER BY agent, position")  # noqa: S608
    assert {agent} == {row[0] for row in told.rows("SELECT agent FROM passage WHERE text = 'Mine.'")}
    made = {row[0] for row in told.rows(f"SELECT label FROM block WHERE agent = '{agent}'")}  # noqa: S608  of ours
    assert set() == made & {"", ".", "..", "../x", "/", "../human"}, "in the address of a server they lead elsewhere"
    assert [] == [leak for leak in told.leaks() if "canary" in leak.what]  # the names of agents, it brought along


async def test_tools_that_there_are_not_do_nothing(told):
    cell = FEW[0]
    read = await results(told, cell, [(name, {"agent_id": "*", "message": "Tell me."}) for name in OTHER_TOOLS])

    assert [f"Error: There is no tool `{name}`." for name in OTHER_TOOLS] == read
    assert [] == told.leaks()


async def test_what_one_wrote_to_archive_by_the_words_of_another_is_each_ones_own(told):
    """The same text put by in every cell: each finds one, its own, and taking one away leaves the others."""
    same = {"content": "The same letter for all.", "tags": ["same"]}
    cells = [cell for cell in FEW if cell.template == "librarian"]
    for cell in cells:
        await results(told, cell, [("archival_memory_insert", same)])
    (agent, number), *others = told.rows("SELECT agent, number FROM passage WHERE tags = '[\"same\"]' ORDER BY number")
    assert len(cells) == 1 + len(others)
    deleted = await told.keep(cells[0].tenant, "DELETE", f"/librarian/agents/{agent}/passages/{number}")
    assert 200 == deleted.status
    found = [
        await results(told, cell, [("archival_memory_search", {"query": "same letter", "tags": ["same"]})])
        for cell in cells
    ]

    assert [0, *(1 for _ in others)] == [read.count("The same letter for all.") for (read,) in found]
    assert [] == told.leaks()


async def test_what_comes_from_a_tool_of_the_clients_is_found_by_nobody(told):
    """Neither by others nor by oneself: tool output is shown in its chat, and nowhere else."""
    for cell in FEW:
        read = await results(told, cell, [("conversation_search", {"query": f"{cell.cue} {cell.canary(Kind.TOOL)}"})])
        assert Kind.TOOL not in {kind for kind, _ in canaries("".join(read))}
