"""Runs a program in a house, and holds what comes of it against the rules."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count

from librarian.application.converse import Ask
from librarian.application.ports.memory import AgentKey
from librarian.application.replays import Attempt
from librarian.domain.errors import InvalidRequest, LibrarianError
from librarian.domain.identity import Memory, Purpose
from librarian.domain.mode import Mode
from librarian.domain.prompt import DEFAULT_BLOCKS
from librarian.domain.tools import NO_TOOLS, ClientTools
from librarian.domain.transcript import Message, Role, Transcript, assistant
from librarian.domain.turn import Collected, TextSpoken, ToolCalled, ToolReturned, TurnBegan, TurnEnded
from librarian.entrypoints.http.openai.telling import Telling
from tests.property.clients import (
    CALLING,
    COMMON,
    FAILING,
    KEYS,
    NOTING,
    OWNERS,
    PEOPLE,
    WEATHER,
    Chat,
    Words,
    acts,
    opened,
    owners_in,
    shaped,
    stripped,
)
from tests.property.programs import Again, Ending, Evidence, Intrude, Kind, Open, Restart, Send, Together
from tests.property.reference import Expected, Reference, canonical, news_at, prefill_of, with_reply

MARK = re.compile(r"\[request (\d+)\]")
QUOTE = re.compile(r"<quote [^>]*>(.*?)</quote>", re.DOTALL)
PLAIN = {Kind.READ: "Read", Kind.OFF: "Stateless", Kind.TASK: "Task", Kind.CHAT: None}
PATIENCE_S = 5.0
NEW_TURNS = "SELECT number, id, conversation, parent FROM turn WHERE number > ? ORDER BY number"
ON_PATH = "SELECT number FROM turn WHERE on_path"
HEADS = "SELECT id, head FROM conversation WHERE head IS NOT NULL"


class Obedient:
    """A language model that knows which request it stands before by a mark in the client's system message, and does
    what was laid down for that one."""

    def __init__(self):
        self.runs = {}
        self.unknown = []

    async def speak(self, prompt):
        marked = MARK.search(prompt.system)
        if marked is None:
            self.unknown.append(prompt)
        run = self.runs[int(marked[1])]
        run.prompts.append(prompt)
        for event in run.acts[len(run.prompts) - 1]:
            await asyncio.sleep(0)
            if isinstance(event, LibrarianError):
                raise event
            yield event

    async def models(self):
        return ()

    async def aclose(self):
        pass


@dataclass
class Request:
    """What a client sends, all of it."""

    chat: Chat
    messages: list
    called: str | None
    send: Send
    body: bytes
    tools: bool
    idem: str | None = None
    retried: bool = False


@dataclass
class Run:
    """One choice of a request: what was asked for, and what came of it."""

    number: int
    sent: Request
    choice: int
    called: str | None
    acts: list
    fact: str | None
    prompts: list = field(default_factory=list)
    began: TurnBegan | None = None
    collected: Collected = field(default_factory=Collected)
    started: bool = False
    ended: bool = False
    delivered: bool = False
    may_end: bool = False
    error: LibrarianError | None = None
    expected: Expected | None = None
    allowed: set = field(default_factory=set)
    evident: bool = False
    forgotten: bool = False

    owner = property(lambda self: self.sent.chat.owner)
    tenant = property(lambda self: PEOPLE[self.owner][0].id)
    messages = property(lambda self: self.sent.messages)
    idem = property(lambda self: self.sent.idem if self.plain is None else None)
    retried = property(lambda self: self.sent.retried)
    plain = property(lambda self: PLAIN[self.sent.send.kind])
    request = property(lambda self: (self.owner, self.called, self.sent.body, self.choice))
    reply = property(lambda self: self.collected.message)
    replayed = property(lambda self: self.began is not None and self.began.plan == "Replay")


class World:
    """A house, its model, its clients, and the rules. `open_house` makes a house on the same files, with that model."""

    def __init__(self, open_house, *, models):
        self.model = Obedient()
        self.reference = Reference()
        self.plans = Counter()
        self.house = None
        self._open_house = open_house
        self._models = models
        self._chats = opened()
        self._words = Words()
        self._numbers = count(1)
        self._facts = {name: set() for name in OWNERS}
        self._newest = 0

    async def run(self, program):
        await self._open()
        try:
            for step in program:
                await self._step(step)
                assert [] == self.model.unknown
        finally:
            await self.house.lifetime().aclose()

    async def _step(self, step):
        match step:
            case Send() | Again():
                await self._alone(step)
            case Together(sends):
                await self._together(sends)
            case Open(chat, key, by_id):
                known = self._chat(chat)
                called = None if by_id else KEYS[key]
                self._chats.append(Chat(known.owner, called, by_id, list(known.messages)))
            case Restart(crash):
                await self._restart(crash=crash)
            case Intrude(chat, other):
                await self._intrude(self._chat(chat), self._chat(other))

    def _chat(self, number):
        return self._chats[number % len(self._chats)]

    # -- what clients send

    def _request(self, step, *, crashes=True):
        """None: there is nothing to be sent again."""
        ending = step.ending if crashes or step.ending is not Ending.CRASH else Ending.WHOLE
        chat = self._chat(step.chat)
        if isinstance(step, Again):
            if chat.last is None:
                return None
            send = replace(chat.last.send, doing=step.doing, ending=ending, ticks=step.ticks)
            sent = replace(chat.last, chat=chat, send=send, retried=step.evidence is Evidence.RETRIED)
            if step.evidence not in (Evidence.SAME_KEY, Evidence.OTHER_BODY):
                sent.idem = None
            if step.evidence is Evidence.OTHER_BODY:
                sent.body += b"!"
        else:
            send = replace(step, ending=ending)
            common = f"{COMMON} {step.common}"
            words = (lambda _: common) if step.common else lambda what: self._words.own(chat.owner, what)
            result = "sunny" if step.common else self._words.own(chat.owner, "result of")
            messages = shaped(step.shape, chat.messages, step.at, words, result)
            idem = f"idem-{step.idem}" if step.idem else None
            sent = Request(
                chat, messages, chat.name, send, self._body(messages, send), send.doing in CALLING, idem, send.retried
            )
        sent.tools = sent.tools or send.doing in CALLING
        if send.kind is Kind.TASK and send.doing in NOTING:  # there is no tool for it
            sent.send = replace(send, doing=type(send.doing).SAY)
        return sent

    def _body(self, messages, send):
        what = (messages, send.kind, send.manner, send.choices)
        return sha256(repr(what).encode()).digest()

    def _run(self, sent, choice, called):
        doing, owner = sent.send.doing, sent.chat.owner
        if sent.send.kind in (Kind.READ, Kind.OFF) and doing in NOTING:
            doing = type(doing).SAY
        number = next(self._numbers)
        fact = self._words.own(owner, "fact of")
        laid = acts(doing, self._words.own(owner, "answer of"), fact, lambda: f"call_{next(self._numbers)}")
        run = Run(number, sent, choice, called, laid, fact if doing in NOTING and not choice else None)
        self.model.runs[number] = run
        return run

    def _ask(self, run):
        sent, send = run.sent, run.sent.send
        principal, person = PEOPLE[run.owner]
        manner = send.manner
        mark = Message(Role.SYSTEM, f"[request {run.number}]")
        attempt = Attempt(sent.body, "/v1/chat/completions", run.choice, run.retried, sent.idem)
        return Ask(
            model=self._models[manner % len(self._models)],
            transcript=Transcript([mark, *sent.messages]),
            principal=principal,
            person=person,
            conversation=run.called,
            purpose=Purpose.TASK if send.kind is Kind.TASK else Purpose.CHAT,
            memory={Kind.READ: Memory.READ, Kind.OFF: Memory.OFF}.get(send.kind, Memory.ON),
            mode=(None, Mode.WORKER, Mode.PERSONA)[manner % 3],
            tools=ClientTools((WEATHER,)) if sent.tools or manner % 2 else NO_TOOLS,
            choice=run.choice,
            attempt=attempt,
            whole=bool(manner % 2),
        )

    # -- how they are answered

    async def _alone(self, step):
        sent = self._request(step)
        if sent is None or not self._valid(sent):
            return
        runs = await self._deliver(sent, alone=True)
        self._keep(sent, runs)

    async def _together(self, steps):
        requests = [sent for step in steps if (sent := self._request(step, crashes=False)) and self._valid(sent)]
        delivered = await asyncio.gather(*(self._deliver(sent, alone=False) for sent in requests))
        await self._check([run for runs in delivered for run in runs], alone=False)
        for sent, runs in zip(requests, delivered, strict=True):
            self._keep(sent, runs)

    def _valid(self, sent):
        """What contradicts itself is refused, before anything else is looked at."""
        pending = set()
        for message in sent.messages:
            if message.role is Role.TOOL:
                pending.discard(message.answers)
            elif pending:
                break
            else:
                pending = {call.id for call in message.calls}
        if not pending:
            return True
        refused = None
        try:
            Transcript(sent.messages)
        except InvalidRequest as error:
            refused = error
        assert refused is not None
        assert refused.param.startswith("messages.[")
        return False

    async def _deliver(self, sent, *, alone):
        """As the endpoint takes the choices of a request: one after the other, and all are told at once."""
        runs, called = [], sent.called
        choices = sent.send.choices if sent.send.kind is Kind.CHAT else 1
        async with Telling() as telling:
            for choice in range(choices):
                run = self._run(sent, choice, called)
                runs.append(run)
                run.expected = self.reference.expect(run) if alone else None
                run.allowed = self._recallable(run)
                run.evident = run.request in self.reference.undelivered | self.reference.forgotten
                await self._take(run, sent.send.ending if choice + 1 == choices else Ending.WHOLE, telling)
                if alone:
                    await self._check([run], alone=True)
                if not run.ended:
                    return runs
                called = called or run.began.conversation
            if sent.send.ending not in (Ending.LAST, Ending.CRASH):
                await telling.told()
                self._delivered(runs)
        return runs

    def _delivered(self, runs):
        for run in runs:
            run.delivered = True
            self.reference.delivered(run)

    async def _take(self, run, ending, telling):
        events = telling.turn(self.house.converse()(self._ask(run)))
        if ending is Ending.CANCEL:
            run.may_end = True
            task = asyncio.ensure_future(self._listen(run, ending, events))
            for tick in range(run.sent.send.ticks):
                await asyncio.sleep(0.0003 if tick % 4 == 3 else 0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        elif ending is Ending.CRASH:
            await self._die(run, events)
        elif ending is not Ending.UNSTARTED:
            await self._listen(run, ending, events)

    async def _listen(self, run, ending, events):
        """Up to TurnEnded, or to where the client leaves."""
        run.started = True
        try:
            async for event in events:
                self._hear(run, event)
                if run.ended or _leaves(ending, event):
                    break
        except LibrarianError as error:
            run.error = error
        if not run.ended:
            await events.aclose()

    async def _die(self, run, events):
        """The house, after some event: what it had not written by then, it never writes."""
        dead = self.house
        left = run.sent.send.ticks % 8
        run.started = run.forgotten = True
        try:
            async for event in events:
                self._hear(run, event)
                left -= 1
                if left < 0:
                    break
        except LibrarianError as error:
            run.error = error
        await dead.index().aclose()
        dead.database().close()
        with suppress(LibrarianError):
            await events.aclose()
        await dead.lifetime().aclose()
        await self._open()

    def _hear(self, run, event):
        match event:
            case TurnBegan():
                run.began = event
                if event.conversation is not None:
                    self.reference.issued[event.conversation] = run.owner
            case TextSpoken(fragments):
                run.collected.speak(fragments)
            case ToolCalled():
                run.collected.call(event)
            case TurnEnded():
                run.ended = True

    async def _restart(self, *, crash):
        if crash:
            await self.house.index().aclose()
            self.house.database().close()
        await self.house.lifetime().aclose()
        await self._open()

    async def _open(self):
        self.house = self._open_house(self.model)
        await self.house.lifetime().open()
        self.reference.restart()

    async def _intrude(self, chat, other):
        if chat.owner == other.owner or other.conversation is None:
            return
        sent = self._request(Send())
        sent = replace(sent, chat=Chat(chat.owner), messages=other.messages or sent.messages, called=other.conversation)
        if self._valid(sent):
            await self._deliver(sent, alone=True)

    def _keep(self, sent, runs):
        """What the client makes of it."""
        chat, at = sent.chat, sent.send.at
        chat.last = sent
        whole = [run for run in runs if run.ended]
        for run in runs:
            if run.began is not None and run.began.conversation is not None and run.error is None:
                chat.conversation = run.began.conversation
        if len(whole) == len(runs):
            chat.messages = with_reply(sent.messages, whole[sent.send.pick % len(whole)].reply)
        elif at % 3 == 0 and runs[-1].collected.text:
            chat.messages = with_reply(sent.messages, assistant(runs[-1].collected.text))
        elif at % 3 == 1:
            chat.messages = sent.messages[: len(sent.messages) - (prefill_of(sent.messages) is not None)]

    # -- what must hold

    async def _check(self, runs, *, alone):
        for run in runs:
            self._check_shown(run)
        rows = await self._settled()
        for number, turn, conversation, parent in rows:
            run = next(run for run in runs if run.began is not None and run.began.turn == turn and not run.replayed)
            assert run.plain is None
            assert run.began.conversation == conversation
            assert self.reference.owners.get(conversation, run.owner) == run.owner
            assert run.ended or run.may_end
            if not run.ended:
                self._tell_rest(run)
            if alone:
                assert parent in run.expected.parents
            self.reference.settled(run, number, parent, moves=None if alone else False)
            if run.fact is not None:
                self._facts[run.owner].add(run.fact)
        settled = {row[1] for row in rows}
        for run in runs:
            self._check_end(run, settled=run.began is not None and run.began.turn in settled)
            if alone:
                self._check_alone(run)
            else:
                self._check_among(run, runs)
        times = Counter(run.request for run in runs)
        self.reference.forgotten |= {request for request in times if times[request] > 1}  # who was the last, or first?
        self._check_store(alone=alone)
        onward = Counter(
            self.reference.by_id(run.began.turn).parent
            for run in runs
            if run.began is not None and run.began.turn in settled and run.began.plan in ("Continue", "Resume")
        )
        assert all(times == 1 for times in onward.values())  # the others branch
        for run in runs:
            if not alone:
                run.allowed |= self._recallable(run)
            self._check_recall(run)
        await self._check_facts()
        self._check_once()

    def _tell_rest(self, run):
        """The client left in the moment in which the turn was settled: all had been said."""
        text = "".join("".join(e.fragments) for act in run.acts for e in act if isinstance(e, TextSpoken))
        assert run.collected.text == text or not run.collected.calls

    def _check_shown(self, run):
        """The transcript, each message once and in order; and nobody else's words, wherever one looks."""
        shown = canonical(run.messages)
        for prompt in run.prompts[:1]:
            assert shown == canonical(stripped(prompt.messages))
        for before, prompt in zip(run.prompts, run.prompts[1:], strict=False):
            assert list(before.messages) == list(prompt.messages[: len(before.messages)])
        for prompt in run.prompts:
            words = "\n".join([prompt.system, *(str(message) for message in prompt.messages)])
            assert owners_in(words) <= {run.owner}
        assert owners_in(str(run.collected.message)) <= {run.owner}

    async def _settled(self):
        """Turns that were recorded since, once all that waits is written."""
        await self.house.database().write(lambda _: None)
        rows = self.house.database().rows(NEW_TURNS, (self._newest,))
        self._newest = max((row[0] for row in rows), default=self._newest)
        return rows

    def _check_end(self, run, *, settled):
        if run.began is not None:
            self.plans[run.began.plan] += 1
        if run.plain is None and not run.replayed:
            assert settled or not run.ended
            assert not settled or run.ended or run.may_end
            assert run.error is None or not settled
        if run.started and run.plain is None and not _refused(run):
            self.reference.heard_of(run, settled=settled)
            self.reference.forgotten |= {run.request} if run.forgotten else set()
        if run.replayed or _refused(run):
            assert [] == run.prompts

    def _check_alone(self, run):
        expected = run.expected
        if expected.refused is not None and run.started:
            assert expected.refused == type(run.error).__name__
            return
        assert not _refused(run)
        if run.error is not None:
            assert run.sent.send.doing in FAILING
        if run.began is None:
            return
        assert run.began.plan in expected.plans | ({"Replay"} if expected.again is not None else set())
        if run.plain is not None:
            assert run.began.conversation is None
        elif run.replayed:
            self._check_replay(run, expected.again)
        elif expected.conversation is None:
            assert run.began.conversation not in set(self.reference.owners) - {
                turn.conversation for turn in self.reference.turns if turn.id == run.began.turn
            } or self._only_own(run)
        else:
            assert expected.conversation == run.began.conversation

    def _only_own(self, run):
        """The conversation began with this very turn."""
        return [run.began.turn] == [t.id for t in self.reference.turns if t.conversation == run.began.conversation]

    def _check_replay(self, run, past):
        assert past.id == run.began.turn
        assert past.conversation == run.began.conversation
        if run.ended:
            assert past.reply == run.reply

    def _check_among(self, run, runs):
        """Of several at once: none goes on from what is another's, and none is told again without reason."""
        if run.began is None or run.plain is not None:
            return
        if run.replayed:
            past = next(turn for turn in self.reference.turns if turn.id == run.began.turn)
            assert past.request[1] == run.request
            untold = [other for other in runs if not other.delivered or other.sent.send.choices > 1]
            lost = any(other.request == run.request and other.ended for other in untold)
            assert run.retried or run.idem is not None or run.evident or lost
            self._check_replay(run, past)
            return
        if run.called is not None and not run.called.startswith("conv_"):
            known = self.reference.keys.get((run.owner, run.called), run.began.conversation)
            assert known == run.began.conversation
        history = canonical(run.messages[: news_at(run.messages)])
        assert ("Start" == run.began.plan) == (not history)
        for turn in self.reference.turns:
            if turn.id == run.began.turn and run.began.plan not in ("Start", "Rebuild"):
                assert history == self.reference.turn(turn.parent).chain

    def _check_store(self, *, alone):
        database = self.house.database()
        heads = dict(database.rows(HEADS))
        if not alone:  # of several, one moved it, or none
            for conversation, head in heads.items():
                assert conversation == self.reference.turn(head).conversation
            self.reference.heads = heads
        assert self.reference.heads == heads
        assert self.reference.on_path() == {number for (number,) in database.rows(ON_PATH)}

    def _recallable(self, run):
        """What was said in other conversations; and in this one before the window, where its beginning is cut off."""
        reference, on_path = self.reference, self.reference.on_path()
        expected = reference.plan(run)
        here, cut = expected.conversation, set()
        if expected.window:
            cut = {n for parent in expected.parents if parent for n in reference.above(parent)} - expected.window
        return {
            text
            for turn in reference.turns
            if turn.owner == run.owner and turn.number in on_path and (turn.conversation != here or turn.number in cut)
            for text in turn.texts
        }

    def _check_recall(self, run):
        for prompt in run.prompts[:1]:
            quoted = {text.replace("&lt;", "<") for text in QUOTE.findall(prompt.system)}
            self.plans["recalled"] += bool(quoted)
            assert quoted <= run.allowed

    async def _check_facts(self):
        """Everything that was noted by a turn that holds, and nothing else."""
        for name, owner in OWNERS.items():
            if any(turn.owner == name for turn in self.reference.turns):
                await self._until(lambda name=name, owner=owner: self._has_facts(name, owner))

    async def _until(self, holds):
        """What a client that left wrote is taken back in the background."""
        async with asyncio.timeout(PATIENCE_S):
            while await holds():  # noqa: ASYNC110  nobody tells when it is done
                await asyncio.sleep(0.001)

    async def _has_facts(self, name, owner):
        """What is missing and what is too much."""
        memory = self.house.memory()
        agent = await memory.agent(AgentKey("librarian", owner), DEFAULT_BLOCKS)
        value = next(block.value for block in await memory.blocks(agent) if block.label == "human")
        known = value.split("\n") if value else []
        lost = self._facts[name] - set(known)
        return lost | (set(known) - self._facts[name])

    def _check_once(self):
        """A key for idempotency stands for one turn."""
        keys = Counter(turn.request[0] for turn in self.reference.turns if turn.request[0] is not None)
        assert [] == [key for key, times in keys.items() if times > 1]


def _leaves(ending, event):
    return (ending is Ending.BEGUN and isinstance(event, TurnBegan)) or (
        ending is Ending.MIDWAY and isinstance(event, TextSpoken | ToolCalled | ToolReturned)
    )


def _refused(run):
    return type(run.error).__name__ in ("IdempotencyMismatch", "UnknownConversation")
