"""What a request would come to in tokens, and the oldest part of a history made short."""

from collections.abc import Sequence

from librarian.application.converse import Ask
from librarian.application.engine.compactor import Compactor
from librarian.application.engine.counting import Counting
from librarian.application.list_models import ListModels
from librarian.domain.prompt import Prompt, plain_system_message
from librarian.domain.transcript import Message


class Shorten:
    def __init__(self, *, models: ListModels, counting: Counting, compactor: Compactor) -> None:
        self._models = models
        self._counting = counting
        self._compactor = compactor

    async def count(self, ask: Ask) -> int:
        """Tokens of what the client sends along, its tools included, and nothing of ours. Raises UnknownModel."""
        entry = await self._models.resolve(ask.model)
        system = plain_system_message(ask.transcript.overlay)
        prompt = Prompt(entry.model, system, ask.transcript.messages, ask.sampling, ask.tools.specs)
        return await self._counting.prompt(prompt)

    async def summary(self, messages: Sequence[Message], model: str) -> str:
        """Of all of them. Raises UnknownModel."""
        entry = await self._models.resolve(model)
        window_tokens = self._models.window_tokens(entry)
        return (await self._compactor(messages, None, len(messages), entry.model, window_tokens)).text
