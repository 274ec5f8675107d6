"""Clients of many kinds, each of which keeps its chats as OpenAI's clients do and sends them whole."""

import json
from dataclasses import dataclass, field

from librarian.domain.errors import UpstreamRefused
from librarian.domain.identity import LOCAL, Principal, PrincipalId, subject_of
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import Message, Role, assistant, user
from librarian.domain.turn import StopReason, TextSpoken, ToolCalled
from tests.fakes.overheard import ended
from tests.property.programs import Doing, Shape

ACME = Principal(PrincipalId("acme"))
PEOPLE = {"ada": (LOCAL, "Ada"), "ben": (LOCAL, "Ben"), "all": (LOCAL, None), "eve": (ACME, "Ada"), "kim": (ACME, None)}
OWNERS = {name: subject_of(*who) for name, who in PEOPLE.items()}
KEYS = (None, "chat-1", "chat-2")
WEATHER = ToolSpec("get_weather", "Weather.", '{"type":"object","properties":{"place":{"type":"string"}}}')
COMMON = "Tell me of the garden."
INDEED = "Indeed, the garden."


@dataclass
class Chat:
    """As its client holds it. `called`: the client's name for it; `by_id`: it sends the house's own."""

    owner: str
    called: str | None = None
    by_id: bool = False
    messages: list = field(default_factory=list)
    conversation: str | None = None
    last: object = None

    @property
    def name(self):
        return self.conversation if self.by_id else self.called


def opened():
    """Twins among them, with and without a key, and people who use the same key."""
    return [
        Chat("ada"),
        Chat("ada", "chat-1"),
        Chat("ada"),
        Chat("ben"),
        Chat("ada", by_id=True),
        Chat("ben", "chat-1"),
        Chat("eve", "chat-1"),
        Chat("all"),
        Chat("kim"),
        Chat("eve"),
    ]


class Words:
    """Texts that say whose they are, and that are alike enough to be recalled."""

    def __init__(self):
        self._said = 0

    def own(self, owner, what):
        self._said += 1
        return f"z{owner}{self._said}z: {what} the garden"


def owners_in(text):
    """Whose words are in it."""
    return {name for name in PEOPLE if f"z{name}" in text}


def pending(messages):
    return bool(messages) and bool(messages[-1].calls)


def answered(messages, at, result):
    """With the results of the calls that it ends in, if it does, in some order."""
    if not pending(messages):
        return messages
    results = [Message(Role.TOOL, f"{result} {n}", answers=call.id) for n, call in enumerate(messages[-1].calls)]
    turned = at % len(results)
    return [*messages, *results[turned:], *results[:turned]]


def shaped(shape, messages, at, words, result):
    """The next transcript. `words`: makes what is newly said."""
    if not messages:
        return [user(words("ask of"))]
    return SHAPED[shape](list(messages), at, words, result)


def _append(messages, at, words, result):
    if pending(messages) and at % 2:
        return answered(messages, at // 2, result)
    return [*answered(messages, at // 2, result), user(words("ask of"))]


def _nth(messages, at, fits):
    """The place of one of those that fit, the newest first; None if there is none."""
    places = [place for place, message in enumerate(messages) if fits(message)]
    return places[-1 - at % len(places)] if places else None


def _is_users(message):
    return message.role is Role.USER


def _is_answer(message):
    return message.role is Role.ASSISTANT and not message.calls


def _edit(messages, at, words, _):
    place = _nth(messages, at, _is_users)
    return [*messages[:place], user(words("ask anew of"))]


def _regenerate(messages, at, words, result):
    place = _nth(messages, at, lambda message: message.role is Role.ASSISTANT)
    return messages[:place] if place else _append(messages, at, words, result)


def _back(messages, at, words, result):
    place = _nth(messages, at, _is_answer)
    return _append(messages if place is None else messages[: place + 1], at, words, result)


def _rewrite(messages, at, words, result):
    place = _nth(messages, at, lambda message: _is_users(message) or _is_answer(message))
    messages[place] = messages[place]._replace(text=words("what was said of"))
    return _append(messages, at, words, result)


def _trim(messages, at, words, result):
    """Mostly a little, as windows slide."""
    places = [place for place, message in enumerate(messages) if _is_users(message) and place]
    return _append(messages[places[at % 3 % len(places)] :] if places else messages, at, words, result)


def _prefill(messages, at, words, result):
    return [*answered(messages, at, result), user(words("ask of")), assistant("I begin: ")]


def _empty_prefill(messages, at, words, result):
    return [*answered(messages, at, result), user(words("ask of")), assistant("")]


def _carry(messages, at, words, result):
    return messages if _is_answer(messages[-1]) else _append(messages, at, words, result)


def _gap(messages, at, words, result):
    return [*answered(messages, at, result), user(words("ask of")), assistant(""), user(words("ask once more of"))]


def _retell(messages, at, words, result):
    """The same once more, as other clients write it: other names of calls, results in another order, white space."""
    told, run = [], []
    for message in [*messages, None]:
        if message is not None and message.role is Role.TOOL:
            run.insert(0, message._replace(answers=f"{message.answers}r"))
            continue
        told += run
        run = []
        if message is not None:
            calls = tuple(call._replace(id=f"{call.id}r", arguments=f" {call.arguments} ") for call in message.calls)
            told.append(message._replace(text=f"{message.text}\r\n", calls=calls))
    return _append(told, at, words, result)


def _abandon(messages, at, words, result):
    """Not all calls are answered."""
    if not pending(messages):
        return _append(messages, at, words, result)
    return [*answered(messages, at, result)[: -1 - at % 2 or None], user(words("ask of"))]


SHAPED = {
    Shape.APPEND: _append,
    Shape.EDIT: _edit,
    Shape.REGENERATE: _regenerate,
    Shape.BACK: _back,
    Shape.REWRITE: _rewrite,
    Shape.TRIM: _trim,
    Shape.PREFILL: _prefill,
    Shape.EMPTY_PREFILL: _empty_prefill,
    Shape.CARRY: _carry,
    Shape.GAP: _gap,
    Shape.RETELL: _retell,
    Shape.ABANDON: _abandon,
}
CALLING = frozenset({Doing.CALL, Doing.CALLS, Doing.NOTE_AND_CALL})
FAILING = frozenset({Doing.FAIL, Doing.BREAK, Doing.NOTE_AND_FAIL})
NOTING = frozenset({Doing.NOTE, Doing.TALK_AND_NOTE, Doing.NOTE_AND_CALL, Doing.NOTE_AND_FAIL})


def acts(doing, answer, fact, call_id):
    """What the model does, step by step. `call_id`: makes one."""
    note = ToolCalled(0, call_id(), "memory_insert", json.dumps({"label": "human", "new_string": fact}))
    called, done = ended(StopReason.TOOL_CALLS), ended()
    say = [TextSpoken((answer[:5], answer[5:])), done]
    weather = [ToolCalled(n, call_id(), "get_weather", json.dumps({"place": f"P{n}"})) for n in (0, 1)]
    half = TextSpoken((f"{answer}, or",))
    broken = UpstreamRefused("The language model broke off.", heard=True)
    return {
        Doing.SAY: lambda: [say],
        Doing.SAME: lambda: [[TextSpoken((INDEED,)), done]],
        Doing.SILENCE: lambda: [[done]],
        Doing.NOTE: lambda: [[note, called], say],
        Doing.TALK_AND_NOTE: lambda: [[TextSpoken(("Let me see.",)), note, called], say],
        Doing.CALL: lambda: [[weather[0], called]],
        Doing.CALLS: lambda: [[*weather, called]],
        Doing.NOTE_AND_CALL: lambda: [[note, weather[1], called]],
        Doing.FAIL: lambda: [[broken]],
        Doing.BREAK: lambda: [[half, broken]],
        Doing.NOTE_AND_FAIL: lambda: [[note, called], [half, broken]],
    }[doing]()


def stripped(messages):
    """Without the house's own steps, which are told by the name of their tool."""
    ours = {call.id for message in messages for call in message.calls if call.name != "get_weather"}
    kept = []
    for message in messages:
        theirs = tuple(call for call in message.calls if call.id not in ours)
        if message.answers in ours or (message.calls and not theirs and not message.text):
            continue
        kept.append(message._replace(calls=theirs))
    return kept
