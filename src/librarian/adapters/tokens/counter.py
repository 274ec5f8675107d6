"""Counts tokens with tiktoken, from rank files that come with the package: no network, no environment variables.

tiktoken's own loaders are left alone: they keep copies in a shared temporary folder, and prefer those.
"""

import base64
import re
from collections import OrderedDict
from collections.abc import Iterator
from importlib.resources import files
from threading import Lock
from typing import Final

from tiktoken import Encoding

# As in tiktoken_ext/openai_public.py; a test compares them.
_PATTERNS: Final = {
    "cl100k_base": (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
        r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
    ),
    "o200k_base": (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
}

# The models of before GPT-4o, and the embeddings; a fine-tuned one is named after its base.
_CL100K_MODELS: Final = re.compile(
    r"(?:.*/)?(?:ft:)?(?:gpt-4(?![^-:])|gpt-4-|gpt-3\.?5|text-embedding-|davinci-002|babbage-002)"
)

# tiktoken takes more than linear time over one long word and panics over a million spaces, so it gets texts in
# pieces. Where a letter (or another word character) meets white space, punctuation or an ASCII digit, both patterns
# part the text anyway and look neither back nor ahead; an apostrophe may belong to the word.
_PIECE_CHARS: Final = 4_000
_PARTING: Final = re.compile(
    r"(?<=[^\W_])[ \t\r\n!-&(-/:-@\[-`{-~\u3001\u3002\u300c-\u300f\uff01-\uff06\uff08-\uff0f\uff1a-\uff20]"
    r"|(?<=[A-Za-z])[0-9]"
)

_CACHED_TEXT_CHARS: Final = 16_000


class TiktokenCounter:
    """A TokenCounter, for all threads.

    Exact for any text that parts (at a space, a mark or a digit after a letter) at least once in 4,000 characters;
    else it is cut every 8,000, and each cut may move the count by a token or two.
    """

    def __init__(self, *, cached_texts: int = 16_384, cached_chars: int = 4_000_000) -> None:
        self._encodings = {name: _LazyEncoding(name) for name in _PATTERNS}
        self._counts = _Counts(texts=cached_texts, chars=cached_chars)

    def count(self, text: str, model: str) -> int:
        name = encoding_name(model)
        if len(text) > _CACHED_TEXT_CHARS:
            return self._counted(text, name)
        known = self._counts.get((name, text))
        if known is None:
            known = self._counted(text, name)
            self._counts.put((name, text), known)
        return known

    def loaded(self, model: str) -> bool:
        return self._encodings[encoding_name(model)].loaded

    def _counted(self, text: str, name: str) -> int:
        encode = self._encodings[name].load().encode_ordinary
        return sum(len(encode(piece)) for piece in _pieces(text))


def encoding_name(model: str) -> str:
    """Models that are not OpenAI's are counted with its newest encoding: near enough to plan with."""
    return "cl100k_base" if _CL100K_MODELS.match(model) else "o200k_base"


def _pieces(text: str) -> Iterator[str]:
    start, end = 0, len(text)
    while end - start > _PIECE_CHARS:
        parting = _PARTING.search(text, start + _PIECE_CHARS, start + 2 * _PIECE_CHARS)
        cut = parting.start() if parting else start + 2 * _PIECE_CHARS
        yield text[start:cut]
        start = cut
    yield text[start:]


class _LazyEncoding:
    """An encoding, read at its first use: a third of a second and 57 MB for o200k_base, half of it for cl100k_base."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._encoding: Encoding | None = None

    @property
    def loaded(self) -> bool:
        return self._encoding is not None

    def load(self) -> Encoding:
        if self._encoding is None:
            with self._lock:
                if self._encoding is None:
                    self._encoding = _read(self._name)
        return self._encoding


def _read(name: str) -> Encoding:
    lines = (files(__package__) / "data" / f"{name}.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    # What a person writes holds no special tokens, whatever it looks like.
    return Encoding(name, pat_str=_PATTERNS[name], mergeable_ranks=ranks, special_tokens={})


class _Counts:
    """The counts of the texts used last, bounded in number and in characters."""

    def __init__(self, *, texts: int, chars: int) -> None:
        self._texts = texts
        self._chars_left = chars
        self._lock = Lock()
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def get(self, key: tuple[str, str]) -> int | None:
        with self._lock:
            count = self._counts.get(key)
            if count is not None:
                self._counts.move_to_end(key)
            return count

    def put(self, key: tuple[str, str], count: int) -> None:
        _, text = key
        with self._lock:
            if key in self._counts:
                return
            self._counts[key] = count
            self._chars_left -= len(text)
            while self._chars_left < 0 or len(self._counts) > self._texts:
                (_, oldest), _ = self._counts.popitem(last=False)
                self._chars_left += len(oldest)
