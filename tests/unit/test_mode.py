"""Which manner, and why."""

import pytest

from librarian.domain.mode import Evidence, Mode, ModeSelector
from librarian.domain.transcript import Message, Role, Transcript, user


def choose(text, *, asked=None, named=Mode.AUTO, system="", **evidence):
    spoken = [Message(Role.SYSTEM, system), user(text)]
    return ModeSelector().select(asked, named, Transcript(spoken), Evidence(**evidence))


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("Extract the names from this list: Ada, Bob.", Mode.WORKER),
        ("Please summarise the minutes.", Mode.WORKER),
        ("Why does this fail?\n```py\nx = 1/0\n```", Mode.WORKER),
        ("What do you think of the sea?", Mode.PERSONA),
        ("Write me a poem about rain.", Mode.PERSONA),
        ("Imagine it's 1922.", Mode.PERSONA),
        ("Hello there.", Mode.AUTO),
        ("Where is Lisbon?", Mode.AUTO),
    ],
)
def test_words_are_evidence(text, mode):
    assert mode is choose(text).mode


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ({"structured": True}, Mode.WORKER),
        ({"has_tools": True}, Mode.WORKER),
        ({"system": "Respond only in JSON."}, Mode.WORKER),
        ({"system": "You are playing Sherlock Holmes."}, Mode.PERSONA),
        ({"system": "It is Tuesday."}, Mode.AUTO),
    ],
)
def test_so_is_the_rest_of_the_request(more, mode):
    assert mode is choose("Hello there.", **more).mode


def test_evidence_for_both_is_left_to_the_agent():
    assert Mode.AUTO is choose("Extract the metaphor from this poem.").mode


def test_a_name_beats_evidence_and_a_header_beats_a_name():
    assert Mode.PERSONA is choose("Extract the names.", named=Mode.PERSONA).mode
    assert Mode.WORKER is choose("Tell me a story.", named=Mode.PERSONA, asked=Mode.WORKER).mode


@pytest.mark.parametrize("text", ["Extract it.", "Hello.", "Tell me a story."])
def test_every_choice_has_its_reasons(text):
    assert choose(text).reasons
