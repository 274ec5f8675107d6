"""What a transcript asks of a conversation."""

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
    KnownTurn,
    Rebuild,
    Summary,
    TurnId,
    context_of,
)
from librarian.domain.transcript import Digest, Reading, Transcript, assistant, user

ROOT = Digest(b"\0" * 32)
ID = ConversationId("conv_1")
TURN = TurnId("turn_1")
TOLD = Reading(Transcript([user("a"), assistant("b"), user("c")]), ROOT)


def test_nothing_known_and_nothing_said_before_is_a_start():
    assert START == Conversation(ID).plan(Reading(Transcript([user("a")]), ROOT))


def test_the_tip_is_continued_with_what_was_shown_beside_it():
    context = Context(Summary("Earlier.", 1))
    known = KnownTurn(TURN, 7, TOLD.parent, context)

    assert Continue(known) == Conversation(ID, 7, known).plan(TOLD)
    assert context == context_of(Continue(known))


def test_a_turn_that_is_no_tip_is_branched_from_with_its_own_context():
    known = KnownTurn(TURN, 7, TOLD.parent, Context(Summary("Earlier.", 1)), tip=False)

    assert Branch(known) == Conversation(ID, 8, known).plan(TOLD)
    assert known.context == context_of(Branch(known))


def test_history_that_nobody_knows_is_the_seed():
    assert Rebuild((user("a"), assistant("b"))) == Conversation(ID).plan(TOLD)


def test_hidden_steps_are_kept_but_not_for_ever():
    context = EMPTY
    for at in range(REMEMBERED_STEPS + 3):
        context = context.with_steps(at, [assistant("x")])

    assert list(range(3, REMEMBERED_STEPS + 3)) == [steps.at for steps in context.steps]


def test_hidden_steps_are_bounded_in_size():
    context = EMPTY.with_steps(0, [assistant("x" * 10)]).with_steps(1, [assistant("x" * REMEMBERED_CHARS)])

    assert [1] == [steps.at for steps in context.steps]


def test_a_summary_takes_the_steps_it_stands_for():
    context = EMPTY.with_steps(1, [assistant("x")]).with_steps(5, [assistant("y")])

    assert [5] == [steps.at for steps in context.with_summary(Summary("", 4)).steps]
