"""When the window is full, and what is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.domain.compaction import Load, answer_tokens, extract, first_shown, material
from librarian.domain.errors import ContextOverflow
from librarian.domain.transcript import Message, Role, ToolCall, Transcript, assistant, user

CHAT = Transcript([m for n in range(10) for m in (user(f"q{n}"), assistant(f"a{n}"))] + [user("now")])


def shown(counts, *, window, fixed=0, answer=0, covered=0, transcript=CHAT):
    return first_shown(Load(counts, fixed, answer, covered), window, transcript.messages, transcript.news_at)


def test_what_fits_is_left_alone():
    assert 0 == shown([10] * 21, window=210)


def test_what_is_over_is_cut_well_below_and_before_a_reader_speaks():
    at = shown([100] * 21, window=2000)

    assert at > 2
    assert CHAT.messages[at].role is Role.USER
    assert sum([100] * (21 - at)) <= 1400 - 700


def test_what_was_summarised_before_is_not_counted_again():
    assert 10 == shown([100] * 21, window=1100, covered=10)


def test_the_last_turn_is_never_cut():
    with pytest.raises(ContextOverflow) as refused:
        shown([10] * 20 + [500], window=600, fixed=80, answer=50)

    assert (630, 600) == (refused.value.needed_tokens, refused.value.window_tokens)
    assert "context_length_exceeded" == refused.value.code


@given(
    counts=st.lists(st.integers(1, 400), min_size=21, max_size=21),
    window=st.integers(500, 6000),
    fixed=st.integers(0, 500),
    covered=st.sampled_from([0, 2, 8]),
)
def test_compaction_keeps_the_last_turn_and_fits(counts, window, fixed, covered):
    try:
        at = shown(counts, window=window, fixed=fixed, covered=covered)
    except ContextOverflow:
        assert fixed + counts[-1] > window
        return

    assert covered <= at <= CHAT.news_at
    assert fixed + sum(counts[at:]) <= window


def test_a_call_is_not_parted_from_its_answer():
    call = ToolCall("1", "look", "{}")
    loop = [user("a"), assistant("", (call,)), Message(Role.TOOL, "x", answers="1"), assistant("b")]
    transcript = Transcript([*loop, user("c"), assistant("d"), user("e")])

    for window in range(120, 700, 20):
        at = shown([100, 100, 100, 100, 10, 10, 10], window=window, transcript=transcript)
        assert transcript.messages[at].role is Role.USER


def test_a_long_tool_loop_is_cut_before_a_call():
    loop = [
        m
        for n in range(6)
        for m in (assistant("", (ToolCall(str(n), "look", "{}"),)), Message(Role.TOOL, "x", answers=str(n)))
    ]
    transcript = Transcript([user("a"), *loop])

    for window in range(300, 1300, 50):
        at = shown([100] * 13, window=window, transcript=transcript)
        assert transcript.messages[at].role is not Role.TOOL


@pytest.mark.parametrize(("asked", "window", "kept"), [(None, 128_000, 1024), (None, 1000, 250), (50, 1000, 50)])
def test_the_answer_has_room(asked, window, kept):
    assert kept == answer_tokens(asked, window)


def test_an_extract_keeps_first_sentences_and_what_was_kept_before():
    said = [user("I am Ada. I like tea."), assistant("Noted, Ada. Welcome.")]

    assert "Before.\nuser: I am Ada.\nassistant: Noted, Ada." == extract(said, "Before.", 500)


@given(st.lists(st.text(max_size=300), max_size=30), st.text(max_size=300))
def test_summaries_are_bounded(texts, earlier):
    said = [user(text) for text in texts]

    assert len(extract(said, earlier, 400)) <= 400 + 10
    assert len(material(said, earlier, 1000)) <= 1000 + len(earlier) + 20
