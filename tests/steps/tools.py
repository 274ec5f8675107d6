"""Tools that a client brings."""

import json

from pytest_bdd import given, parsers, then, when

from librarian.domain.transcript import Message, Role
from librarian.domain.turn import StopReason, TextSpoken, ToolCalled
from tests.fakes.overheard import called, ended
from tests.steps.world import WEATHER


def _place(place):
    return json.dumps({"place": place})


@given(parsers.parse('a language model that calls the client\'s tool "{name}" with "{place}"'))
def calls(world, name, place):
    world.model.acts.append([called(name, _place(place)), ended(StopReason.TOOL_CALLS)])


@given(parsers.parse('a language model that notes "{fact}" and calls the client\'s tool "{name}" with "{place}"'))
def notes_and_calls(world, fact, name, place):
    note = ToolCalled(0, "call_note", "memory_insert", json.dumps({"label": "human", "new_string": fact}))
    world.model.acts.append([note, ToolCalled(1, "call_1", name, _place(place)), ended(StopReason.TOOL_CALLS)])


@when(parsers.parse('{person:w} asks "{text}", with the tool "{name}"'))
def asks_with(world, person, text, name):
    world.tell(person, text, tools=[WEATHER])


@then(parsers.parse('{person:w}\'s client is asked to call "{name}" with "{place}"'))
def asked_to_call(world, person, name, place):
    assert [(name, {"place": place})] == [(call.name, json.loads(call.arguments)) for call in world.answer.calls]
    assert "tool_calls" == world.answer.finish


@then(parsers.parse("{person:w}'s client was asked to call nothing"))
def asked_nothing(world, person):
    assert () == world.answer.calls
    assert world.answer.text


@when(parsers.parse('the tool answers "{result}", and the model says "{words}"'))
def tool_answers(world, result, words):
    world.model.acts.append([TextSpoken((words,)), ended()])
    (call,) = world.answer.calls
    world.send("Ada", Message(Role.TOOL, result, answers=call.id), tools=[WEATHER])
    assert world.answer.refused is None


@given(parsers.parse('a language model that asks the client\'s tool "{name}" about "{one}" and about "{other}"'))
def calls_twice(world, name, one, other):
    both = [ToolCalled(index, f"call_{index}", name, _place(place)) for index, place in enumerate((one, other))]
    world.model.acts.append([*both, ended(StopReason.TOOL_CALLS)])


@when(parsers.parse('the tools answer "{last}" and then "{first}", the last call first, and the model says "{words}"'))
def tools_answer_the_other_way(world, last, first, words):
    world.model.acts.append([TextSpoken((words,)), ended()])
    one, other = world.answer.calls
    results = [Message(Role.TOOL, last, answers=other.id), Message(Role.TOOL, first, answers=one.id)]
    world.send("Ada", *results, tools=[WEATHER])
    assert world.answer.refused is None


@when("Ada's client has put the results in order")
def results_in_order(world):
    messages = world.chat("Ada").messages
    (at, *_) = [at for at, message in enumerate(messages) if message.role is Role.TOOL]
    messages[at], messages[at + 1] = messages[at + 1], messages[at]


@then("the librarian knows what came of each call")
def knows_results(world):
    shown = world.model.prompts[-1].messages
    asked = {call.id: json.loads(call.arguments).get("place") for message in shown for call in message.calls}
    told = {asked.get(message.answers): message.text for message in shown if message.role is Role.TOOL}
    assert "sunny" in told["Paris"]
    assert "rain" in told["Oslo"]
