"""Tokens of what is shown and said, counted off the loop's thread where that takes long."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache

from librarian.application.ports.tokens import TokenCounter
from librarian.domain.compaction import MESSAGE_OVERHEAD_TOKENS
from librarian.domain.prompt import Prompt
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import Digest, Image, Message
from librarian.domain.turn import Usage

INLINE_CHARS = 4000
"""What may be counted in the loop's thread: about 0.15 ms."""
IMAGE_TOKENS = 1000
"""A picture's price, roughly that of 1024 x 1024 pixels in full detail."""
REMEMBERED = 50_000


class Counting:
    """Remembers what messages came to, by their digests: a long chat is counted once."""

    def __init__(self, tokens: TokenCounter) -> None:
        self._tokens = tokens
        self._known: OrderedDict[tuple[Digest, str], int] = OrderedDict()

    async def usage(self, prompt: Prompt, said: Message) -> Usage:
        """For an upstream that does not count. Never zero."""
        (spoken,) = await self.counts([written(said)], prompt.model or "")
        return Usage(await self.prompt(prompt), max(spoken, 1))

    async def prompt(self, prompt: Prompt) -> int:
        """All that the model is shown."""
        texts = [prompt.system, *map(written, prompt.messages), *map(specified, prompt.tools)]
        (shown,) = await self.counts(["\n".join(texts)], prompt.model or "")
        pictures = sum(_pictures(message) for message in prompt.messages)
        return shown + MESSAGE_OVERHEAD_TOKENS * (len(prompt.messages) + 1) + IMAGE_TOKENS * pictures

    async def messages(self, messages: Sequence[Message], digests: Sequence[Digest], model: str) -> list[int]:
        """One count for each message, its overhead included."""
        keys = [(digest, model) for digest in digests]
        known = {key: self._known[key] for key in keys if key in self._known}  # others may push some out meanwhile
        new = {key: message for key, message in zip(keys, messages, strict=True) if key not in known}
        counted = await self.counts([written(message) for message in new.values()], model)
        for (key, message), tokens in zip(new.items(), counted, strict=True):
            known[key] = tokens + MESSAGE_OVERHEAD_TOKENS + _pictures(message) * IMAGE_TOKENS
        self._known |= known
        counts = [known[key] for key in keys]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return counts

    async def counts(self, texts: Sequence[str], model: str) -> list[int]:
        if sum(map(len, texts)) <= INLINE_CHARS and self._tokens.loaded(model):
            return [self._tokens.count(text, model) for text in texts]
        return await asyncio.to_thread(lambda: [self._tokens.count(text, model) for text in texts])


def written(message: Message) -> str:
    """A message as text, calls included."""
    if not message.calls:
        return message.text
    return "\n".join([message.text, *(f"{call.name} {call.arguments}" for call in message.calls)])


@lru_cache(maxsize=256)
def specified(tool: ToolSpec) -> str:
    return f"{tool.name} {tool.description or ''} {tool.parameters or ''}"


def at_most(text: str) -> int:
    """A bound on the tokens of `text` that costs nothing: one for each byte."""
    return len(text) if text.isascii() else len(text.encode())


def messages_at_most(messages: Sequence[Message]) -> int:
    total = MESSAGE_OVERHEAD_TOKENS * len(messages)
    for message in messages:
        total += at_most(message.text)
        if message.calls:
            total += at_most(written(message))
        if message.parts:
            total += _pictures(message) * IMAGE_TOKENS
    return total


def _pictures(message: Message) -> int:
    return sum(isinstance(part, Image) for part in message.parts)
