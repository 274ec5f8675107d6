"""The canonical form of messages, and what a transcript refuses."""

from hashlib import sha256

import pytest

from librarian.domain.errors import InvalidRequest
from librarian.domain.transcript import (
    Digest,
    Image,
    Message,
    OtherPart,
    Reading,
    Role,
    ToolCall,
    Transcript,
    assistant,
    chain,
    user,
)

ROOT = Digest(b"\0" * 32)
CALLS = (ToolCall("a", "look", '{"x": 1, "y": 2}'), ToolCall("b", "see", "{}"))


def answer(call_id, text):
    return Message(Role.TOOL, text, answers=call_id)


def digest(*messages):
    return chain(ROOT, messages)[-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([user("Hello.")], [user("  Hello.\n")]),
        ([user("a\r\nb\rc")], [user("a\nb\nc")]),
        ([user("ab")], [Message(Role.USER, "ab", ("a", "b"))]),
        ([assistant("")], [assistant(" \n")]),
        (
            [assistant("", (ToolCall("1", "look", '{"a": 1, "b": [2]}'),))],
            [assistant("", (ToolCall("2", "look", '{"b":[2],"a":1}'),))],
        ),
        (
            [assistant("", CALLS), answer("a", "one"), answer("b", "two")],
            [assistant("", CALLS), answer("b", "two"), answer("a", "one")],
        ),
        (
            [Message(Role.USER, "", (Image("data:image/png;base64,QUJD"),))],
            [Message(Role.USER, "", (Image("data:image/jpeg;base64,QUJD", "low"),))],
        ),
        ([Message(Role.ASSISTANT, "Hi.", name="x")], [assistant("Hi.")]),
        (
            [Message(Role.USER, "", (OtherPart("file", '{"a":1,"b":2}'),))],
            [Message(Role.USER, "", (OtherPart("file", '{"b": 2, "a": 1}'),))],
        ),
    ],
)
def test_what_clients_vary_makes_no_difference(one, other):
    assert digest(*one) == digest(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([user("Hello.")], [assistant("Hello.")]),
        ([user("a"), user("b")], [user("ab")]),
        ([user("a  b")], [user("a b")]),
        ([user("t1:x")], [Message(Role.USER, "x", name="t")]),
        ([assistant("", CALLS)], [assistant("", CALLS[::-1])]),
        ([assistant("", (ToolCall("1", "look", "{"),))], [assistant("", (ToolCall("1", "look", "{}"),))]),
        ([Message(Role.USER, "a", name="ada")], [Message(Role.USER, "a", name="bob")]),
        (
            [assistant("", CALLS), answer("a", "one"), answer("b", "two")],
            [assistant("", CALLS), answer("a", "two"), answer("b", "one")],
        ),
        ([Message(Role.USER, "", (Image("http://a/x.png"),))], [Message(Role.USER, "", (Image("http://a/y.png"),))]),
    ],
)
def test_what_was_said_makes_a_difference(one, other):
    assert digest(*one) != digest(*other)


TEXTS = ["Hello.", " Hello.\n", "", " ", "a\r\nb\rc", "\r", "é\u2028日本", "t5:Hello"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("role", Role)
def test_a_text_has_the_same_form_as_a_part(role, text):
    assert digest(Message(role, text)) == digest(Message(role, text, (text,)))


def test_the_form_is_the_one_that_stores_hold():
    """Digests are kept: another form would know no conversation again."""
    spoken = [
        user("Hello."),
        assistant(" Let me\r\nsee. ", CALLS),
        answer("b", "two"),
        answer("a", "one"),
        assistant(""),
        Message(Role.USER, "", ("Look: ", Image("data:image/png;base64,QUJD")), name="ada"),
    ]
    forms = [
        b"rut6:Hello.",
        b'rat11:Let me\nsee.c4:looka13:{"x":1,"y":2}c3:seea2:{}',
        b"rtt3:one",
        b"rtt3:two",
        b"ra",
        b"run3:adat5:Look:i33:b" + sha256(b"ABC").digest(),
    ]
    digests = [ROOT]
    for form in forms:
        digests.append(sha256(digests[-1] + form).digest())

    assert digests[1:] == chain(ROOT, spoken)


def test_leading_system_messages_are_an_overlay_and_later_ones_are_not():
    system = Message(Role.SYSTEM, "It is noon.")
    transcript = Transcript([system, system, user("a"), system, user("b")])

    assert (system, system) == transcript.overlay
    assert (user("a"), system, user("b")) == transcript.messages


@pytest.mark.parametrize(
    ("messages", "news_at"),
    [
        ([user("a")], 0),
        ([user("a"), user("b")], 0),
        ([user("a"), assistant("b"), user("c")], 2),
        ([user("a"), assistant("b"), user("c"), user("d")], 2),
        ([user("a"), assistant("", CALLS), answer("a", ""), answer("b", "")], 2),
        ([user("a"), assistant("b")], 0),
        ([user("a"), assistant("b"), user("c"), assistant("d")], 2),
        ([], 0),
    ],
)
def test_the_news_is_what_follows_the_last_answer(messages, news_at):
    assert news_at == Transcript(messages).news_at


def test_a_reply_that_carries_on_is_recorded_as_one_message():
    begun = Reading(Transcript([user("Count."), assistant("One, ")]), ROOT)

    assert digest(user("Count."), assistant("One, two.")) == begun.after(assistant("two."))


def test_a_reply_stands_after_the_last_message():
    reading = Reading(Transcript([user("Hi.")]), ROOT)

    assert digest(user("Hi."), assistant("Indeed.")) == reading.after(assistant("Indeed."))


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([user("a"), answer("a", "x")], "messages.[1].tool_call_id"),
        ([user("a"), assistant("", CALLS), answer("a", "x")], "messages.[2].role"),
        ([user("a"), assistant("", CALLS), answer("a", "x"), user("b")], "messages.[3].role"),
        ([user("a"), assistant("", CALLS), user("b")], "messages.[2].role"),
        ([user("a"), assistant("", CALLS[:1]), answer("a", "x"), answer("a", "y")], "messages.[3].tool_call_id"),
        ([user("a"), assistant("", (CALLS[0], CALLS[0]))], "messages.[1].tool_calls"),
        ([Message(Role.SYSTEM, ""), user("a"), answer(None, "x")], "messages.[2].tool_call_id"),
    ],
)
def test_calls_and_answers_that_contradict_each_other_are_refused(messages, param):
    with pytest.raises(InvalidRequest) as refused:
        Transcript(messages)

    assert param == refused.value.param
