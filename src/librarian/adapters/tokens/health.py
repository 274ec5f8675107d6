"""Whether tokens can be counted without a network."""

import asyncio

from librarian.application.ports.health import Finding
from librarian.application.ports.tokens import TokenCounter

SAMPLE, ITS_TOKENS = "hello world", 2


class TokenHealth:
    def __init__(self, *, tokens: TokenCounter) -> None:
        self._tokens = tokens

    async def check(self) -> Finding:
        try:
            counts = [await asyncio.to_thread(self._tokens.count, SAMPLE, model) for model in ("gpt-4o", "gpt-4")]
        except (OSError, ValueError) as error:
            return Finding("tokens", well=False, detail=f"the encodings cannot be read: {error}")
        return Finding("tokens", well=counts == [ITS_TOKENS] * 2, detail="o200k_base and cl100k_base, offline")
