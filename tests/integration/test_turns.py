"""Turns through the whole application, on a real store, before a scripted model."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest
from dependency_injector import providers

from librarian.application.converse import Ask
from librarian.application.ports.memory import AgentKey
from librarian.container import House
from librarian.domain.catalog import ModelCard
from librarian.domain.conversation import TurnId
from librarian.domain.errors import (
    ContextOverflow,
    InvalidRequest,
    PoolExhausted,
    StoreUnavailable,
    TurnFailed,
    UnknownAgent,
    UnknownTurn,
    UpstreamRefused,
)
from librarian.domain.identity import LOCAL, Principal, PrincipalId, Purpose, owner_of
from librarian.domain.memory import PATTERN_TAG, Append, Author, Provenance
from librarian.domain.prompt import DEFAULT_BLOCKS, PERSONA, Sampling
from librarian.domain.recall import Search, Shelf
from librarian.domain.tools import ClientTools, ToolChoice, ToolSpec, ToolUse
from librarian.domain.transcript import Message, Role, ToolCall, Transcript, assistant, user
from librarian.domain.turn import (
    Collected,
    Compacted,
    MemoryChanged,
    StepEnded,
    StopReason,
    TextSpoken,
    ToolCalled,
    ToolReturned,
    TurnBegan,
    TurnEnded,
    Usage,
    collected,
)
from librarian.settings import Settings
from librarian.testing import ScriptedModel
from tests.fakes.overheard import Overheard, called, ended

pytestmark = pytest.mark.integration
WEATHER = ToolSpec("get_weather", "Weather.", '{"type":"object"}')
OWNER = owner_of(LOCAL)


@pytest.fixture
def model():
    return Overheard(ScriptedModel())


@pytest.fixture
async def opened(tmp_path, model):
    houses = []

    def make(**settings):
        house = House(settings=Settings(_env_file=None, data_dir=tmp_path, **settings))
        house.model.override(providers.Object(model))
        houses.append(house)
        return house

    yield make
    for house in houses:
        await house.lifetime().aclose()


@pytest.fixture
def house(opened):
    return opened()


def ask(*spoken, **more):
    return Ask(model="librarian", transcript=Transcript(spoken), **more)


async def taken(house, *spoken, **more):
    async with aclosing(house.converse()(ask(*spoken, **more))) as events:
        return [event async for event in events]


async def human(house):
    memory = house.memory()
    agent = await memory.agent(AgentKey("librarian", OWNER), DEFAULT_BLOCKS)
    return next(block.value for block in await memory.blocks(agent) if block.label == "human")


def note(fact, call_id="call_1", index=0):
    return ToolCalled(index, call_id, "memory_insert", json.dumps({"label": "human", "new_string": fact}))


def shown(prompt):
    return [(message.role, message.text) for message in prompt.messages]


async def test_a_turn_begins_once_and_ends_once(house):
    events = await taken(house, user("Hello."))

    assert [TurnBegan] == [type(event) for event in events if isinstance(event, TurnBegan)]
    assert isinstance(events[0], TurnBegan)
    assert [TurnEnded] == [type(event) for event in events if isinstance(event, TurnEnded)]
    assert isinstance(events[-1], TurnEnded)


async def test_what_was_noted_before_is_shown_beside_the_next_turn(house, model):
    model.acts += [[note("Ada"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    await taken(house, user("I am Ada."))
    await taken(house, user("I am Ada."), assistant("Noted."), user("Who am I?"))

    first, call, result, answer, last = model.prompts[-1].messages
    assert (user("I am Ada."), assistant("Noted."), user("Who am I?")) == (first, answer, last)
    assert ("memory_insert",) == tuple(c.name for c in call.calls)
    assert (Role.TOOL, "call_1") == (result.role, result.answers)


async def test_a_rebuilt_history_is_shown_as_the_client_sent_it(house, model):
    model.acts += [[note("Ada"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    await taken(house, user("I am Ada."))
    events = await taken(house, user("I am Ada."), assistant("Something else."), user("Who am I?"))

    assert "Rebuild" == events[0].plan
    assert [(Role.USER, "I am Ada."), (Role.ASSISTANT, "Something else."), (Role.USER, "Who am I?")] == shown(
        model.prompts[-1]
    )


async def test_same_call_ids_in_two_steps_are_two_calls(house, model):
    model.acts += [
        [note("tea"), ended(StopReason.TOOL_CALLS)],
        [note("rain"), ended(StopReason.TOOL_CALLS)],
        [TextSpoken(("Noted.",)), ended()],
    ]
    await taken(house, user("I like tea and rain."))

    assert "tea\nrain" == await human(house)


async def test_words_before_and_after_a_tool_are_parted(house, model):
    model.acts += [
        [TextSpoken(("Let me see.",)), note("tea"), ended(StopReason.TOOL_CALLS)],
        [TextSpoken(("Noted.",)), ended()],
    ]

    reply = await collected(house.converse()(ask(user("I like tea."))))

    assert "Let me see.\n\nNoted." == reply.text


async def test_usage_is_that_of_all_steps(house, model):
    model.acts += [[note("tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]

    events = await taken(house, user("I like tea."))

    assert Usage(22, 14) == events[-1].usage


async def test_usage_is_counted_where_the_upstream_does_not(house, model):
    model.acts.append([TextSpoken(("hello world",)), StepEnded(StopReason.END_OF_TURN, None)])

    usage = (await taken(house, user("Hello.")))[-1].usage

    assert 2 == usage.output_tokens
    assert usage.input_tokens > 300


async def test_an_agent_that_only_calls_is_made_to_speak(opened, model):
    house = opened(engine={"most_steps": 3})
    model.acts += [[note(str(n)), ended(StopReason.TOOL_CALLS)] for n in range(2)]
    model.acts.append([TextSpoken(("Enough.",)), ended()])

    assert "Enough." == (await collected(house.converse()(ask(user("Go."))))).text
    assert [True, True, False] == [bool(prompt.tools) for prompt in model.prompts]


async def test_a_call_of_a_tool_that_nobody_has_is_answered_not_passed_on(house, model):
    model.acts += [[called("rm", "{}"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Sorry.",)), ended()]]

    reply = await collected(house.converse()(ask(user("Go."))))

    assert ("Sorry.", ()) == (reply.text, reply.calls)
    assert "Error: There is no tool `rm`." == model.prompts[-1].messages[-1].text


async def test_a_demanded_call_is_one_of_the_clients(house, model):
    tools = ClientTools((WEATHER,), ToolChoice(ToolUse.REQUIRED))
    model.acts.append([called("get_weather", "{}"), ended(StopReason.TOOL_CALLS)])

    await taken(house, user("Go."), tools=tools)

    assert (WEATHER,) == tuple(model.prompts[0].tools)
    assert ToolUse.REQUIRED is model.prompts[0].choice.use


async def test_forbidden_tools_are_not_offered(house, model):
    await taken(house, user("Go."), tools=ClientTools((WEATHER,), ToolChoice(ToolUse.NONE)))

    assert "get_weather" not in [spec.name for spec in model.prompts[0].tools]
    assert "memory_insert" in [spec.name for spec in model.prompts[0].tools]


async def test_a_tool_of_the_clients_takes_the_name_of_ours(house, model):
    theirs = ToolSpec("memory_insert", "Theirs.")
    model.acts.append([called("memory_insert", "{}"), ended(StopReason.TOOL_CALLS)])

    reply = await collected(house.converse()(ask(user("Go."), tools=ClientTools((theirs,)))))

    assert ["memory_insert"] == [call.name for call in reply.calls]
    assert [theirs] == [spec for spec in model.prompts[0].tools if spec.name == "memory_insert"]


async def test_both_kinds_of_calls_in_one_step(house, model):
    model.acts.append(
        [
            note("Paris", "a", 0),
            ToolCalled(1, "b", "get_weather", '{"pla'),
            ToolCalled(1, "", "", 'ce": "Paris"}'),
            ended(StopReason.TOOL_CALLS),
        ]
    )
    tools = ClientTools((WEATHER,))

    reply = await collected(house.converse()(ask(user("Weather?"), tools=tools)))
    answers = [reply, Message(Role.TOOL, "sunny", answers="b")]
    await taken(house, user("Weather?"), *answers, tools=tools)

    assert (ToolCall("b", "get_weather", '{"place": "Paris"}'),) == reply.calls
    assert "Paris" == await human(house)
    roles = [message.role for message in model.prompts[-1].messages]
    assert [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.TOOL] == roles


async def test_a_failed_turn_takes_back_what_it_wrote(house, model):
    put = ToolCalled(1, "b", "archival_memory_insert", '{"content": "Ada likes tea.", "tags": ["pattern"]}')
    model.acts += [
        [note("Ada likes tea"), put, ended(StopReason.TOOL_CALLS)],
        [UpstreamRefused("Gone.", heard=True)],
    ]
    with pytest.raises(UpstreamRefused):
        await taken(house, user("I like tea."))
    await taken(house, user("Hello."))  # the next turn waits until all is as it was

    assert "" == await human(house)
    assert [] == await house.remember().search(OWNER, Search("", Shelf.PUT_BY, tags=(PATTERN_TAG,)))
    assert "Ada likes tea" not in model.prompts[-1].system


async def test_a_turn_that_cannot_be_settled_takes_back_what_it_wrote(house, model):
    model.acts += [[note("Ada likes tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    house.conversations.override(providers.Object(Unwritable(house.conversations())))
    with pytest.raises(StoreUnavailable):
        await taken(house, user("I like tea."))
    await house.agents().aclose()

    assert "" == await human(house)


class Unwritable:
    """A ConversationStore on a full disk."""

    def __init__(self, behind):
        self.at, self.said_since, self.on_path = behind.at, behind.said_since, behind.on_path

    async def settle(self, turn):
        raise StoreUnavailable


async def test_a_reader_who_leaves_at_the_last_word_loses_nothing(house, model):
    model.acts += [[note("Ada likes tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    async with aclosing(house.converse()(ask(user("I like tea.")))) as events:
        async for event in events:
            if isinstance(event, TurnEnded):
                break
    await house.agents().aclose()

    assert "Ada likes tea" == await human(house)


async def test_a_reader_who_leaves_early_leaves_nothing_behind(house, model):
    model.acts += [[note("Ada likes tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    async with aclosing(house.converse()(ask(user("I like tea.")))) as events:
        async for event in events:
            if isinstance(event, TextSpoken):
                break
    await house.agents().aclose()

    assert "" == await human(house)
    assert (0, 0) == (house.pool().taken, house.pool().waiting)


@pytest.mark.parametrize("at", [ToolReturned, MemoryChanged])
async def test_a_reader_who_leaves_while_a_tool_is_run_leaves_nothing_behind(house, model, at):
    model.acts += [[note("Ada likes tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    async with aclosing(house.converse()(ask(user("I like tea.")))) as events:
        async for event in events:
            if isinstance(event, at):
                break
    await house.agents().aclose()

    assert "" == await human(house)


async def test_a_reader_who_is_gone_before_the_tool_returns_leaves_nothing_behind(house, model):
    model.acts += [[note("Ada likes tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    await human(house)
    write = house.database().write

    def leave(job):
        reader.cancel()  # in the moment in which it is being written
        return write(job)

    house.database().write = leave
    reader = asyncio.ensure_future(taken(house, user("I like tea.")))
    with pytest.raises(asyncio.CancelledError):
        await reader
    house.database().write = write
    await house.agents().aclose()

    assert "" == await human(house)


async def test_a_model_without_tools_is_asked_without(house, model):
    model.acts += [
        [InvalidRequest("registry.ollama.ai/library/gemma does not support tools")],
        [TextSpoken(("Hello.",)), ended()],
    ]

    assert "Hello." == (await collected(house.converse()(ask(user("Hello."))))).text
    await taken(house, user("Again."))
    assert [True, False, False] == [bool(prompt.tools) for prompt in model.prompts]


async def test_a_refusal_of_the_clients_own_tools_is_the_clients(house, model):
    model.acts.append([InvalidRequest("This model does not support tools")])

    with pytest.raises(InvalidRequest):
        await taken(house, user("Go."), tools=ClientTools((WEATHER,)))


def long_chat(turns):
    return [message for n in range(turns) for message in (user(f"q{n} " + "word " * 200), assistant(f"a{n}."))]


async def test_what_does_not_fit_is_summarised_and_the_summary_is_kept(opened, model):
    house = opened(windows_tokens={"*": 4000})
    model.acts += [[TextSpoken(("They spoke of words.",)), ended()], [TextSpoken(("Indeed.",)), ended()]]
    chat = [*long_chat(20), user("And now?")]

    events = await taken(house, *chat)
    (compacted,) = [event for event in events if isinstance(event, Compacted)]
    await taken(house, *chat, assistant("Indeed."), user("Go on."))

    assert "They spoke of words." == compacted.summary.text
    assert "They spoke of words." in model.prompts[-1].system
    assert 3 == len(model.prompts)  # one summary, two turns
    assert user("Go on.") == model.prompts[-1].messages[-1]
    assert list(chat[compacted.summary.covers :]) == list(model.prompts[-1].messages[:-2])


async def test_without_a_model_to_summarise_it_is_extracted(opened, model):
    house = opened(windows_tokens={"*": 4000})
    model.acts += [[UpstreamRefused("No.", heard=False)], [TextSpoken(("Indeed.",)), ended()]]

    await taken(house, *long_chat(20), user("And now?"))

    assert "assistant: a0." in model.prompts[-1].system


async def test_what_cannot_fit_is_refused_before_any_model_is_asked(opened, model):
    house = opened(windows_tokens={"*": 4000})

    with pytest.raises(ContextOverflow) as refused:
        await taken(house, *long_chat(3), user("word " * 5000))

    assert [] == model.prompts
    assert refused.value.needed_tokens > refused.value.window_tokens


async def test_an_overflow_that_the_upstream_finds_is_compacted_and_tried_once(house, model):
    overflow = InvalidRequest("Too long.", code="context_length_exceeded")
    model.acts += [[overflow], [TextSpoken(("A summary.",)), ended()], [TextSpoken(("Indeed.",)), ended()]]

    reply = await collected(house.converse()(ask(*long_chat(60), user("And now?"))))

    assert "Indeed." == reply.text
    assert len(model.prompts[-1].messages) < len(model.prompts[0].messages)


async def test_an_overflow_that_cannot_be_helped_is_the_upstreams(house, model):
    overflow = InvalidRequest("Too long, it says.", code="context_length_exceeded")
    model.acts.append([overflow])

    with pytest.raises(InvalidRequest, match="it says"):
        await taken(house, user("word " * 3000))


async def test_who_finds_a_thread_engaged_branches_at_once(house):
    tip = (await taken(house, user("Hello.")))[0].turn
    async with house.leases().hold(LOCAL.id, tip):
        events = await taken(house, user("Hello."), assistant("Indeed."), user("Go on."))

    assert "Branch" == events[0].plan


async def test_a_line_waits_for_its_turn_and_goes_on_after_it(house, model):
    began = (await taken(house, user("Hello.")))[0]
    async with house.leases().hold(LOCAL.id, began.conversation):
        goes_on = taken(
            house, user("Hello."), assistant("Indeed."), user("Go on."), conversation=began.conversation, line=True
        )
        waiting = asyncio.ensure_future(goes_on)
        while not house.pool().waiting:  # noqa: ASYNC110  the pool is pure: it has no event for it
            await asyncio.sleep(0)
        assert 1 == len(model.prompts)

    assert "Continue" == (await waiting)[0].plan


async def test_who_waits_too_long_is_told_when_to_come_back(opened):
    house = opened(pool={"seats": 1, "places": 1, "patience_s": 0.02})
    async with house.leases().hold(LOCAL.id, None):
        with pytest.raises(PoolExhausted) as refused:
            await taken(house, user("Hello."))

    assert 0 < refused.value.retry_after_s <= 120


async def test_a_text_begun_by_the_client_is_carried_on(house, model):
    model.acts += [[TextSpoken(("two, three.",)), ended()], [TextSpoken(("Done.",)), ended()]]
    await taken(house, user("Count."), assistant("One, "))
    events = await taken(house, user("Count."), assistant("One, two, three."), user("Thanks."))

    assert [(Role.USER, "Count."), (Role.ASSISTANT, "One, ")] == shown(model.prompts[0])
    assert "Continue" == events[0].plan


async def test_a_task_has_no_memory_and_leaves_none(house, model):
    events = await taken(house, user("Make a title."), purpose=Purpose.TASK)

    assert events[0].conversation is None
    assert "" == model.prompts[0].system
    assert () == tuple(model.prompts[0].tools)
    assert [] == await house.remember().search(OWNER, Search("title"))


async def test_recall_finds_other_chats_and_not_this_one(house, model):
    await taken(house, user("The gate's code is 4711."))
    await taken(house, user("What is the gate's code?"))
    assert "4711" in model.prompts[-1].system
    assert PERSONA in model.prompts[-1].system

    await taken(house, user("The gate's code is 4711."), assistant("Indeed."), user("The gate's code?"))
    assert "The gate&#39;s code is 4711" not in model.prompts[-1].system
    assert "The gate's code is 4711.</quote>" not in model.prompts[-1].system


async def test_what_was_regenerated_away_is_not_recalled(house, model):
    model.acts += [[TextSpoken(("The treasure is under the oak.",)), ended()]]
    await taken(house, user("Hello."))
    chat = [user("Hello."), assistant("The treasure is under the oak.")]
    model.acts += [[TextSpoken(("The pirate is Bob.",)), ended()], [TextSpoken(("The pirate is Ann.",)), ended()]]
    await taken(house, *chat, user("Who is the pirate?"))
    await taken(house, *chat, user("Who is the pirate?"))

    await taken(house, user("Tell me of the pirate and the treasure."))

    assert "The pirate is Ann." in model.prompts[-1].system
    assert "under the oak" in model.prompts[-1].system
    assert "The pirate is Bob." not in model.prompts[-1].system


async def test_recall_that_is_late_or_broken_costs_no_turn(opened, model):
    house = opened(recall={"budget_s": 1e-9})
    await taken(house, user("The gate's code is 4711."))
    await taken(house, user("What is the gate's code?"))
    assert "<recalled>" not in model.prompts[-1].system

    broken = opened()
    broken.index.override(providers.Object(Unreadable()))
    assert "Indeed." == (await collected(broken.converse()(ask(user("The gate's code?"))))).text


class Unreadable:
    """A RecallIndex on a broken disk."""

    async def newest(self, owner, shelf):
        raise StoreUnavailable

    async def aclose(self):
        pass


async def test_a_model_that_falls_silent_is_a_failed_turn(house, model):
    model.acts.append([TextSpoken(("In",))])

    with pytest.raises(TurnFailed):
        await taken(house, user("Hello."))


async def test_sampling_passes_through(house, model):
    sampling = Sampling(50, {"temperature": b"0.5", "stop": b'["x"]'})

    await taken(house, user("Hello."), sampling=sampling)

    assert sampling is model.prompts[0].sampling


async def test_parallel_turns_of_one_person_lose_nothing(house, model):
    async def one(number):
        said = Collected()
        async with aclosing(house.converse()(ask(user(f"Note {number}.")))) as events:
            async for event in events:
                if isinstance(event, TextSpoken):
                    said.speak(event.fragments)

    class Noting:
        """Notes what it is told to, and says so."""

        async def speak(self, prompt):
            if prompt.messages[-1].role is Role.TOOL:
                yield TextSpoken(("Done.",))
                yield ended()
                return
            yield note(prompt.messages[-1].text, "call_1")
            yield ended(StopReason.TOOL_CALLS)

        async def models(self):
            return ()

        async def aclose(self):
            pass

    house.model.override(providers.Object(Noting()))
    await asyncio.gather(*(one(number) for number in range(32)))

    assert {f"Note {number}." for number in range(32)} == set((await human(house)).split("\n"))


async def test_every_part_of_the_house_can_be_made(house):
    house.check_dependencies()
    for name, provider in house.providers.items():
        if name not in {"upstream", "upstream_embedder"}:  # `chosen` makes them, once it knows where
            provider()


async def test_a_change_of_memory_is_an_event(house, model):
    model.acts += [[note("tea"), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]

    assert MemoryChanged("human") in await taken(house, user("I like tea."))


async def test_a_tool_that_is_named_is_demanded(house, model):
    tools = ClientTools((WEATHER, ToolSpec("other")), ToolChoice(name="get_weather"))
    model.acts.append([called("get_weather", "{}"), ended(StopReason.TOOL_CALLS)])

    await taken(house, user("Go."), tools=tools)

    assert "get_weather" == model.prompts[0].choice.name
    assert {"get_weather", "other"} == {spec.name for spec in model.prompts[0].tools}


async def test_the_window_is_that_of_the_model_behind_the_name(opened, model):
    house = opened()
    model.cards = (ModelCard("small", 4000), ModelCard("large", 100_000))
    await house.models()()

    with pytest.raises(ContextOverflow):
        await taken(house, user("word " * 5000))
    assert "Indeed." == (await collected(house.converse()(replace(ask(user("word " * 5000)), model="large")))).text


async def test_what_an_abandoned_turn_wrote_is_listed_and_taken_back(house, model):
    note_tea = [[note("Ada likes tea."), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    note_milk = [[note("With milk."), ended(StopReason.TOOL_CALLS)], [TextSpoken(("Noted.",)), ended()]]
    model.acts += [[TextSpoken(("Hello.",)), ended()], *note_tea, *note_milk]
    keep = house.keep_agents()
    chat = [user("Hello."), assistant("Hello.")]
    await taken(house, *chat[:1])
    abandoned = (await taken(house, *chat, user("I like tea.")))[0].turn
    agent = (await house.register().find(AgentKey("librarian", OWNER))).id
    assert [] == list(await keep.abandoned(agent))
    await taken(house, *chat, user("I like milk in it."))

    listed = await keep.abandoned(agent)
    assert [(abandoned, "human", "Ada likes tea.")] == [(w.turn, w.what, w.put) for w in listed]
    with pytest.raises(UnknownAgent):
        await keep.abandoned(agent, of=Principal(PrincipalId("somebody else")))
    assert 1 == await keep.take_back(agent, abandoned)
    assert "With milk." == await human(house)
    with pytest.raises(UnknownTurn):
        await keep.take_back(agent, abandoned)


async def test_what_a_killed_process_left_in_memory_is_taken_back_at_the_next_start(opened):
    house = opened()
    memory = house.memory()
    agent = await memory.agent(AgentKey("librarian", OWNER), DEFAULT_BLOCKS)
    by = Provenance(Author.AGENT, house.clock().now_s(), turn=TurnId("turn_never_recorded"), call_id="1/call_1")
    await memory.edit(agent, Append("human", "Half a turn."), by)
    await memory.put_by(agent, "Half a passage.", [], by)
    await house.lifetime().aclose()

    again = opened()
    await again.lifetime().open()

    assert "" == await human(again)
    assert [] == list(await again.register().passages(agent))


async def test_what_a_turn_of_another_process_wrote_is_left_alone(opened):
    house, other = opened(), opened()
    await house.lifetime().open()
    memory = house.memory()
    agent = await memory.agent(AgentKey("librarian", OWNER), DEFAULT_BLOCKS)
    by = Provenance(Author.AGENT, house.clock().now_s(), turn=TurnId("turn_under_way"), call_id="1/call_1")
    await memory.edit(agent, Append("human", "Just now."), by)

    await other.lifetime().open()

    assert "Just now." == await human(other)
