"""Counting tokens."""

from typing import Protocol


class TokenCounter(Protocol):
    """Counts as the model's own tokenizer would; exact for OpenAI's encodings."""

    def count(self, text: str, model: str) -> int:
        """Tokens of `text`.

        May take 5 ms for 200 KB, and 0.3 s the first time: call it in a thread for more than a few KB.
        """
        ...

    def loaded(self, model: str) -> bool:
        """Whether `count` would answer without loading an encoding first."""
        ...
