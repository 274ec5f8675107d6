"""What cannot be done, and what goes wrong."""

import pytest
from pytest_bdd import given, parsers, then, when

from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import LOCAL
from librarian.domain.transcript import Message, Role, Transcript, user


@given(parsers.parse("a language model that answers with {trouble}"))
def troubled(world, scripted_model, trouble):
    world.upstream_url = scripted_model.base_url
    match trouble:
        case "a wrong key":
            scripted_model.fail(401)
        case "no quota":
            scripted_model.fail(429, retry_after=1)
        case "an error":
            scripted_model.fail(500)
        case "garbage":
            scripted_model.garbage()
        case "nothing at all":
            scripted_model.break_off()


@given("the house has one seat, and it is taken")
def one_seat_taken(world):
    world.settings["pool"] = {"seats": 1, "places": 4, "patience_s": 0.05}
    held = world.house.leases().hold(LOCAL.id, None)
    world.run(held.__aenter__())
    yield
    world.run(held.__aexit__(None, None, None))


@when(parsers.parse("{person:w} sends a message of {number:d} words"))
def sends_long(world, person, number):
    world.tell(person, "word " * number)


@when(parsers.parse("{person:w}'s client sends the result of a call that was never made"), target_fixture="mistake")
def sends_result(world, person):
    with pytest.raises(InvalidRequest) as mistake:
        Transcript([user("Hello."), Message(Role.TOOL, "sunny", answers="call_x")])
    return mistake.value


@then(parsers.parse("{person:w} is refused, and told where the mistake is"))
def told_where(mistake, person):
    assert "messages.[1].tool_call_id" == mistake.param


@then(parsers.parse('{person:w} is refused with "{code}"'))
def refused(world, person, code):
    assert code == world.answer.refused


@then(parsers.parse("{person:w} is told that it went wrong"))
def went_wrong(world, person):
    assert world.answer.refused is not None


@then(parsers.parse("{person:w} is told that every agent is engaged"))
def engaged(world, person):
    assert "engaged" in world.answer.said


@then("no language model was asked")
def nobody_asked(world):
    assert [] == world.model.prompts


@then("the turn can simply be taken again")
def again(world):
    chat = world.chat("Ada")
    text = chat.messages.pop().text
    world.tell("Ada", text)
    assert world.answer.refused is None
    assert world.answer.text
