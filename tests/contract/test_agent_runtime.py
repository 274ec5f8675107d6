"""What every AgentRuntime owes its callers: the shipped fake, the embedded engine and Letta alike."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from librarian.application.converse import root_of
from librarian.application.ports.agents import Hearing
from librarian.application.ports.memory import AgentKey
from librarian.domain.conversation import START, ConversationId, TurnId
from librarian.domain.errors import LibrarianError, UpstreamBusy
from librarian.domain.identity import LOCAL, owner_of
from librarian.domain.mode import Mode
from librarian.domain.prompt import PLAIN_SAMPLING
from librarian.domain.tools import NO_TOOLS, ClientTools, ToolSpec
from librarian.domain.transcript import Reading, Transcript, user
from librarian.domain.turn import Collected, StopReason, TextSpoken, ToolCalled, TurnBegan, TurnEnded
from tests.contract.stages import STAGES

AGENT = AgentKey("librarian", owner_of(LOCAL))
WEATHER = ClientTools((ToolSpec("get_weather", "Weather.", '{"type":"object"}'),))


@pytest.fixture(params=STAGES, ids=lambda stage: stage.__name__)
async def stage(request, tmp_path):
    async with request.param(request, tmp_path) as stage:
        yield stage


def hearing(*spoken, turn="turn_1"):
    return Hearing(
        turn=TurnId(turn),
        conversation=ConversationId("conv_1"),
        agent=AGENT,
        plan=START,
        mode=Mode.AUTO,
        reading=Reading(Transcript(spoken or [user("Hello.")]), root_of(AGENT)),
        model=None,
        window_tokens=128_000,
        sampling=PLAIN_SAMPLING,
        tools=NO_TOOLS,
        recalled=(),
        whole=False,
    )


async def taken(stage, heard=None):
    async with aclosing(stage.runtime.take_turn(heard or hearing())) as events:
        return [event async for event in events]


def text_of(events):
    return "".join(fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments)


async def test_a_turn_ends_exactly_once_and_last(stage):
    stage.says("In", "deed.")

    events = await taken(stage)

    assert [False] * (len(events) - 1) + [True] == [isinstance(event, TurnEnded) for event in events]
    assert not any(isinstance(event, TurnBegan) for event in events)


async def test_what_is_said_arrives_whole(stage):
    stage.says("In", "deed.")

    events = await taken(stage)

    assert "Indeed." == text_of(events)
    assert StopReason.END_OF_TURN is events[-1].reason


async def test_usage_is_never_zero(stage):
    stage.says("Indeed.")

    usage = (await taken(stage))[-1].usage

    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


async def test_a_tool_of_the_clients_is_the_clients_to_run(stage):
    stage.calls("get_weather", '{"place": "Paris"}')

    events = await taken(stage, replace(hearing(), tools=WEATHER))

    collected = Collected()
    for event in events:
        if isinstance(event, ToolCalled):
            collected.call(event)
    assert [("get_weather", '{"place": "Paris"}')] == [(call.name, call.arguments) for call in collected.calls]
    assert StopReason.TOOL_CALLS is events[-1].reason


async def test_a_failure_is_raised_and_the_next_turn_is_another_try(stage):
    stage.fails(UpstreamBusy(1.0))
    with pytest.raises(LibrarianError):
        await taken(stage)
    stage.says("Indeed.")

    assert "Indeed." == text_of(await taken(stage, hearing(turn="turn_2")))


async def test_an_abandoned_turn_can_be_closed(stage):
    stage.says("In", "deed.")

    async with asyncio.timeout(5), aclosing(stage.runtime.take_turn(hearing())) as events:
        assert isinstance(await anext(events), TextSpoken)

    stage.says("Again.")
    assert "Again." == text_of(await taken(stage, hearing(turn="turn_2")))


async def test_turns_of_one_agent_run_side_by_side(stage):
    for _ in range(4):
        stage.says("Indeed.")

    answers = await asyncio.gather(*(taken(stage, hearing(turn=f"turn_{n}")) for n in range(4)))

    assert ["Indeed."] * 4 == [text_of(events) for events in answers]
