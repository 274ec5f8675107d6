"""Summarise the oldest part of a conversation: by the model, without one by extraction."""

from collections.abc import Sequence
from contextlib import aclosing

from librarian.application.ports.meter import Meter
from librarian.application.ports.models import LanguageModel
from librarian.domain.compaction import SUMMARISE, SUMMARY_TOKENS, extract, material
from librarian.domain.conversation import Summary
from librarian.domain.errors import LibrarianError
from librarian.domain.prompt import Prompt, Sampling
from librarian.domain.transcript import Message, user
from librarian.domain.turn import TextSpoken

SUMMARY_CHARS = 2400
READ_CHARS_PER_TOKEN = 2
"""A cautious guess at how much of the window's size in tokens the material may have in characters."""


class Compactor:
    def __init__(self, *, model: LanguageModel, meter: Meter) -> None:
        self._model = model
        self._meter = meter

    async def __call__(
        self, messages: Sequence[Message], earlier: Summary | None, covers: int, model: str | None, window_tokens: int
    ) -> Summary:
        """A summary of `messages`, with `earlier` folded in; it stands for the first `covers` of the transcript."""
        before = earlier.text if earlier is not None else ""
        try:
            text = await self._by_model(material(messages, before, window_tokens * READ_CHARS_PER_TOKEN), model)
        except LibrarianError:  # a model that cannot summarise does not keep the turn from being taken
            text = ""
        self._meter.compacted("model" if text else "extraction")
        return Summary(text or extract(messages, before, SUMMARY_CHARS), covers)

    async def _by_model(self, told: str, model: str | None) -> str:
        prompt = Prompt(model, SUMMARISE, (user(told),), Sampling(SUMMARY_TOKENS), whole=True)
        said: list[str] = []
        async with aclosing(self._model.speak(prompt)) as events:
            async for event in events:
                if isinstance(event, TextSpoken):
                    said.extend(event.fragments)
        return "".join(said).strip()[:SUMMARY_CHARS]
