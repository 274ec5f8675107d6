"""What models a server lists. Source: openai-openapi, ListModelsResponse; and what servers add to it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from librarian.domain.catalog import ModelCard

EMBEDS = re.compile(r"embed|(?:^|[/:_-])(?:bge|gte|e5)-|all-minilm|paraphrase-multilingual", re.IGNORECASE)
"""Names of models that make vectors, where their server says no more of them."""
WINDOWS = ("context_window", "max_model_len", "context_length", "max_context_length")


def to_domain(body: bytes) -> Sequence[ModelCard]:
    """Those that speak, as they are listed. Raises ValueError for what is no list of models."""
    return _cards(body, embedding=False)


def embedders(body: bytes) -> Sequence[ModelCard]:
    """Those that make vectors, as far as their names or types say so. Raises as `to_domain`."""
    return _cards(body, embedding=True)


def _cards(body: bytes, *, embedding: bool) -> Sequence[ModelCard]:
    listed = orjson.loads(body)
    entries = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(entries, list):
        raise ValueError("This is no list of models.")  # noqa: TRY004 - what was read is wrong, not what was passed
    return tuple(
        ModelCard(entry["id"], _window_tokens(entry), _whole(entry.get("created")))
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"] and _embeds(entry) is embedding
    )


def _embeds(entry: Mapping[str, Any]) -> bool:
    return bool(EMBEDS.search(entry["id"])) or "embed" in str(entry.get("type", "")).lower()


def _window_tokens(entry: Mapping[str, Any]) -> int | None:
    """As it is served, if the server says; else what the model was trained for."""
    meta = entry.get("meta")
    trained = meta.get("n_ctx_train") if isinstance(meta, dict) else None
    return next((tokens for name in WINDOWS if (tokens := _whole(entry.get(name)))), _whole(trained))


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None
