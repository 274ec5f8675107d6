"""What clients do to a chat, and what must not come of it: each is short, and was found among many."""

import asyncio
from contextlib import aclosing
from hashlib import sha256

import pytest
from dependency_injector import providers

from librarian.application.converse import Ask
from librarian.application.replays import Attempt
from librarian.container import House
from librarian.domain.identity import LOCAL
from librarian.domain.tools import ClientTools, ToolSpec
from librarian.domain.transcript import Message, Role, ToolCall, Transcript, assistant, user
from librarian.domain.turn import StopReason, TextSpoken, ToolCalled, TurnEnded
from librarian.settings import Settings
from librarian.testing import ScriptedModel
from tests.fakes.overheard import Overheard, ended

pytestmark = pytest.mark.integration


@pytest.fixture
def model():
    return Overheard(ScriptedModel())


@pytest.fixture
async def house(tmp_path, model):
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path, recall={"budget_s": 5.0}))
    house.model.override(providers.Object(model))
    yield house
    await house.lifetime().aclose()


async def taken(house, *spoken, leaving=None, **more):
    """`leaving`: at the first event of that kind."""
    events = []
    async with aclosing(house.converse()(Ask(model="librarian", transcript=Transcript(spoken), **more))) as turn:
        async for event in turn:
            events.append(event)
            if leaving is not None and isinstance(event, leaving):
                break
    return events


def sent(body, **more):
    return Attempt(sha256(body).digest(), "/v1/chat/completions", **more)


@pytest.mark.parametrize("how", [{}, {"retried": True}])
async def test_a_request_is_not_answered_with_what_was_said_in_another_conversation(house, how):
    """The client names it beside the body."""
    attempt = {"attempt": sent(b"the same"), "leaving": TurnEnded}
    first = await taken(house, user("Hello."), conversation="chat-1", **attempt)
    other = await taken(house, user("Hello."), conversation="chat-2", attempt=sent(b"the same", **how))
    again = await taken(house, user("Hello."), conversation="chat-1", attempt=sent(b"the same", **how))

    assert ["Start", "Start", "Replay"] == [events[0].plan for events in (first, other, again)]
    assert first[0].conversation == again[0].conversation != other[0].conversation


async def test_a_window_is_not_shown_what_its_client_goes_another_way_than(house, model):
    """What was cut off before it, it is."""
    chat = [user("The garden has roses."), assistant("Roses."), user("The garden has lilies."), assistant("Lilies.")]
    said = {"conversation": "chat-1"}
    model.acts += [[TextSpoken((text,)), ended()] for text in ("Roses.", "Lilies.", "Weeds.")]
    await taken(house, chat[0], **said)
    await taken(house, *chat[:3], **said)
    await taken(house, *chat, user("The garden has weeds."), **said)
    await taken(house, *chat[2:], user("What has the garden?"), **said)

    told = model.prompts[-1].system
    assert [True, False, False] == [f">The garden has {what}." in told for what in ("roses", "lilies", "weeds")]


async def test_who_waited_for_a_seat_and_found_another_tip_does_not_take_its_thread(tmp_path, model):
    """It holds the thread of the tip that there was before, or none: others may find the new one free."""
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path, pool={"seats": 1}))
    house.model.override(providers.Object(model))
    known = [user("Hello."), assistant("Good day."), user("Go on.")]
    async with house.leases().hold(LOCAL.id, None):
        first = asyncio.ensure_future(taken(house, *known))
        later = asyncio.ensure_future(taken(house, *known, assistant("Indeed."), user("And then?")))
        while house.pool().waiting < 2:  # noqa: ASYNC110  the pool is pure: it has no event for it
            await asyncio.sleep(0)
    plans = [(await events)[0].plan for events in (first, later)]
    await house.lifetime().aclose()

    assert ["Rebuild", "Branch"] == plans


async def test_a_window_is_known_by_results_in_any_order_of_calls_by_any_name(house, model):
    """Asked twice, the model called alike, and the client holds the calls of the first answer."""
    said = {"conversation": "chat-1", "tools": ClientTools((ToolSpec("look"),))}
    known = [user("Hello."), assistant("Indeed."), user("Look left and right.")]
    await taken(house, known[0], **said)
    for n in "ab":
        looks = [ToolCalled(place, f"{n}{place}", "look", f'{{"at":{place}}}') for place in (0, 1)]
        model.acts.append([*looks, ended(StopReason.TOOL_CALLS)])
        await taken(house, *known, **said)
    calls = tuple(ToolCall(f"a{place}", "look", f'{{"at":{place}}}') for place in (0, 1))
    results = [Message(Role.TOOL, f"It is {place}.", answers=f"a{place}") for place in (1, 0)]
    known += [assistant("", calls), *results]
    await taken(house, *known, **said)
    known += [assistant("Indeed."), user("And the garden?")]
    await taken(house, *known[2:], **said)

    rows = house.database().rows("SELECT parent, number FROM turn ORDER BY number DESC LIMIT 2")
    assert rows[0][0] == rows[1][1]  # on the path of what was cut off, and not beside it
    assert ["It is 0.", "It is 1."] == [m.text for m in model.prompts[-1].messages if m.role is Role.TOOL]
