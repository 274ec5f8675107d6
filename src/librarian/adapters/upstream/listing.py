"""What models a server lists. Source: openai-openapi, ListModelsResponse; and what servers add to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from librarian.domain.catalog import ModelCard

WINDOWS = ("context_window", "max_model_len", "context_length", "max_context_length")


def to_domain(body: bytes) -> Sequence[ModelCard]:
    """Those that speak, as they are listed. Raises ValueError for what is no list of models."""
    listed = orjson.loads(body)
    entries = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(entries, list):
        raise ValueError("This is no list of models.")  # noqa: TRY004 - what was read is wrong, not what was passed
    return tuple(
        ModelCard(entry["id"], _window_tokens(entry), _whole(entry.get("created")))
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"] and not _embeds(entry)
    )


def _embeds(entry: Mapping[str, Any]) -> bool:
    return "embed" in entry["id"].lower() or "embed" in str(entry.get("type", "")).lower()


def _window_tokens(entry: Mapping[str, Any]) -> int | None:
    """As it is served, if the server says; else what the model was trained for."""
    meta = entry.get("meta")
    trained = meta.get("n_ctx_train") if isinstance(meta, dict) else None
    return next((tokens for name in WINDOWS if (tokens := _whole(entry.get(name)))), _whole(trained))


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None
