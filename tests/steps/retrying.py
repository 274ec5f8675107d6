"""A client that asks again."""

from hashlib import sha256

import pytest
from pytest_bdd import given, parsers, then, when

from librarian.application.replays import Attempt
from librarian.domain.errors import UpstreamRefused
from librarian.domain.transcript import assistant, user
from tests.steps.world import Answer


def _attempt(world, *, body=None, **more):
    said = body or "\n".join(message.text for message in world.spoken("Ada"))
    return Attempt(sha256(said.encode()).digest(), "/v1/chat/completions", **more)


@pytest.fixture
def heard_before():
    """Answers that were given, or were on their way."""
    return []


def _again(world, **how):
    """The very same request."""
    world.answer = world.run(world.asked("Ada", **how))


@given(parsers.parse('the connection broke before Ada heard the answer to "{text}"'))
def connection_broke(world, heard_before, text):
    world.chat("Ada").messages.append(user(text))
    heard_before.append(world.run(world.broken_off("Ada", attempt=_attempt(world))))


@given(parsers.parse('Ada\'s client has asked "{text}" under the key "{key}"'))
def asked_under_a_key(world, heard_before, text, key):
    world.chat("Ada").messages.append(user(text))
    _again(world, attempt=_attempt(world, idempotency_key=key))
    heard_before.append(world.answer)


@given(parsers.parse('Ada has heard the answer to "{text}"'))
def has_heard(world, heard_before, text):
    world.chat("Ada").messages.append(user(text))
    _again(world, attempt=_attempt(world))
    heard_before.append(world.answer)


@given(parsers.parse('the model broke off in the middle of the answer to "{text}"'))
def model_broke_off(world, heard_before, text):
    world.chat("Ada").messages.append(user(text))
    world.model.acts.append([UpstreamRefused("The model broke off.", heard=True)])
    _again(world, attempt=_attempt(world))
    assert world.answer.refused is not None
    heard_before.append(Answer(text=""))


@when("her client asks the same again")
def asks_again(world):
    _again(world, attempt=_attempt(world))


@when("her client asks the same again, and says that it is a retry")
def retries(world):
    _again(world, attempt=_attempt(world, retried=True))


@when(parsers.parse('her client asks the same again under the key "{key}"'))
def asks_again_under_a_key(world, key):
    _again(world, attempt=_attempt(world, idempotency_key=key))


@when(parsers.parse('Ada\'s client asks "{text}" under the key "{key}"'))
def asks_under_a_key(world, text, key):
    world.chat("Ada").messages[-1] = user(text)
    _again(world, attempt=_attempt(world, idempotency_key=key))


@when(parsers.parse('Ada goes on with "{text}"'))
def goes_on(world, text):
    chat = world.chat("Ada")
    chat.conversations.append(world.answer.conversation)
    chat.messages.append(assistant(world.answer.text))
    world.tell("Ada", text)


@then("Ada is told the answer that she did not hear")
@then("Ada is told the same answer")
def told_the_same(world, heard_before):
    (before,) = heard_before
    assert world.answer.refused is None
    assert (before.text, before.conversation) == (world.answer.text, world.answer.conversation)


@then("Ada is told another answer")
def told_another(world, heard_before):
    (before,) = heard_before
    assert world.answer.refused is None
    assert world.answer.text
    assert before.conversation != world.answer.conversation


@then(parsers.re(r"the librarian has heard it (?P<times>once|twice)"))
def heard_it(world, times):
    said = world.chat("Ada").messages[-1].text
    heard = [prompt for prompt in world.model.prompts if prompt.messages[-1].text == said]
    assert {"once": 1, "twice": 2}[times] == len(heard)
