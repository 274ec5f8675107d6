"""What many clients do in one house, as programs that can be drawn, shrunk, printed and run again.

Numbers that say which (a chat, a message) are taken modulo what there is, so every program can be run.
"""

from dataclasses import dataclass, fields
from enum import StrEnum

from hypothesis import strategies as st


class Shape(StrEnum):
    """How the client makes its next transcript of the chat that it holds."""

    APPEND = "append"
    EDIT = "edit"
    REGENERATE = "regenerate"
    BACK = "back"
    REWRITE = "rewrite"
    TRIM = "trim"
    PREFILL = "prefill"
    EMPTY_PREFILL = "empty prefill"
    CARRY = "carry"
    GAP = "gap"
    RETELL = "retell"
    ABANDON = "abandon"


class Doing(StrEnum):
    """What the model does."""

    SAY = "say"
    SAME = "same"
    SILENCE = "silence"
    NOTE = "note"
    TALK_AND_NOTE = "talk and note"
    CALL = "call"
    CALLS = "calls"
    NOTE_AND_CALL = "note and call"
    FAIL = "fail"
    BREAK = "break"
    NOTE_AND_FAIL = "note and fail"


class Ending(StrEnum):
    """How far the client reads. CANCEL: it is gone after some ticks of the loop; CRASH: so is the house, in a turn."""

    WHOLE = "whole"
    UNSTARTED = "unstarted"
    BEGUN = "begun"
    MIDWAY = "midway"
    LAST = "last"
    CANCEL = "cancel"
    CRASH = "crash"


class Kind(StrEnum):
    """What the request may do with memory."""

    CHAT = "chat"
    READ = "read"
    OFF = "off"
    TASK = "task"


class Evidence(StrEnum):
    """What shows that a request was sent before."""

    NONE = "none"
    RETRIED = "retried"
    SAME_KEY = "same key"
    OTHER_BODY = "same key, another body"


class Brief:
    """Says of itself only what is out of the ordinary, and so that it can be pasted into a test."""

    def __repr__(self):
        told = [(field, getattr(self, field.name)) for field in fields(self)]
        said = [f"{field.name}={_said(value)}" for field, value in told if value != field.default]
        return f"{type(self).__name__}({', '.join(said)})"

    def _repr_pretty_(self, printer, _cycle):
        printer.text(repr(self))


def _said(value):
    return f"{type(value).__name__}.{value.name}" if isinstance(value, StrEnum) else repr(value)


@dataclass(frozen=True, repr=False)
class Send(Brief):
    """`common`: of the words that everybody uses, these; 0: words of its own. `idem`: its idempotency key, 0: none.

    `at`: where in the chat, in what order results come, and whether a client keeps a broken answer. `pick`: with which
    of the choices the client goes on. `retried`: it says that it sent this before, and that never came.
    """

    chat: int = 0
    shape: Shape = Shape.APPEND
    at: int = 0
    common: int = 0
    doing: Doing = Doing.SAY
    ending: Ending = Ending.WHOLE
    ticks: int = 0
    kind: Kind = Kind.CHAT
    manner: int = 0
    idem: int = 0
    retried: bool = False
    choices: int = 1
    pick: int = 0


@dataclass(frozen=True, repr=False)
class Again(Brief):
    """The last request of a chat once more."""

    chat: int = 0
    evidence: Evidence = Evidence.NONE
    doing: Doing = Doing.SAY
    ending: Ending = Ending.WHOLE
    ticks: int = 0


@dataclass(frozen=True, repr=False)
class Open(Brief):
    """Another chat of the same person, with all that was said in the old one. `key` 0: none; `by_id`: the house's own
    name for the conversation is sent along once it is known."""

    chat: int = 0
    key: int = 0
    by_id: bool = False


@dataclass(frozen=True, repr=False)
class Together(Brief):
    sends: tuple[Send | Again, ...] = ()


@dataclass(frozen=True, repr=False)
class Restart(Brief):
    crash: bool = False


@dataclass(frozen=True, repr=False)
class Intrude(Brief):
    """Somebody asks for a conversation of somebody else by the house's name for it."""

    chat: int = 0
    other: int = 0


Step = Send | Again | Open | Together | Restart | Intrude

CHATS = st.sampled_from([0] * 10 + [1] * 10 + [2] * 4 + [3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12])
PLACES = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
MANNERS = st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, 4, 5])
TICKS = st.integers(0, 40)


def _weighted(**times):
    """Names of members, as often as they are to come; the simplest first."""
    return [name for name, often in times.items() for _ in range(often)]


def _of(kind, **times):
    return st.sampled_from([kind[name] for name in _weighted(**times)])


SHAPES = _of(
    Shape,
    APPEND=14,
    EDIT=2,
    REGENERATE=3,
    BACK=2,
    REWRITE=2,
    TRIM=4,
    PREFILL=1,
    EMPTY_PREFILL=1,
    CARRY=1,
    GAP=1,
    RETELL=2,
    ABANDON=1,
)
DOINGS = _of(
    Doing,
    SAY=5,
    SAME=7,
    NOTE=2,
    TALK_AND_NOTE=1,
    SILENCE=1,
    CALL=2,
    CALLS=3,
    NOTE_AND_CALL=1,
    FAIL=1,
    BREAK=1,
    NOTE_AND_FAIL=1,
)
ENDINGS = _of(Ending, WHOLE=14, UNSTARTED=1, BEGUN=1, MIDWAY=2, LAST=2, CANCEL=2, CRASH=1)
SENDS = st.builds(
    Send,
    chat=CHATS,
    shape=SHAPES,
    at=PLACES,
    common=st.sampled_from([0, 0, 1, 1, 1, 2]),
    doing=DOINGS,
    ending=ENDINGS,
    ticks=TICKS,
    kind=_of(Kind, CHAT=24, READ=1, OFF=1, TASK=1),
    manner=MANNERS,
    retried=st.sampled_from([False, False, False, True]),
    idem=st.sampled_from([0, 0, 0, 0, 0, 1, 2]),
    choices=st.sampled_from([1, 1, 1, 1, 1, 2, 3]),
    pick=st.integers(0, 2),
)
AGAINS = st.builds(
    Again,
    chat=CHATS,
    evidence=_of(Evidence, NONE=2, RETRIED=3, SAME_KEY=2, OTHER_BODY=1),
    doing=DOINGS,
    ending=ENDINGS,
    ticks=TICKS,
)
OPENS = st.builds(Open, chat=CHATS, key=st.integers(0, 2), by_id=st.booleans())
TOGETHERS = st.builds(
    Together,
    st.lists(st.one_of(SENDS, SENDS, AGAINS), min_size=2, max_size=4).map(tuple),
)
RACES = st.builds(lambda send, times: Together((send,) * times), SENDS, st.integers(2, 4))
STEPS = st.one_of(
    SENDS,
    SENDS,
    SENDS,
    SENDS,
    SENDS,
    AGAINS,
    AGAINS,
    TOGETHERS,
    RACES,
    OPENS,
    st.builds(Restart, st.booleans()),
    st.builds(Intrude, CHATS, CHATS),
)

LETTA_SENDS = st.builds(
    Send,
    chat=CHATS,
    shape=SHAPES,
    at=PLACES,
    common=st.sampled_from([0, 0, 1, 1, 1, 2]),
    doing=_of(Doing, SAY=5, SAME=7, NOTE=2, CALL=2, CALLS=2),
    ending=_of(Ending, WHOLE=14, BEGUN=1, MIDWAY=1, LAST=2),
    manner=MANNERS,
    choices=st.sampled_from([1, 1, 1, 1, 1, 2]),
    pick=st.integers(0, 1),
)
LETTA_STEPS = st.one_of(
    LETTA_SENDS,
    LETTA_SENDS,
    LETTA_SENDS,
    LETTA_SENDS,
    OPENS,
    st.builds(Restart),
    st.builds(Together, st.lists(LETTA_SENDS, min_size=2, max_size=3).map(tuple)),
)


def programs(scenes=12, steps=STEPS):
    """Lists of steps. They are drawn in scenes, which keeps them long and yet easily shrunk."""
    return st.lists(st.lists(steps, min_size=1, max_size=6), min_size=1, max_size=scenes).map(
        lambda drawn: [step for scene in drawn for step in scene]
    )
