"""What becomes of a request, by the rules and by nothing else: no digests, no indexes, every turn is looked at.

A turn is known by what its client will send of it: an owner, and a tuple of canonical messages.
"""

import json
from dataclasses import dataclass, field

from librarian.domain.transcript import Message, Role

MOST_ALIKE = 4
"""How many turns that ended in the same words are compared with a window; what lies behind them may be found or not."""


def canonical(messages):
    """Role, words, calls and name of each; results in the order of the calls that they answer."""
    forms, order = [], []
    for message in messages:
        if message.role is Role.TOOL:
            forms.append((order.index(message.answers), _form(message)))
        else:
            order = [call.id for call in message.calls]
            forms.append((-1, _form(message)))
    sorted_forms, run = [], []
    for place, form in [*forms, (-1, None)]:
        if place >= 0:
            run.append((place, form))
            continue
        sorted_forms += [form for _, form in sorted(run)]
        run = []
        sorted_forms.append(form)
    return tuple(sorted_forms[:-1])


def _form(message):
    calls = tuple((call.name, json.dumps(json.loads(call.arguments), sort_keys=True)) for call in message.calls)
    return (message.role.value, message.text.replace("\r\n", "\n").strip(), calls, message.name or "")


def prefill_of(messages):
    last = messages[-1]
    return last if last.role is Role.ASSISTANT and not last.calls else None


def with_reply(messages, reply):
    """The client's chat, once it has its answer."""
    begun = prefill_of(messages)
    if begun is None:
        return [*messages, reply]
    return [*messages[:-1], reply._replace(text=begun.text + reply.text)]


def news_at(messages):
    """After the last message of the assistant that something follows."""
    answers = [at for at, message in enumerate(messages[:-1]) if message.role is Role.ASSISTANT]
    return answers[-1] + 1 if answers else 0


@dataclass
class Past:
    """A settled turn. `chain` is what its client sent and got; `path` all that is kept on the way to it."""

    number: int
    id: str
    owner: str
    conversation: str
    parent: int | None
    chain: tuple
    path: tuple
    heard: tuple
    reply: Message
    request: tuple

    @property
    def texts(self):
        """What of it can be recalled."""
        return {"\n\n".join(m.text for m in self.heard if m.role is Role.USER and m.text), self.reply.text}


@dataclass
class Expected:
    """`conversation` None: a new one. `again`: the turn that is told once more. `parents`: one of them; None: root."""

    plans: set
    conversation: str | None = None
    parents: tuple = (None,)
    window: frozenset = frozenset()
    again: Past | None = None
    refused: str | None = None
    sure: bool = True


@dataclass
class Reference:
    turns: list = field(default_factory=list)
    heads: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)
    keys: dict = field(default_factory=dict)
    keyed: dict = field(default_factory=dict)
    issued: dict = field(default_factory=dict)
    undelivered: set = field(default_factory=set)
    unanswered: dict = field(default_factory=dict)
    forgotten: set = field(default_factory=set)

    def turn(self, number):
        return next(turn for turn in self.turns if turn.number == number)

    def by_id(self, name):
        return next(turn for turn in self.turns if turn.id == name)

    def above(self, number):
        """The turn and all before it."""
        found = []
        while number is not None:
            found.append(number)
            number = self.turn(number).parent
        return found

    def on_path(self):
        return {number for head in self.heads.values() for number in self.above(head)}

    def restart(self):
        """Of requests that came to nothing or never arrived, only the process knows."""
        self.forgotten |= self.undelivered | set(self.unanswered)
        self.undelivered.clear()
        self.unanswered.clear()

    # -- what is to be expected

    def expect(self, run):
        """Of one request, alone in the house."""
        if run.plain:
            return Expected({run.plain})
        again = self._again(run)
        if again is not None and again.sure:
            return again
        expected = self.plan(run)
        if again is not None:
            expected.sure, expected.again = False, again.again
        return expected

    def _again(self, run):
        """None: it runs."""
        if run.idem is not None:
            kept = [turn for turn in self.turns if turn.request[0] == (run.tenant, run.idem, run.choice)]
            if not kept:
                return None
            if kept[-1].request[1] != run.request:
                return Expected(set(), refused="IdempotencyMismatch")
            return Expected({"Replay"}, kept[-1].conversation, again=kept[-1])
        if not run.retried and run.request not in self.undelivered | self.forgotten:
            return None
        kept = self.turns_of(run.request)
        sure = run.request not in self.forgotten
        if not kept or (sure and self.unanswered.get(run.request, -1) >= len(kept)):
            return None
        return Expected({"Replay"}, kept[-1].conversation, again=kept[-1], sure=sure)

    def turns_of(self, request):
        return [turn for turn in self.turns if turn.request[1] == request]

    def plan(self, run):
        """Of one that runs. Total, as the rules are."""
        name = self._named(run)
        if name == "unknown":
            return Expected(set(), refused="UnknownConversation")
        at = news_at(run.messages)
        history = canonical(run.messages[:at])
        if not history:
            return Expected({"Start"}, name)
        if known := self._best(run, name, history):
            tip = not self._followed(known)
            plans = {"Branch"} if not tip else {"Resume"} if run.messages[at].role is Role.TOOL else {"Continue"}
            if tip and prefill_of(run.messages) is not None:
                plans = plans | {"Branch"}
            return Expected(plans, known.conversation, (known.number,))
        for cut in range(len(history) - 1, 0, -1):
            if history[cut - 1][0] == "assistant" and (known := self._best(run, name, history[:cut])):
                return Expected({"Rebuild"}, known.conversation, (known.number,))
        if name in self.heads and run.called is not None:
            return self._window(name, history)
        return Expected({"Rebuild"}, name)

    def _window(self, name, history):
        ours = [turn for turn in reversed(self.turns) if turn.conversation == name]
        alike = [turn for turn in ours if turn.path[-1] == history[-1]]
        for place, turn in enumerate(alike):
            if turn.path[-len(history) :] == history:
                near = place < MOST_ALIKE
                shows = self._shown(turn, len(history))
                return Expected({"Rebuild"}, name, (turn.number,) if near else (turn.number, None), shows)
        return Expected({"Rebuild"}, name)

    def _shown(self, turn, messages):
        """The turns that the last so many messages are of."""
        shows = set()
        while turn is not None and messages > 0:
            shows.add(turn.number)
            before = self.turn(turn.parent) if turn.parent is not None else None
            messages -= len(turn.path) - (len(before.path) if before is not None else 0)
            turn = before
        return frozenset(shows)

    def _named(self, run):
        """The conversation that the client names; None: it names none, or one that only now begins."""
        if run.called is None:
            return None
        if run.called.startswith("conv_"):
            return run.called if self.issued.get(run.called) == run.owner else "unknown"
        return self.keys.get((run.owner, run.called))

    def _best(self, run, name, chain):
        if run.called is None:
            alike = [t for t in self.turns if t.conversation not in self.keyed]
        else:
            alike = [t for t in self.turns if t.conversation == name]
        alike = [turn for turn in alike if turn.owner == run.owner and turn.chain == chain]
        tips = [turn for turn in alike if not self._followed(turn)]
        return (tips or alike or [None])[-1]

    def _followed(self, turn):
        return any(other.parent == turn.number for other in self.turns)

    # -- what has happened

    def settled(self, run, number, parent, *, moves=None):
        """`moves`: whether the head goes there, where that is known from elsewhere."""
        name = run.began.conversation
        at = news_at(run.messages)
        heard = tuple(run.messages[at:])
        chain = canonical(with_reply(run.messages, run.reply))
        before = self.turn(parent) if parent is not None else None
        if before is None:
            path = chain
        else:
            history = canonical(run.messages[:at])
            shared = run.began.plan == "Rebuild" and history[: len(before.chain)] == before.chain
            known = len(before.chain) if shared else len(history)
            path = before.path + chain[known:]
        idem = (run.tenant, run.idem, run.choice) if run.idem is not None else None
        self.turns.append(
            Past(number, run.began.turn, run.owner, name, parent, chain, path, heard, run.reply, (idem, run.request))
        )
        if name not in self.owners and run.called is not None and not run.called.startswith("conv_"):
            self.keyed[name] = run.called
            self.keys[run.owner, run.called] = name
        self.owners[name] = run.owner
        if name not in self.heads or (not run.choice if moves is None else moves):
            self.heads[name] = number

    def heard_of(self, run, *, settled):
        """How the request came out, for when it comes again."""
        if run.began is not None and run.began.plan == "Replay":
            return
        self.forgotten.discard(run.request)
        if settled:
            self.undelivered.add(run.request)
        else:
            self.unanswered[run.request] = len(self.turns_of(run.request))
        if run.delivered:
            self.delivered(run)

    def delivered(self, run):
        """Whole. From then on the same once more is a new request."""
        self.undelivered.discard(run.request)
