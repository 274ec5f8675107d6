"""The model that is always there: no network, no weights, and the same words every time."""

import json
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Self

from librarian.adapters.upstream import clerk, placeholders
from librarian.application.engine.counting import Counting
from librarian.application.ports.tokens import TokenCounter
from librarian.domain.catalog import ModelCard
from librarian.domain.compaction import SUMMARISE
from librarian.domain.prompt import Prompt
from librarian.domain.transcript import ToolCall, assistant
from librarian.domain.turn import StepEnded, StepStream, StopReason, TextSpoken, ToolCalled

NAME = "offline"
WORDS_AT_ONCE = 4


class OfflineModel:
    """A LanguageModel that follows the rules of `clerk`."""

    def __init__(self, *, tokens: TokenCounter) -> None:
        self._counting = Counting(tokens)

    @classmethod
    def plain(cls) -> Self:
        """One that counts a token for every word."""
        return cls(tokens=_Words())

    async def speak(self, prompt: Prompt) -> StepStream:
        if prompt.system.startswith(SUMMARISE):  # it understands nothing: let the engine extract
            yield StepEnded(StopReason.END_OF_TURN, None)
            return
        act = clerk.act(prompt)
        if act.calls:
            calls = tuple(_call(prompt, index, called) for index, called in enumerate(act.calls))
            for index, call in enumerate(calls):
                yield ToolCalled(index, call.id, call.name, call.arguments)
            yield StepEnded(StopReason.TOOL_CALLS, await self._counting.usage(prompt, assistant("", calls)))
            return
        text = _in_form(act.text, prompt)
        said = await self._cut(text, prompt)
        for fragments in _breaths(said, whole=prompt.whole):
            yield TextSpoken(fragments)
        reason = StopReason.END_OF_TURN if said == text else StopReason.LENGTH
        yield StepEnded(reason, await self._counting.usage(prompt, assistant(said)))

    async def models(self) -> Sequence[ModelCard]:
        return (ModelCard(NAME),)

    async def aclose(self) -> None:
        """There is nothing to close."""

    async def _cut(self, text: str, prompt: Prompt) -> str:
        """The longest beginning that has no more tokens than it may."""
        most = prompt.sampling.max_tokens
        if most is None or most >= len(text.encode()) or await self._tokens(text, prompt) <= most:
            return text
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if await self._tokens(text[:middle], prompt) <= most:
                fits = middle
            else:
                too_long = middle
        return text[:fits]

    async def _tokens(self, text: str, prompt: Prompt) -> int:
        (tokens,) = await self._counting.counts([text], prompt.model or "")
        return tokens


class _Words:
    def count(self, text: str, model: str) -> int:  # noqa: ARG002 - the port's
        return len(text.split())

    def loaded(self, model: str) -> bool:  # noqa: ARG002 - the port's
        return True


def _call(prompt: Prompt, index: int, called: clerk.Called) -> ToolCall:
    """Its id is its own within the transcript, and the same each time."""
    arguments = json.dumps(called.arguments, ensure_ascii=False)
    said = prompt.messages[-1].text if prompt.messages else ""
    named = "\0".join((str(len(prompt.messages)), said, str(index), called.name, arguments))
    return ToolCall(f"call_{sha256(named.encode()).hexdigest()[:24]}", called.name, arguments)


def _in_form(text: str, prompt: Prompt) -> str:
    """As the JSON object that the client asks for, if it asks for one."""
    wanted = json.loads(prompt.sampling.passed.get("response_format", b"null"))
    match wanted:
        case {"type": "json_object"}:
            return json.dumps({"answer": text}, ensure_ascii=False)
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return json.dumps(placeholders.value(schema, text), ensure_ascii=False)
        case _:
            return text


def _breaths(text: str, *, whole: bool) -> Iterator[Sequence[str]]:
    words = re.findall(r"\s*\S+\s*?(?=\s|$)|\s+", text)
    size = len(words) if whole else WORDS_AT_ONCE
    for at in range(0, len(words), max(size, 1)):
        yield words[at : at + size]
