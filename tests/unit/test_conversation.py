"""What a transcript asks of a conversation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.domain.conversation import (
    EMPTY,
    REMEMBERED_CHARS,
    REMEMBERED_STEPS,
    START,
    Branch,
    Context,
    Continue,
    Conversation,
    ConversationId,
    HiddenSteps,
    KnownTurn,
    PastTurn,
    Rebuild,
    Replay,
    Resume,
    Shared,
    Summary,
    TurnId,
    context_of,
    is_sealed,
    name_of_key,
    named_by_us,
    new_name,
    parent_of,
    window_on,
)
from librarian.domain.transcript import Digest, Message, Reading, Role, ToolCall, Transcript, assistant, user

ROOT = Digest(b"\0" * 32)
OTHER_ROOT = Digest(b"\1" * 32)
ID = ConversationId("conv_1")
TURN = TurnId("turn_1")
HISTORY = (user("a"), assistant("b"))
CALLS = (ToolCall("x", "look", "{}"), ToolCall("y", "see", "{}"))
SUMMARY = Context(Summary("Earlier.", 1))


def read(*spoken):
    return Reading(Transcript(spoken), ROOT)


def answer(call_id):
    return Message(Role.TOOL, f"It is {call_id}.", answers=call_id)


TOLD = read(*HISTORY, user("c"))
RESULTS = read(user("a"), assistant("", CALLS), answer("y"), answer("x"))
RESULTS_AND_MORE = read(user("a"), assistant("", CALLS), answer("y"), answer("x"), user("Quick!"))


def known(reading=TOLD, *, tip=True, context=SUMMARY):
    return KnownTurn(TURN, 7, reading.parent, context, tip)


TIP = known()
INNER = known(tip=False)
ELSEWHERE = KnownTurn(TurnId("turn_2"), 3, read(user("z"), assistant("z"), user("c")).parent)
SHARED = Shared(ELSEWHERE, 1, frozenset({3}))

PLANS = {
    "nothing known, nothing said before": (Conversation(ID), read(user("a")), START),
    "nothing but a system message": (Conversation(ID), read(Message(Role.SYSTEM, "Be kind.")), START),
    "nothing said before, under a known key": (Conversation(ID, 7, key="chat"), read(user("a")), START),
    "nothing said before, in a conversation with a known turn": (Conversation(ID, 7, TIP), read(user("a")), START),
    "a reply to be carried on, nothing before it": (Conversation(ID, 7), read(user("a"), assistant("b")), START),
    "a tip": (Conversation(ID, 7, TIP), TOLD, Continue(TIP)),
    "a tip that is not the head": (Conversation(ID, 9, TIP, "chat"), TOLD, Continue(TIP)),
    "a tip, and several messages after it": (
        Conversation(ID, 7, TIP),
        read(*HISTORY, user("c"), user("d")),
        Continue(TIP),
    ),
    "a tip, and a reply to be carried on": (
        Conversation(ID, 7, TIP),
        read(*HISTORY, user("c"), assistant("d")),
        Continue(TIP),
    ),
    "a tip in calls, and their results": (
        Conversation(ID, 7, known(RESULTS)),
        RESULTS,
        Resume(known(RESULTS)),
    ),
    "a tip in calls, their results and more": (
        Conversation(ID, 7, known(RESULTS)),
        RESULTS_AND_MORE,
        Resume(known(RESULTS)),
    ),
    "a turn that something follows": (Conversation(ID, 8, INNER), TOLD, Branch(INNER)),
    "calls that were answered before": (
        Conversation(ID, 8, known(RESULTS, tip=False)),
        RESULTS,
        Branch(known(RESULTS, tip=False)),
    ),
    "turns nobody knows": (Conversation(ID), TOLD, Rebuild(HISTORY)),
    "turns nobody knows, under a known key": (Conversation(ID, 7, key="chat"), TOLD, Rebuild(HISTORY)),
    "results of calls nobody knows": (Conversation(ID), RESULTS, Rebuild((user("a"), assistant("", CALLS)))),
    "another turn than the parent known": (Conversation(ID, 3, ELSEWHERE), TOLD, Rebuild(HISTORY)),
    "turns after one that is shared": (
        Conversation(ID, 7, shared=Shared(ELSEWHERE, 1)),
        TOLD,
        Rebuild(HISTORY[1:], ELSEWHERE),
    ),
    "a window": (Conversation(ID, 7, shared=SHARED), TOLD, Rebuild(HISTORY[1:], ELSEWHERE, frozenset({3}))),
    "a parent by its name": (
        Conversation(ID, 7, shared=Shared(ELSEWHERE, len(HISTORY))),
        TOLD,
        Rebuild((), ELSEWHERE),
    ),
}


@pytest.mark.parametrize(("conversation", "reading", "expected"), PLANS.values(), ids=PLANS.keys())
def test_a_transcript_has_one_plan(conversation, reading, expected):
    plan = conversation.plan(reading)

    assert (type(expected), expected) == (type(plan), plan)


@pytest.mark.parametrize("turn", [TIP, INNER], ids=["tip", "inner"])
def test_who_finds_the_thread_engaged_branches(turn):
    assert Branch(turn) == Conversation(ID, 7, turn).plan(TOLD, engaged=True)


@pytest.mark.parametrize(
    ("conversation", "reading"),
    [
        (Conversation(ID), read(user("a"))),
        (Conversation(ID), TOLD),
        (Conversation(ID, 7, shared=SHARED), TOLD),
    ],
)
def test_what_has_no_thread_yet_finds_none_engaged(conversation, reading):
    assert conversation.plan(reading) == conversation.plan(reading, engaged=True)


@pytest.mark.parametrize(
    ("plan", "context", "parent"),
    [
        (START, EMPTY, None),
        (Continue(TIP), SUMMARY, TIP),
        (Resume(TIP), SUMMARY, TIP),
        (Branch(INNER), SUMMARY, INNER),
        (Rebuild(HISTORY), EMPTY, None),
        (Rebuild(HISTORY, TIP), EMPTY, TIP),  # what stood beside it is dropped
        (Rebuild((), TIP, frozenset({5, 7})), Context(oldest=5), TIP),  # but for what was cut off
        (Replay(TURN), EMPTY, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_stands_beside_it_and_above_it(plan, context, parent):
    assert (context, parent) == (context_of(plan), parent_of(plan))


spoken = st.one_of(
    st.builds(user, st.text(max_size=3)),
    st.builds(assistant, st.text(max_size=3)),
    st.text(max_size=3).map(lambda text: Message(Role.SYSTEM, text)),
)
turns = st.builds(KnownTurn, st.just(TURN), st.integers(1, 9), st.binary(min_size=32, max_size=32), tip=st.booleans())


@given(
    spoken=st.lists(spoken, max_size=6),
    known=st.none() | st.just("the parent") | turns,
    shared=st.none() | turns,
    head=st.none() | st.integers(1, 9),
    engaged=st.booleans(),
)
def test_there_is_a_plan_for_everything(spoken, known, shared, head, engaged):
    reading = read(*spoken)
    if known == "the parent":
        known = KnownTurn(TURN, 7, reading.parent or ROOT)
    at = Shared(shared, reading.transcript.news_at) if shared else None

    plan = Conversation(ID, head, known, shared=at).plan(reading, engaged=engaged)

    if isinstance(plan, Continue | Resume | Branch):
        assert reading.parent == plan.at.digest
    elif reading.parent is None:
        assert START == plan
    elif at is None:
        assert Rebuild(reading.transcript.history) == plan
    else:
        assert Rebuild((), shared) == plan


# Windows


def past(number, *heard, reply, seed=()):
    return PastTurn(number, seed, heard, assistant(reply))


PATH = (
    past(3, user("five"), reply="six"),
    past(2, user("three"), reply="four"),
    past(1, user("one"), reply="two"),
)
WHOLE = [user("one"), assistant("two"), user("three"), assistant("four"), user("five"), assistant("six")]


@pytest.mark.parametrize(
    ("shown", "turns"),
    [
        (WHOLE, {1, 2, 3}),
        (WHOLE[2:], {2, 3}),
        (WHOLE[3:], {2, 3}),
        (WHOLE[4:], {3}),
        (WHOLE[5:], {3}),
        ([], set()),
    ],
)
def test_a_window_shows_the_newest_turns(shown, turns):
    assert turns == window_on(shown, PATH)


@pytest.mark.parametrize(
    "shown",
    [
        [user("zero"), *WHOLE],  # it begins before the root
        [user("Three?"), *WHOLE[3:]],
        [*WHOLE[:2], *WHOLE[4:]],  # the middle is gone
        WHOLE[:4],
        [user("six")],
    ],
)
def test_what_differs_before_its_beginning_is_no_window(shown):
    assert window_on(shown, PATH) is None


def test_nothing_is_a_window_on_no_path():
    assert window_on(WHOLE, ()) is None
    assert frozenset() == window_on([], ())


def test_a_window_reaches_into_what_a_turn_was_rebuilt_from():
    seed = (user("one"), assistant("two"))
    path = (past(2, user("five"), reply="six"), past(1, user("three"), reply="four", seed=seed))

    assert {1, 2} == window_on(WHOLE, path) == window_on(WHOLE[1:], path)


def test_a_window_shows_a_reply_that_was_carried_on_as_one():
    path = (past(2, user("And?"), reply="Four."), past(1, user("Count."), assistant("One, "), reply="two."))
    shown = [assistant("One, two."), user("And?"), assistant("Four.")]

    assert {1, 2} == window_on(shown, path)


@pytest.mark.parametrize("results", [(answer("x"), answer("y")), (answer("y"), answer("x"))])
def test_a_window_shows_results_in_any_order(results):
    called = PastTurn(1, (), (user("Look and see."),), assistant("", CALLS))
    path = (PastTurn(2, (), (answer("y"), answer("x"), user("Quick!")), assistant("Done.")), called)
    shown = [user("Look and see."), assistant("", CALLS), *results, user("Quick!"), assistant("Done.")]

    assert {1, 2} == window_on(shown, path)


@pytest.mark.parametrize(
    ("turn", "messages"),
    [
        (past(1, user("a"), reply="b"), [user("a"), assistant("b")]),
        (past(1, user("a"), user("b"), reply="c"), [user("a"), user("b"), assistant("c")]),
        (past(1, user("a"), assistant("b"), reply="c"), [user("a"), assistant("bc")]),
        (past(1, assistant("b"), reply="c"), [assistant("bc")]),
        (past(1, user("c"), reply="d", seed=HISTORY), [*HISTORY, user("c"), assistant("d")]),
        (past(1, reply="d", seed=HISTORY), [*HISTORY, assistant("d")]),
        (PastTurn(1, (), (user("a"),), assistant("", CALLS)), [user("a"), assistant("", CALLS)]),
    ],
)
def test_a_past_turn_reads_as_the_clients_next_transcript_has_it(turn, messages):
    assert messages == list(turn.messages)


# Names

digests = st.binary(min_size=32, max_size=32).map(Digest)
chances = st.text("0123456789abcdef", min_size=24, max_size=24)


@given(root=digests, chance=chances, key=st.text())
def test_the_houses_own_names_are_known_again(root, chance, key):
    for name in (new_name(root, chance), name_of_key(root, key)):
        assert name == named_by_us(name)
        assert is_sealed(root, name)


@given(root=digests, other=digests, chance=chances, key=st.text())
def test_a_name_of_somebody_elses_is_not_sealed(root, other, chance, key):
    if root != other:
        assert not is_sealed(other, new_name(root, chance))
        assert not is_sealed(other, name_of_key(root, key))


@given(root=digests, chance=chances, seal=st.text("0123456789abcdef", min_size=8, max_size=8))
def test_a_forged_name_is_not_sealed(root, chance, seal):
    forged = ConversationId(f"conv_{chance}{seal}")

    assert (forged == new_name(root, chance)) == is_sealed(root, forged)
    assert not is_sealed(root, ConversationId(f"conv_{chance}"))


@given(name=st.text() | st.from_regex(r"conv_[0-9a-zA-Z]{20,36}\s?", fullmatch=True))
def test_any_text_may_be_asked_about(name):
    assert is_sealed(ROOT, ConversationId(name)) <= (named_by_us(name) == name)


@pytest.mark.parametrize(
    "name", ["", "conv_", "conv_1", "my chat", f"conv_{'0' * 24}\n", f"CONV_{'0' * 24}", f"conv_{'G' * 24}"]
)
def test_what_has_not_their_form_is_the_clients_own(name):
    assert named_by_us(name) is None


@given(root=digests, one=st.text(), other=st.text())
def test_a_key_names_one_conversation_of_each_owner(root, one, other):
    assert (one == other) == (name_of_key(root, one) == name_of_key(root, other))
    assert name_of_key(ROOT, one) != name_of_key(OTHER_ROOT, one)


# What stands beside the transcript


def test_hidden_steps_are_kept_but_not_for_ever():
    context = EMPTY
    for at in range(REMEMBERED_STEPS + 3):
        context = context.with_steps(at, [assistant("x")])

    assert list(range(3, REMEMBERED_STEPS + 3)) == [steps.at for steps in context.steps]


def test_hidden_steps_are_bounded_in_size():
    context = EMPTY.with_steps(0, [assistant("x" * 10)]).with_steps(1, [assistant("x" * REMEMBERED_CHARS)])

    assert [1] == [steps.at for steps in context.steps]


def test_what_was_cut_off_is_known_from_then_on():
    context = Context(oldest=5)

    assert Context(None, (HiddenSteps(1, (assistant("x"),)),), 5) == context.with_steps(1, [assistant("x")])
    assert Context(Summary("", 4), (), 5) == context.with_summary(Summary("", 4))


def test_a_summary_takes_the_steps_it_stands_for():
    context = EMPTY.with_steps(1, [assistant("x")]).with_steps(5, [assistant("y")])

    assert [5] == [steps.at for steps in context.with_summary(Summary("", 4)).steps]
