"""What the built-in model does, by rule: keep what it is told, find it again, and say plainly what it cannot do."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from librarian.adapters.upstream import placeholders, record
from librarian.adapters.upstream.record import Line
from librarian.adapters.upstream.wishes import Wishes, read
from librarian.domain.memory import PATTERN_TAG
from librarian.domain.mode import Mode
from librarian.domain.prompt import MANNER, Prompt
from librarian.domain.tools import ToolSpec, ToolUse
from librarian.domain.transcript import Message, Role, ToolCall

ABOUT_THE_READER = "human"
WHAT_IT_IS = (
    "I am the built-in offline model of The Librarian: no language model is connected."
    " To connect one, set LIBRARIAN_UPSTREAM__BASE_URL to the address of any OpenAI-compatible server."
    " Until then I keep what you tell me and find it again, by rule and not by understanding."
)
NO_MEMORY = "I cannot keep that: this request comes without memory."
SEARCHES = ("conversation_search", "archival_memory_search")
EDITS = ("memory_insert", "memory_replace", "archival_memory_insert")
REFUSED = "Error:"


@dataclass(frozen=True, slots=True)
class Called:
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Act:
    """Either says something or calls tools."""

    text: str = ""
    calls: Sequence[Called] = ()


def act(prompt: Prompt) -> Act:
    """A function of the prompt and of nothing else."""
    at = _last_spoken(prompt.messages)
    said = prompt.messages[at].text if at is not None else ""
    if prompt.tools and (prompt.choice.name is not None or prompt.choice.use is ToolUse.REQUIRED):
        return Act(calls=(_forced(prompt, said),))
    return _Clerk(prompt, read(said), at or 0).act()


def _last_spoken(messages: Sequence[Message]) -> int | None:
    return next((at for at in range(len(messages) - 1, -1, -1) if messages[at].role is Role.USER), None)


def _forced(prompt: Prompt, said: str) -> Called:
    """The tool that was named, else the one whose words are nearest to what was said."""
    topic = record.words(said)

    def nearness(spec: ToolSpec) -> int:
        return len(topic & record.words(f"{spec.name.replace('_', ' ')} {spec.description or ''}"))

    named = [spec for spec in prompt.tools if spec.name == prompt.choice.name]
    spec = named[0] if named else max(prompt.tools, key=nearness)
    arguments = placeholders.value(json.loads(spec.parameters or '{"type":"object"}'), "text")
    return Called(spec.name, arguments if isinstance(arguments, dict) else {})


class _Clerk:
    """One prompt, and what the reader's last message wants of it."""

    def __init__(self, prompt: Prompt, wishes: Wishes, at: int) -> None:
        self._prompt = prompt
        self._wishes = wishes
        may_call = prompt.choice.use is not ToolUse.NONE
        self._offered = frozenset(spec.name for spec in prompt.tools if may_call)
        self._earlier = prompt.messages[:at]
        self._returned = list(_returned(prompt.messages[at:]))
        self._bare = MANNER[Mode.WORKER] in prompt.system
        self._known = [line for line in record.blocks(prompt.system).get(ABOUT_THE_READER, "").split("\n") if line]

    def act(self) -> Act:
        if not self._returned and (calls := [*self._keeping(), *self._forgetting()]):
            return Act(calls=calls)
        if calls := list(self._trying_the_archive()):
            return Act(calls=calls)
        said = [*self._acknowledged(), *self._left_alone()]
        wishes = self._wishes
        if wishes.asks_who:
            said.append(WHAT_IT_IS)
        elif wishes.question is not None and not self._told_by_a_tool:
            found = self._answer(wishes.question)
            if found is None and (calls := self._searching(wishes.question)):
                return Act(calls=calls)
            said.append(found or self._at_a_loss("I have nothing on record about that.", "Nothing on record."))
        if not said and wishes.greets:
            said.append("Hello." if self._bare else f"Hello. {WHAT_IT_IS}")
        return Act(" ".join(said) or self._at_a_loss("That is beyond me.", "No language model is connected."))

    @property
    def _told_by_a_tool(self) -> bool:
        """Whether the client ran a tool of its own for this."""
        return any(call.name not in SEARCHES + EDITS for call, _, _ in self._returned)

    def _keeping(self) -> Iterator[Called]:
        for fact in self._wishes.facts:
            if self._knows(fact):
                continue
            if "memory_insert" in self._offered:
                yield Called("memory_insert", {"label": ABOUT_THE_READER, "new_string": fact})
            elif "archival_memory_insert" in self._offered:
                yield Called("archival_memory_insert", {"content": fact})
        if "archival_memory_insert" in self._offered:
            for passage in self._wishes.passages:
                yield Called("archival_memory_insert", {"content": passage})
            for pattern in self._wishes.patterns:
                yield Called("archival_memory_insert", {"content": pattern, "tags": [PATTERN_TAG]})

    def _forgetting(self) -> Iterator[Called]:
        if "memory_replace" not in self._offered:
            return
        for what in self._wishes.forgotten:
            line = self._to_forget(what)
            if line is not None and line.block is not None:
                value = record.blocks(self._prompt.system)[line.block]
                whole = next((form for form in (f"{line.text}\n", f"\n{line.text}") if form in value), line.text)
                yield Called("memory_replace", {"label": line.block, "old_string": whole, "new_string": ""})

    def _trying_the_archive(self) -> Iterator[Called]:
        """For what a block had no room for."""
        if "archival_memory_insert" not in self._offered:
            return
        tried = {arguments.get("content") for call, arguments, _ in self._returned if call.name.startswith("archival")}
        for call, arguments, result in self._returned:
            fact = arguments.get("new_string")
            if call.name == "memory_insert" and result.startswith(REFUSED) and fact not in tried:
                yield Called("archival_memory_insert", {"content": fact})

    def _acknowledged(self) -> Iterator[str]:
        """What came of the calls of this turn; of one that was tried twice, what came of the second."""
        archived = [
            arguments.get("content") for call, arguments, _ in self._returned if call.name == "archival_memory_insert"
        ]
        for call, arguments, result in self._returned:
            if call.name == "memory_insert" and arguments.get("new_string") in archived:
                continue
            yield from self._acknowledge(call, arguments, result)

    def _acknowledge(self, call: ToolCall, arguments: dict[str, Any], result: str) -> Iterator[str]:
        if call.name in SEARCHES:
            return
        if call.name not in EDITS:
            yield result if self._bare else f"{call.name}: {result}"
        elif result.startswith(REFUSED):
            yield f"That could not be done: {result.removeprefix(REFUSED).strip()}"
        elif call.name == "memory_replace":
            yield "Forgotten." if self._bare else f'Forgotten: "{str(arguments.get("old_string")).strip()}"'
        else:
            fact = arguments.get("new_string") or arguments.get("content")
            yield "Noted." if self._bare else f'Noted: "{fact}"'

    def _left_alone(self) -> Iterator[str]:
        """Wishes that led to no call."""
        wishes = self._wishes
        for fact in wishes.facts:
            if self._knows(fact):
                yield "Noted." if self._bare else f'I have that on record: "{fact}"'
        asked = {call.name for call, _, _ in self._returned}
        kept = asked & {"memory_insert", "archival_memory_insert"}
        if not kept and (wishes.passages or wishes.patterns or not all(map(self._knows, wishes.facts))):
            yield NO_MEMORY
        if wishes.forgotten and "memory_replace" not in asked:
            known = any(self._to_forget(what) for what in wishes.forgotten)
            yield NO_MEMORY if known else "I have nothing on record about that."

    def _answer(self, question: str) -> str | None:
        if "about me" in question.lower() and self._known:
            return " ".join(self._known) if self._bare else f"You told me: {' '.join(self._known)}"
        line = record.best(question, chain(record.lines(self._prompt.system, self._earlier), [self._searched()]))
        if line is None:
            return None
        if self._bare:
            return line.text
        return f'You told me on {line.day}: "{line.text}"' if line.day else f'You told me: "{line.text}"'

    def _searched(self) -> list[Line]:
        return [
            Line(sentence, str(entry.get("timestamp", ""))[:10] or None)
            for call, _, result in self._returned
            if call.name in SEARCHES
            for entry in reversed(_entries(result))
            if entry.get("role") != Role.ASSISTANT
            for sentence in record.statements(str(entry.get("content", "")))
        ]

    def _searching(self, question: str) -> list[Called]:
        """Once in a turn."""
        topic = record.words(question)
        if not topic or any(call.name in SEARCHES for call, _, _ in self._returned):
            return []
        calls = [Called("conversation_search", {"query": question, "roles": ["user"]})]
        calls.append(Called("archival_memory_search", {"query": question}))
        return [call for call in calls if call.name in self._offered][: 1 if self._prompt.parallel is False else 2]

    def _to_forget(self, what: str) -> Line | None:
        in_blocks = next(record.lines(self._prompt.system, ()))
        return next((line for line in in_blocks if record.same(line.text, what)), None) or record.best(
            what, [in_blocks]
        )

    def _knows(self, fact: str) -> bool:
        return any(record.same(fact, line) for line in self._known)

    def _at_a_loss(self, plainly: str, barely: str) -> str:
        return barely if self._bare else f"{plainly} {WHAT_IT_IS}"


def _returned(messages: Sequence[Message]) -> Iterator[tuple[ToolCall, dict[str, Any], str]]:
    """The calls that were answered since the reader spoke, with their arguments and results."""
    calls = {call.id: call for message in messages for call in message.calls}
    for message in messages:
        if message.role is Role.TOOL and message.answers in calls:
            call = calls[message.answers]
            yield call, _object(call.arguments), message.text


def _entries(result: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(result)
    except ValueError:
        return []  # nothing was found, or the search was refused
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _object(arguments: str) -> dict[str, Any]:
    try:
        read_as = json.loads(arguments)
    except ValueError:
        return {}
    return read_as if isinstance(read_as, dict) else {}
