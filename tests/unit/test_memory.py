"""Edits of memory, and taking them back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.domain.errors import MemoryRefused
from librarian.domain.memory import (
    Append,
    Insert,
    MemoryBlock,
    Replace,
    Rethink,
    check_passage,
    edited,
    taken_back,
    touched,
)

HUMAN = MemoryBlock("human", "Ada\nLives in Lisbon", 60)
LABELS = st.sampled_from(["human", "persona", "other"])
TEXTS = st.text(max_size=40)
EDITS = st.one_of(
    st.builds(Append, LABELS, TEXTS),
    st.builds(Insert, LABELS, TEXTS, st.integers(-2, 5)),
    st.builds(Replace, LABELS, TEXTS, TEXTS),
    st.builds(Rethink, LABELS, TEXTS),
)


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        (Append("human", "x"), "Ada\nLives in Lisbon\nx"),
        (Insert("human", "x"), "Ada\nLives in Lisbon\nx"),
        (Insert("human", "x", 0), "x\nAda\nLives in Lisbon"),
        (Insert("human", "x", 1), "Ada\nx\nLives in Lisbon"),
        (Replace("human", "Lisbon", "Porto"), "Ada\nLives in Porto"),
        (Replace("human", "\nLives in Lisbon", ""), "Ada"),
        (Rethink("human", "New."), "New."),
    ],
)
def test_edits(edit, value):
    assert value == edited(edit, [HUMAN])[1].value


@pytest.mark.parametrize(
    "edit",
    [
        Insert("human", "x", 3),
        Insert("human", "x", -2),
        Replace("human", "Berlin", "x"),
        Replace("human", "", "x"),
        Replace("human", "i", "x"),
        Append("nobody", "x"),
        Append("human", "x" * 60),
        Rethink("no/slash", "x"),
    ],
)
def test_edits_that_are_refused(edit):
    with pytest.raises(MemoryRefused):
        edited(edit, [HUMAN])


def test_a_text_found_twice_is_refused_with_its_lines():
    with pytest.raises(MemoryRefused, match="in lines 1, 3"):
        edited(Replace("human", "cat", "dog"), [MemoryBlock("human", "a cat\nno\na cat")])


def test_a_read_only_block_is_not_edited():
    with pytest.raises(MemoryRefused, match="read-only"):
        edited(Append("human", "x"), [MemoryBlock("human", "", read_only=True)])


def test_an_empty_block_gets_no_empty_line():
    assert "x" == edited(Insert("human", "x"), [MemoryBlock("human", "")])[1].value


def test_rethinking_makes_a_block():
    before, after = edited(Rethink("goals", "Learn."), [HUMAN])

    assert (None, MemoryBlock("goals", "Learn.")) == (before, after)


@given(value=st.text(max_size=60), edit=EDITS)
def test_no_edit_exceeds_a_limit(value, edit):
    blocks = [MemoryBlock("human", value, 60), MemoryBlock("persona", "I am.", 10)]
    try:
        _, after = edited(edit, blocks)
    except MemoryRefused:
        return

    assert len(after.value) <= after.limit_chars


@given(value=st.text(alphabet="ab\n", max_size=20), edit=EDITS, later=st.text(alphabet="xyz", min_size=1, max_size=5))
def test_an_edit_is_taken_back_or_left_alone(value, edit, later):
    block = MemoryBlock("human", value)
    try:
        before, after = edited(edit, [block])
    except MemoryRefused:
        return
    if before is None:
        return
    took, put = touched(edit, before.value)

    back = taken_back(after.value, took, put)

    assert (
        back is None or put == "" or put in value or back == value or back.replace("\n", "") == value.replace("\n", "")
    )


def test_an_edit_is_taken_back_from_under_a_later_one():
    _, first = edited(Insert("human", "Likes tea"), [HUMAN])
    _, second = edited(Append("human", "Likes rain"), [first])

    assert "Ada\nLives in Lisbon\nLikes rain" == taken_back(second.value, *touched(Insert("human", "Likes tea"), ""))


def test_an_edit_that_cannot_be_told_apart_stays():
    assert taken_back("tea\ntea", "", "tea") is None


@pytest.mark.parametrize("text", ["", " \n", "x" * 20_001])
def test_passages_that_are_refused(text):
    with pytest.raises(MemoryRefused):
        check_passage(text)
