"""Blocks, summary, recall and messages -> a prompt that fits the window."""

from collections.abc import Sequence
from dataclasses import dataclass

from librarian.application.engine.compactor import Compactor
from librarian.application.engine.counting import Counting, at_most, messages_at_most, specified
from librarian.application.ports.agents import Hearing
from librarian.domain.compaction import Load, answer_tokens, first_shown
from librarian.domain.conversation import Context, Summary, context_of
from librarian.domain.memory import MemoryBlock
from librarian.domain.prompt import Prompt, system_message
from librarian.domain.tools import ToolChoice, ToolSpec
from librarian.domain.transcript import Message


@dataclass(frozen=True, slots=True)
class Shown:
    """What the model is asked, and the summary that had to be made for it, if one had to."""

    prompt: Prompt
    compacted: Summary | None


class Contexts:
    """Costs nothing where the window is far away: bytes bound tokens, and are counted only when they come near."""

    def __init__(self, *, counting: Counting, compactor: Compactor) -> None:
        self._counting = counting
        self._compactor = compactor

    async def __call__(
        self, hearing: Hearing, blocks: Sequence[MemoryBlock], tools: Sequence[ToolSpec], window_tokens: int
    ) -> Shown:
        """Raises ContextOverflow where the last turn does not fit."""
        context = context_of(hearing.plan)
        summary = context.summary
        prompt = _prompt(hearing, blocks, tools, context)
        if _bound(hearing, prompt) <= window_tokens:
            return Shown(prompt, None)
        load = await self._load(hearing, prompt, context, window_tokens)
        transcript = hearing.transcript
        at = first_shown(load, window_tokens, transcript.messages, transcript.news_at)
        if at == load.covered:
            return Shown(prompt, None)
        made = await self._compactor(transcript.messages[load.covered : at], summary, at, hearing.model, window_tokens)
        return Shown(_prompt(hearing, blocks, tools, context.with_summary(made)), made)

    async def _load(self, hearing: Hearing, prompt: Prompt, context: Context, window_tokens: int) -> Load:
        model = hearing.model or ""
        counts = await self._counting.messages(hearing.transcript.messages, hearing.reading.digests, model)
        hidden = [message.text for steps in context.steps for message in steps.messages]
        fixed = await self._counting.counts([prompt.system, *map(specified, prompt.tools), *hidden], model)
        return Load(
            counts,
            sum(fixed),
            answer_tokens(hearing.sampling.max_tokens, window_tokens),
            context.summary.covers if context.summary is not None else 0,
        )


def _prompt(hearing: Hearing, blocks: Sequence[MemoryBlock], tools: Sequence[ToolSpec], context: Context) -> Prompt:
    summary = context.summary
    client = hearing.tools
    return Prompt(
        hearing.model,
        system_message(
            hearing.mode, hearing.transcript.overlay, blocks, summary.text if summary else "", hearing.recalled
        ),
        _shown(hearing.transcript.messages, context),
        hearing.sampling,
        tools,
        client.choice if client.choice.demands else ToolChoice(),
        client.parallel if client.specs else None,
        hearing.whole,
    )


def _shown(messages: Sequence[Message], context: Context) -> Sequence[Message]:
    """The transcript after what the summary covers, each turn's hidden steps just before what came of them."""
    start = context.summary.covers if context.summary is not None else 0
    if not context.steps:
        return messages[start:] if start else messages
    shown: list[Message] = []
    at = start
    for steps in context.steps:
        if start <= steps.at < len(messages):
            shown += messages[at : steps.at]
            shown += steps.messages
            at = steps.at
    shown += messages[at:]
    return shown


def _bound(hearing: Hearing, prompt: Prompt) -> int:
    answer = answer_tokens(hearing.sampling.max_tokens, hearing.window_tokens)
    return (
        answer
        + at_most(prompt.system)
        + messages_at_most(prompt.messages)
        + sum(at_most(specified(tool)) for tool in prompt.tools)
    )
