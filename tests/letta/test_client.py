"""The adapter's lower half against a real Letta: what it says, what is kept, and what its model hears."""

import asyncio
import base64
import json
import subprocess
from contextlib import aclosing

import pytest

from librarian.adapters.letta import sampling, wire
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import AlreadyThere, Gone, Missing, NotPending, Pending
from librarian.adapters.letta.events import ContextCompacted
from librarian.domain.errors import (
    AgentUnavailable,
    InvalidRequest,
    LibrarianError,
    TurnFailed,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamTimedOut,
)
from librarian.domain.prompt import PLAIN_SAMPLING, Sampling
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import Image, Message, Role, ToolCall, assistant, user
from librarian.domain.turn import Reasoned, StopReason, TextSpoken, ToolCalled, ToolReturned, Usage
from scripts.letta import environment
from tests.scripted.server import Gate

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

MODEL = "openai-proxy/gpt-4o-mini"
EMBEDDING = "openai/text-embedding-3-small"
SETTINGS = sampling.chosen(MODEL, "openai", PLAIN_SAMPLING).model_settings
TOOLS = (
    ToolSpec("get_weather", "The weather.", '{"type": "object", "properties": {"place": {"type": "string"}}}'),
    ToolSpec("now"),
)
DOUBLE = '''
def double(number: int) -> int:
    """Twice a number.

    Args:
        number (int): The number.
    """
    return 2 * number
'''
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def client(letta):
    client = LettaClient(letta.base_url, letta.password, first_event_s=60)
    yield client
    await client.aclose()


@pytest.fixture
async def agent(client):
    agent = await new_agent(client)
    yield agent.id
    await client.conversations.aclose()
    await client.agents.delete(agent.id)


async def new_agent(client, **details):
    blocks = [{"label": "human", "value": "Name: Ada", "limit": 50}]
    return await client.agents.create(
        **{"name": "ada", "model": MODEL, "embedding": EMBEDDING, "system": "Own.", "blocks": blocks} | details
    )


async def new_thread(client, agent, settings=SETTINGS):
    return (await client.conversations.create(agent, model=MODEL, model_settings=settings)).id


async def told(client, thread, *messages, reader=None, **turn):
    return await heard(client, thread, wire.turn(wire.said(messages), **turn), reader)


async def heard(client, thread, body, reader=None):
    async with asyncio.timeout(60), aclosing(client.send(thread, body, reader)) as events:
        return [event async for event in events]


async def refused(work):
    with pytest.raises(LibrarianError) as error:
        await work
    return error.value


async def kept(client, thread):
    """The ids of what is in its context, without the system message."""
    await client.conversations.settled(thread)
    return (await client.conversations.get(thread)).in_context_message_ids[1:]


def text_of(events):
    return "".join(fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments)


def spoken(asked):
    return [(message["role"], message["content"]) for message in asked.messages]


async def test_its_health_and_models(client):
    assert "0.16.8" == (await client.health()).version
    assert (MODEL, "openai", 128_000) in [
        (one.handle, one.provider_type, one.window_tokens) for one in await client.models()
    ]
    assert EMBEDDING in [one.handle for one in await client.embedding_models()]


async def test_an_agent_is_made_found_changed_and_gone(client):
    made = await new_agent(client, tags=["librarian", "subject:ada"], window_tokens=20_000)

    assert ([], 20_000) == (made.tools, made.llm_config.context_window)
    assert made.id in [one.id for one in await client.agents.find(["librarian", "subject:ada"])]
    assert [] == await client.agents.find(["librarian", "subject:nobody"])

    await client.agents.patch(made.id, tags=["retired"], metadata={"why": "age"})
    found = await client.agents.get(made.id)
    assert (["retired"], {"why": "age"}, MODEL) == (found.tags, found.metadata, found.model)

    await client.agents.delete(made.id)
    assert Missing.AGENT is (await refused(client.agents.get(made.id))).what


async def test_what_is_not_there(client, agent):
    assert Missing.AGENT is (await refused(client.conversations.create(f"agent-{NOBODY}"))).what
    assert Missing.CONVERSATION is (await refused(client.conversations.get(f"conv-{NOBODY}"))).what
    assert Missing.CONVERSATION is (await refused(told(client, f"conv-{NOBODY}", user("Hi.")))).what
    assert Missing.HANDLE is (await refused(new_agent(client, model="nope/x"))).what
    assert Missing.HANDLE is (await refused(new_agent(client, embedding="nope/x"))).what
    assert Missing.HANDLE is (await refused(client.agents.generate(agent, "Hi.", model="nope/x"))).what
    assert Missing.OTHER is (await refused(client.memory.block(agent, "nope"))).what

    thread = (await client.conversations.create(agent, model="openai-proxy/gone", model_settings=SETTINGS)).id
    gone = await refused(told(client, thread, user("Hi.")))
    assert (Missing.HANDLE, "openai-proxy/gone") == (gone.what, gone.name)

    await client.conversations.delete(thread)
    assert Missing.CONVERSATION is (await refused(told(client, thread, user("Hi.")))).what


async def test_a_plain_turn(client, agent, letta):
    thread = await new_thread(client, agent)
    letta.model.say("the ", "answer", reasoning="let me see")
    reader = client.conversations.reader()

    events = await told(client, thread, user("hello"), reader=reader)

    assert "the answer" == text_of(events)
    assert "let me see" == "".join(text for event in events if isinstance(event, Reasoned) for text in event.fragments)
    assert (StopReason.END_OF_TURN, Usage(11, 7)) == (events[-1].reason, events[-1].usage)
    assert reader.run_id.startswith("run-")
    assert (True, True, 18) == (reader.began, reader.over, reader.context_tokens)
    assert 2 == len(await kept(client, thread))


async def test_the_system_message_is_ours_alone(client, agent, letta):
    thread = await new_thread(client, agent)
    letta.model.call("now", {})

    await told(client, thread, user("Time?"), system="Be brief.", tools=TOOLS)
    results = wire.returned([wire.Result("call_now_0", ("noon",))])
    await heard(client, thread, wire.turn([results], system="Be brief.", tools=TOOLS))

    for asked in letta.model.requests:
        assert ("system", "Be brief.") == spoken(asked)[0]
        assert "Ada" not in json.dumps(asked.messages)


async def test_a_transcript_is_told_in_one_turn(client, agent, letta):
    thread = await new_thread(client, agent)
    seed = [user("one"), assistant("two"), Message(Role.SYSTEM, "three"), assistant(""), user("five")]

    await told(client, thread, *seed, system="Be.")

    (asked,) = letta.model.requests
    assert [
        ("system", "Be."),
        ("user", "one"),
        ("assistant", "two"),
        ("system", "three"),
        ("assistant", " "),
        ("user", "five"),
    ] == spoken(asked)
    assert 6 == len(await kept(client, thread))


async def test_earlier_calls_are_told_as_a_record(client, agent, letta):
    thread = await new_thread(client, agent)
    call = ToolCall("c1", "get_weather", '{"place": "Paris"}')

    await told(client, thread, user("Weather?"), assistant("", (call,)), Message(Role.TOOL, "sunny", answers="c1"))

    (asked,) = letta.model.requests
    assert ["system", "user", "user"] == [message["role"] for message in asked.messages]
    assert "sunny" in asked.messages[-1]["content"]


async def test_a_picture_reaches_the_model(client, agent, letta):
    thread = await new_thread(client, agent)
    url = f"data:image/png;base64,{base64.b64encode(b'png').decode()}"

    await told(client, thread, Message(Role.USER, "Look:", ("Look:", Image(url))))

    (asked,) = letta.model.requests
    text, picture = asked.messages[-1]["content"]
    assert "Look:" == text["text"]
    assert url == picture["image_url"]["url"]


async def test_calls_of_the_clients_and_what_they_returned(client, agent, letta):
    thread = await new_thread(client, agent)
    letta.model.calls(("get_weather", {"place": "Paris"}), ("now", "{}"))

    events = await told(client, thread, user("Weather?"), tools=TOOLS)

    calls = [event for event in events if isinstance(event, ToolCalled) and event.name]
    assert [(0, "call_get_weather_0", "get_weather"), (1, "call_now_1", "now")] == [
        (call.index, call.id, call.name) for call in calls
    ]
    arguments = "".join(event.arguments for event in events if isinstance(event, ToolCalled) and event.index == 0)
    assert {"place": "Paris"} == json.loads(arguments)
    assert StopReason.TOOL_CALLS is events[-1].reason
    (asked,) = letta.model.requests
    assert asked.body["parallel_tool_calls"] is True
    functions = [tool["function"] for tool in asked.body["tools"]]
    assert [("get_weather", "The weather."), ("now", "")] == [(one["name"], one["description"]) for one in functions]

    results = [wire.Result("call_now_1", ("",)), wire.Result("call_get_weather_0", ("sunny 21C",))]
    body = wire.turn([wire.returned(results), *wire.said([user("And?")])], tools=TOOLS)
    assert "echo: And?" == text_of(await heard(client, thread, body))

    assert [("call_now_1", " "), ("call_get_weather_0", "sunny 21C")] == [
        (message["tool_call_id"], message["content"])
        for message in letta.model.requests[-1].messages
        if message["role"] == "tool"
    ]


async def test_a_thread_that_waits_takes_nothing_else(client, agent, letta):
    thread = await new_thread(client, agent)
    letta.model.calls(("get_weather", {}), ("now", {}))
    await told(client, thread, user("Weather?"), tools=TOOLS)

    assert isinstance(await refused(told(client, thread, user("Never mind."))), Pending)
    partly = wire.turn([wire.returned([wire.Result("call_now_1", ("noon",))])])
    assert isinstance(await refused(heard(client, thread, partly)), NotPending)
    (newest, *_) = [one for one in await client.conversations.messages(thread, most=2) if one.calls]
    assert ["call_get_weather_0", "call_now_1"] == [call.tool_call_id for call in newest.calls]

    denied = wire.denied(["call_get_weather_0", "call_now_1"], "The reader went on.")
    events = await heard(client, thread, wire.turn([denied, *wire.said([user("Never mind.")])], tools=TOOLS))

    assert "echo: Never mind." == text_of(events)
    assert 2 == len(letta.model.requests)
    again = wire.turn([wire.returned([wire.Result("call_other", ("noon",))])])
    assert isinstance(await refused(heard(client, thread, again)), NotPending)


async def test_a_tool_that_letta_runs(client, agent, letta):
    tool = await client.tools.upsert(DOUBLE, tags=["librarian"])
    assert tool.id == (await client.tools.upsert(DOUBLE)).id
    assert [tool.id] == [one.id for one in await client.tools.named(["double"])]
    await client.tools.attach(agent, tool.id)
    await client.tools.attach(agent, tool.id)
    assert ["double"] == [one.name for one in await client.tools.of_agent(agent)]
    letta.model.stream(
        {"content": "Let me count."},
        {"tool_calls": [{"index": 0, "id": "t1", "function": {"name": "double", "arguments": '{"number": 21}'}}]},
        finish="tool_calls",
    )
    letta.model.say("It is 42.")

    events = await told(client, await new_thread(client, agent), user("21 twice?"))

    assert "Let me count.\n\nIt is 42." == text_of(events)
    assert [ToolReturned("t1", "double", succeeded=True)] == [one for one in events if isinstance(one, ToolReturned)]
    assert not [event for event in events if isinstance(event, ToolCalled)]
    assert Usage(22, 14) == events[-1].usage

    await client.tools.detach(agent, tool.id)
    assert [] == await client.tools.of_agent(agent)
    await client.tools.delete(tool.id)
    assert [] == await client.tools.named(["double"])


async def test_no_mcp_server_of_this_machine(client):
    """Letta takes no address that is not public, and as it comes, none that it would start itself."""
    assert [] == await client.tools.mcp_servers()
    by_address = {"mcp_server_type": "streamable_http", "server_url": "http://127.0.0.1:9/mcp"}
    started = {"mcp_server_type": "stdio", "command": "false", "args": []}

    for config in (by_address, started):
        assert isinstance(await refused(client.tools.add_mcp_server("near", config)), TurnFailed)


async def test_a_fork_and_a_branch(client, agent, letta):
    thread = await new_thread(client, agent)
    await told(client, thread, user("one"))
    await told(client, thread, user("two"))
    ids = await kept(client, thread)
    own = (await client.agents.get(agent)).message_ids

    fork = await client.conversations.fork(thread)
    assert (MODEL, ids) == (fork.model, await kept(client, fork.id))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(client.agents.branch(agent, ids[:2]))
        whole = group.create_task(client.agents.branch(agent, ids))

    assert (ids[:2], ids) == tuple(one.result().in_context_message_ids[1:] for one in (first, whole))
    assert own == (await client.agents.get(agent)).message_ids
    branch = first.result()
    assert branch.model is None
    await client.conversations.patch(branch.id, model=MODEL, model_settings=SETTINGS)
    await told(client, branch.id, user("three"), system="Be.")

    assert [
        ("system", "Be."),
        ("user", "one"),
        ("assistant", "echo: one"),
        ("user", "three"),
    ] == spoken(letta.model.requests[-1])
    assert ids == await kept(client, thread)


async def test_a_branch_out_of_a_pending_call(client, agent, letta):
    thread = await new_thread(client, agent)
    await told(client, thread, user("one"))
    ids = await kept(client, thread)
    letta.model.call("now", {})
    await told(client, thread, user("Time?"), tools=TOOLS)

    branch = await client.agents.branch(agent, ids)

    assert "echo: Never mind." == text_of(await told(client, branch.id, user("Never mind.")))


async def test_a_branch_of_another_agents_messages(client, agent, letta):
    other = await new_agent(client)
    thread = await new_thread(client, other.id)
    await told(client, thread, user("one"))

    branch = await client.agents.branch(agent, await kept(client, thread))
    await told(client, branch.id, user("two"))

    assert ("user", "one") in spoken(letta.model.requests[-1])
    await client.agents.delete(other.id)


async def test_a_branch_at_a_message_that_is_gone(client, agent):
    own = (await client.agents.get(agent)).message_ids

    gone = await refused(client.agents.branch(agent, [f"message-{NOBODY}"]))

    assert (Gone, Missing.MESSAGE) == (type(gone), gone.what)
    assert own == (await client.agents.get(agent)).message_ids


async def test_of_a_turn_closed_in_time_nothing_is_kept(client, agent, letta):
    thread = await new_thread(client, agent)
    gate = Gate()
    letta.model.say("One ", gate, "two ", "three.")

    async with aclosing(client.send(thread, wire.turn(wire.said([user("Count.")])))) as events:
        assert TextSpoken(["One "]) == await anext(events)
    await client.conversations.settled(thread)
    gate.open()
    assert await asyncio.to_thread(letta.model.requests[0].answered.wait, 10)

    assert [] == await kept(client, thread)
    assert not await client.conversations.cancel(thread)
    assert "echo: Again." == text_of(await told(client, thread, user("Again.")))
    assert [("user", "Again.")] == spoken(letta.model.requests[-1])[1:]


async def test_a_model_that_hangs(letta, agent):
    client = LettaClient(letta.base_url, letta.password, first_event_s=60, idle_s=1)
    thread = await new_thread(client, agent)
    letta.model.hang(after="One ")

    error = await refused(told(client, thread, user("Count.")))

    assert (UpstreamTimedOut, 1) == (type(error), error.waited_s)
    assert [] == await kept(client, thread)
    await client.aclose()


@pytest.mark.parametrize(
    ("fails", "kind"),
    [([401], UpstreamRefused), ([429] * 3, UpstreamBusy), ([500] * 3, UpstreamRefused), ([400], InvalidRequest)],
)
async def test_a_first_step_that_fails_leaves_no_trace(client, agent, letta, fails, kind):
    """Letta tries thrice where it may help."""
    thread = await new_thread(client, agent)
    for status in fails:
        letta.model.fail(status, "It is the key sk-0123456789abcdef.")

    error = await refused(told(client, thread, user("Hi.")))

    assert kind is type(error)
    assert not getattr(error, "heard", False)
    assert "sk-" not in str(error)
    assert [] == await kept(client, thread)
    assert len(fails) == len(letta.model.requests)


async def test_a_window_that_overflows(client, agent, letta):
    thread = await new_thread(client, agent)
    for _ in range(8):
        letta.model.fail(400, "This model's maximum context length is 128000 tokens.", code="context_length_exceeded")

    error = await refused(told(client, thread, user("Hi.")))

    assert (InvalidRequest, "context_length_exceeded") == (type(error), error.code)


async def test_a_model_that_breaks_off(client, agent, letta):
    thread = await new_thread(client, agent)
    letta.model.break_off(after="Half")

    error = await refused(told(client, thread, user("Hi.")))

    assert isinstance(error, UpstreamRefused)
    assert error.heard
    assert [] == await kept(client, thread)


async def test_a_model_that_says_nothing(client, agent, letta):
    thread = await new_thread(client, agent)
    letta.model.say()

    events = await told(client, thread, user("Hi."))

    assert [StopReason.END_OF_TURN] == [event.reason for event in events]
    assert 1 == len(await kept(client, thread))


async def test_the_choice_of_words(client, agent, letta):
    asked = Sampling(5, {"temperature": b"0.25", "response_format": b'{"type": "json_object"}', "seed": b"1"})
    choice = sampling.chosen(MODEL, "openai", asked)
    thread = await new_thread(client, agent)
    await told(client, thread, user("one"), tools=TOOLS)
    await client.conversations.patch(thread, model=MODEL, model_settings=choice.model_settings)
    letta.model.say("abc", finish="length", usage=(11, 5))

    events = await told(client, thread, user("two"), reader=client.conversations.reader(choice.most_tokens))

    assert StopReason.LENGTH is events[-1].reason
    before, after = (one.body for one in letta.model.requests)
    assert (1.0, True, False) == (before["temperature"], before["parallel_tool_calls"], "response_format" in before)
    assert "reasoning_effort" not in before
    assert (0.25, 5, {"type": "json_object"}) == (
        after["temperature"],
        after["max_completion_tokens"],
        after["response_format"],
    )


async def test_a_preview_is_what_would_be_sent(client, agent, letta):
    settings = sampling.chosen(MODEL, "openai", Sampling(5, {"temperature": b"0.25"})).model_settings
    thread = await new_thread(client, agent, settings)

    preview = await client.conversations.preview(thread, wire.turn(wire.said([user("Hi.")]), system="Be."))

    assert (0.25, 5) == (preview["temperature"], preview["max_completion_tokens"])
    assert ["Be.", "Hi."] == [message["content"] for message in preview["messages"]]
    assert [] == letta.model.requests


READ_SETTINGS = """
import json, sys
from pydantic import TypeAdapter
from letta.schemas.model import ModelSettingsUnion
for settings in json.load(sys.stdin):
    read = TypeAdapter(ModelSettingsUnion).validate_python(settings)
    read._to_legacy_config_params()
    fields = set(type(read).model_fields)
    print("read", *sorted(fields - read.model_fields_set), *(f"+{name}" for name in set(settings) - fields))
"""


def test_lettas_own_classes_find_nothing_left_out(letta_server):
    """Whatever a class would fill in by itself is said already, but for a limit that nobody set."""
    handles = [
        ("openai-proxy/gpt-4o-mini", "openai"),
        ("openai/gpt-5", "openai"),
        ("ollama/llama3", "openai"),
        ("anthropic/claude-3-haiku-20240307", "anthropic"),
        ("google_ai/gemini-2.0-flash", "google_ai"),
        *(
            (f"{name}/model", name)
            for name in ("sglang", "google_vertex", "azure", "xai", "groq", "deepseek", "together")
        ),
        *(
            (f"{name}/model", name)
            for name in ("bedrock", "baseten", "openrouter", "chatgpt_oauth", "zai", "zai_coding")
        ),
        *((f"{name}/model", name) for name in ("fireworks", "mistral", "vllm")),
    ]
    passed = {"temperature": b"0.5", "reasoning_effort": b'"high"', "response_format": b'{"type": "json_object"}'}
    plain = [sampling.chosen(*handle, PLAIN_SAMPLING).model_settings for handle in handles]
    full = [sampling.chosen(*handle, Sampling(50, passed)).model_settings for handle in handles]

    run = subprocess.run(
        [environment.PYTHON, "-c", READ_SETTINGS],
        input=json.dumps(plain + full),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert 0 == run.returncode, run.stderr[-2000:]
    said = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("read")]
    assert [["max_output_tokens"]] * len(handles) + [[]] * len(handles) == said


async def test_a_compaction_is_seen(client, letta):
    agent = await new_agent(client, window_tokens=5000)
    thread = await new_thread(client, agent.id)
    for word in ("one", "two", "three", "four"):
        await told(client, thread, user(word))
    before = await kept(client, thread)
    letta.model.say("Indeed.", usage=(4600, 10))
    letta.model.say("They counted.")
    reader = client.conversations.reader()

    events = await told(client, thread, user("five"), reader=reader)

    assert "Indeed." == text_of(events)
    assert [ContextCompacted()] == [event for event in events if isinstance(event, ContextCompacted)]
    assert reader.compacted
    after = await kept(client, thread)
    assert set(before) - set(after)
    branch = await client.agents.branch(agent.id, before)
    assert before == branch.in_context_message_ids[1:]

    summarised = await client.conversations.compact(thread, model=MODEL, mode="all")
    assert summarised.num_messages_after < summarised.num_messages_before
    await client.agents.delete(agent.id)


async def test_a_system_message_is_compiled(client, agent):
    thread = await new_thread(client, agent)
    await client.memory.patch_block(agent, "human", value="Name: Grace")

    assert "Name: Grace" in await client.conversations.recompile(thread, dry_run=True)
    assert "Name: Grace" in await client.conversations.recompile(thread)


async def test_a_completion_without_memory(client, agent, letta):
    generated = await client.agents.generate(agent, "A title?", system="Titles only.")

    assert ("echo: A title?", 11, 7) == (
        generated.content,
        generated.usage.prompt_tokens,
        generated.usage.completion_tokens,
    )
    assert [("system", "Titles only."), ("user", "A title?")] == spoken(letta.model.requests[0])

    letta.model.fail(401)
    assert isinstance(await refused(client.agents.generate(agent, "A title?")), UpstreamRefused)


async def test_blocks(client, agent):
    (human,) = await client.memory.blocks(agent)
    assert ("human", "Name: Ada", 50) == (human.label, human.value, human.limit)

    changed = await client.memory.patch_block(agent, "human", value="x" * 60)
    assert ("x" * 60, 50) == (changed.value, changed.limit)  # the limit is ours to keep

    notes = await client.memory.add_block(agent, "notes", "n", limit_chars=100, description="Notes.")
    assert isinstance(await refused(client.memory.add_block(agent, "notes", "m", limit_chars=100)), AlreadyThere)
    assert ("n", "Notes.") == ((block := await client.memory.block(agent, "notes")).value, block.description)

    other = await new_agent(client, block_ids=[notes.id], blocks=[])
    await client.memory.patch_block(other.id, "notes", value="shared")
    assert "shared" == (await client.memory.block(agent, "notes")).value

    await client.memory.detach_block(agent, notes.id)
    assert ["human"] == [block.label for block in await client.memory.blocks(agent)]
    await client.agents.delete(other.id)
    await client.memory.delete_block(notes.id)


async def test_the_archive(client, agent):
    archive = await client.memory.create_archive("Ada's", embedding=EMBEDDING)
    await client.memory.attach_archive(agent, archive.id)
    assert [archive.id] == [one.id for one in await client.memory.archives(agent)]
    second = await client.memory.create_archive("Another", embedding=EMBEDDING)
    assert isinstance(await refused(client.memory.attach_archive(agent, second.id)), AlreadyThere)

    cat = await client.memory.put_by(agent, "The cat is called Bertrand.", ["cat"])
    dog = await client.memory.put_by(agent, "The dog is called Ludwig.", ["dog", "pets"])

    assert {cat.id, dog.id} == {one.id for one in await client.memory.search(agent, "animals")}
    (found,) = await client.memory.search(agent, "animals", tags=["dog", "pets"], all_tags=True)
    assert ("The dog is called Ludwig.", ["dog", "pets"]) == (found.content, sorted(found.tags))
    assert ["cat"] == (await client.memory.passages(agent))[0].tags

    await client.memory.delete_passage(agent, cat.id)
    assert [dog.id] == [one.id for one in await client.memory.passages(agent)]
    await client.memory.delete_archive(second.id)


async def test_threads_are_listed_marked_and_found(client, agent):
    thread = (await client.conversations.create(agent, summary="librarian:conv_1")).id
    body = wire.turn(wire.said([user("Hi.")]), otid="turn_1")

    await heard(client, thread, body)

    assert [(thread, "librarian:conv_1")] == [
        (one.id, one.summary) for one in await client.conversations.of_agent(agent)
    ]
    assert ["turn_1"] == [
        one.otid for one in await client.conversations.messages(thread) if one.message_type == "user_message"
    ]


async def test_a_server_that_is_killed_in_the_middle(client, letta):
    agent = await new_agent(client)
    thread = await new_thread(client, agent.id)
    letta.model.say("One ", Gate())

    async with aclosing(client.send(thread, wire.turn(wire.said([user("Count.")])))) as events:
        await anext(events)
        letta.kill()
        broken = await refused(anext(events))
    await client.conversations.settled(thread)
    absent = await refused(client.health())
    letta.start()

    assert [(AgentUnavailable, True), (AgentUnavailable, False)] == [(type(one), one.heard) for one in (broken, absent)]
    assert [] == await kept(client, thread)
    assert "echo: Again." == text_of(await told(client, thread, user("Again.")))
