"""What every LanguageModel owes its callers: the shipped fake, the built-in model, and any server alike."""

import asyncio
import json
from contextlib import aclosing

import pytest

from librarian.adapters.upstream.chat import UpstreamModel
from librarian.adapters.upstream.offline import OfflineModel
from librarian.domain.errors import InvalidRequest, UpstreamBusy, UpstreamRefused, UpstreamTimedOut
from librarian.domain.prompt import Prompt, Sampling
from librarian.domain.tools import ToolChoice, ToolSpec, ToolUse
from librarian.domain.transcript import user
from librarian.domain.turn import Collected, Reasoned, StepEnded, StopReason, TextSpoken, ToolCalled
from librarian.testing import ScriptedModel
from tests.scripted.server import Gate, ScriptedServer

PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
WEATHER = ToolSpec("get_weather", "The weather somewhere.", json.dumps(PLACE))
HELLO = Prompt(None, "", (user("Hello."),))


def calling(prompt=HELLO):
    return Prompt(prompt.model, prompt.system, prompt.messages, tools=(WEATHER,), choice=ToolChoice(ToolUse.REQUIRED))


class ScriptedStage:
    """The shipped fake."""

    def __init__(self):
        self.model = ScriptedModel()
        self._never = asyncio.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def speaks(self, *fragments):
        self.model.say(*fragments)

    def calls(self, *arguments):
        self.model.calls(*(("get_weather", each) for each in arguments))

    def fails(self, error):
        self.model.fail(error)

    def breaks_off(self, after):
        self.model.break_off(after)

    def falls_silent(self, after):
        self.model.wait(self._never, after=after)

    async def was_stopped(self):
        return self.model.stopped == 1


class UpstreamStage:
    """A real server on loopback."""

    def __init__(self):
        self.server = ScriptedServer()

    def __enter__(self):
        self.server.__enter__()
        self.model = UpstreamModel(base_url=self.server.base_url, first_event_s=5, idle_s=5)
        return self

    def __exit__(self, *_):
        self.server.__exit__()

    def speaks(self, *fragments):
        self.server.say(*fragments)

    def calls(self, *arguments):
        self.server.calls(*(("get_weather", each) for each in arguments))

    def fails(self, error):
        status = {InvalidRequest: 400, UpstreamBusy: 429, UpstreamRefused: 500}[type(error)]
        self.server.fail(status, str(error))

    def breaks_off(self, after):
        self.server.break_off(after=after)

    def falls_silent(self, after):
        self.server.say(after, Gate())

    async def was_stopped(self):
        return await self.server.requests[-1].left(within_s=1)


class OfflineStage:
    """The built-in model, which says what it likes and never fails."""

    def __init__(self):
        self.model = OfflineModel.plain()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def speaks(self, *fragments):
        pass

    def calls(self, *arguments):
        pass


STAGES = [ScriptedStage, UpstreamStage, OfflineStage]
SCRIPTED_STAGES = [ScriptedStage, UpstreamStage]


@pytest.fixture(params=STAGES, ids=lambda stage: stage.__name__)
def stage(request):
    with request.param() as stage:
        yield stage


@pytest.fixture(params=SCRIPTED_STAGES, ids=lambda stage: stage.__name__)
def scripted(request):
    with request.param() as stage:
        yield stage


async def step(model, prompt=HELLO):
    async with asyncio.timeout(10), aclosing(model.speak(prompt)) as events:
        return [event async for event in events]


def text_of(events):
    return "".join(fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments)


def message_of(events):
    collected = Collected()
    for event in events:
        if isinstance(event, ToolCalled):
            collected.call(event)
        elif isinstance(event, TextSpoken):
            collected.speak(event.fragments)
    return collected.message


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])
async def test_a_step_ends_exactly_once_and_last(stage, whole):
    stage.speaks("In", "deed.")

    events = await step(stage.model, Prompt(None, "", (user("Hello."),), whole=whole))

    assert [False] * (len(events) - 1) + [True] == [isinstance(event, StepEnded) for event in events]
    assert len(text_of(events)) > 1
    assert StopReason.END_OF_TURN is events[-1].reason
    await stage.model.aclose()


async def test_no_event_is_empty(stage):
    stage.speaks("In", "deed.")

    events = await step(stage.model)

    assert all(event.fragments for event in events if isinstance(event, TextSpoken | Reasoned))
    assert "" not in [fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments]
    await stage.model.aclose()


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])
async def test_what_it_took_is_positive_or_unknown(stage, whole):
    stage.speaks("Indeed.")

    usage = (await step(stage.model, Prompt(None, "", (user("Hello."),), whole=whole)))[-1].usage

    assert usage is None or (usage.input_tokens > 0 and usage.output_tokens > 0)
    await stage.model.aclose()


async def test_a_call_has_an_id_a_name_and_arguments(stage):
    stage.calls({"place": "Paris"})

    events = await step(stage.model, calling())

    (call,) = message_of(events).calls
    first, *rest = [event for event in events if isinstance(event, ToolCalled)]
    assert call.id
    assert "get_weather" == call.name
    assert ["place"] == list(json.loads(call.arguments))
    assert (0, call.id, "get_weather") == (first.index, first.id, first.name)
    assert all((0, "", "") == (more.index, more.id, more.name) for more in rest)
    assert StopReason.TOOL_CALLS is events[-1].reason
    await stage.model.aclose()


async def test_calls_at_once_are_counted_from_0(scripted):
    scripted.calls({"place": "Paris"}, {"place": "Rome"})

    events = await step(scripted.model, calling())

    assert {0, 1} == {event.index for event in events if isinstance(event, ToolCalled)}
    calls = message_of(events).calls
    assert ["Paris", "Rome"] == [json.loads(call.arguments)["place"] for call in calls]
    assert 2 == len({call.id for call in calls})
    await scripted.model.aclose()


async def test_closing_early_stops_the_call(scripted):
    scripted.falls_silent(after="In")

    async with asyncio.timeout(10), aclosing(scripted.model.speak(HELLO)) as events:
        assert "In" == text_of([await anext(events)])

    assert await scripted.was_stopped()
    await scripted.model.aclose()


async def test_cancelling_stops_the_call(scripted):
    scripted.falls_silent(after="In")
    spoken = asyncio.Event()

    async def listen():
        async with aclosing(scripted.model.speak(HELLO)) as events:
            async for _ in events:
                spoken.set()

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        await spoken.wait()
        listening.cancel()
        await asyncio.wait([listening])

    assert await scripted.was_stopped()
    await scripted.model.aclose()


async def test_a_step_can_be_closed_before_it_began(stage):
    await stage.model.speak(HELLO).aclose()
    async with aclosing(stage.model.speak(HELLO)) as events:
        await anext(events)

    assert text_of(await step(stage.model))
    await stage.model.aclose()


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("bad"), UpstreamBusy(), UpstreamRefused("no", heard=False)],
    ids=lambda error: error.__class__.__name__,
)
async def test_a_failure_is_raised_and_the_next_step_is_another_try(scripted, error):
    scripted.fails(error)
    scripted.speaks("Indeed.")

    with pytest.raises(type(error)):
        await step(scripted.model)

    assert "Indeed." == text_of(await step(scripted.model))
    await scripted.model.aclose()


async def test_what_was_said_before_it_broke_off_is_heard(scripted):
    scripted.breaks_off(after="In")
    async with asyncio.timeout(10), aclosing(scripted.model.speak(HELLO)) as events:
        assert "In" == text_of([await anext(events)])
        with pytest.raises(UpstreamRefused) as refused:
            await anext(events)

    assert refused.value.heard
    await scripted.model.aclose()


async def test_steps_run_side_by_side(scripted):
    for _ in range(8):
        scripted.speaks("In", "deed.")

    steps = await asyncio.gather(*(step(scripted.model) for _ in range(8)))

    assert ["Indeed."] * 8 == [text_of(events) for events in steps]
    await scripted.model.aclose()


async def test_it_says_what_can_be_asked_for(stage):
    cards = await stage.model.models()

    assert cards
    assert all(card.name for card in cards)
    await stage.model.aclose()


async def test_it_can_be_closed_twice_and_before_it_was_used(stage):
    await stage.model.aclose()
    await step(stage.model)
    await stage.model.aclose()
    await stage.model.aclose()


async def test_it_can_be_used_again_after_it_was_closed(stage):
    await step(stage.model)
    await stage.model.aclose()

    assert text_of(await step(stage.model))
    await stage.model.aclose()


def test_it_works_in_one_loop_after_another(stage):
    first = asyncio.run(step(stage.model))
    second = asyncio.run(step(stage.model))

    assert text_of(first) == text_of(second) != ""


async def test_a_length_that_was_reached_is_said(stage):
    if isinstance(stage, ScriptedStage):
        stage.model.say("In", reason=StopReason.LENGTH)
    elif isinstance(stage, UpstreamStage):
        stage.server.say("In", finish="length")

    events = await step(stage.model, Prompt(None, "", (user("Hello."),), Sampling(max_tokens=1)))

    assert StopReason.LENGTH is events[-1].reason
    await stage.model.aclose()


async def test_silence_is_not_waited_out():
    with UpstreamStage() as stage:
        stage.falls_silent(after="In")
        model = UpstreamModel(base_url=stage.server.base_url, first_event_s=5, idle_s=0.05)

        with pytest.raises(UpstreamTimedOut):
            await step(model)

        assert await stage.was_stopped()
        await model.aclose()
