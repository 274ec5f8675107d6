"""What an OpenAI-compatible server sends, as bytes. Source: openai-openapi."""

import json
from collections.abc import Sequence
from typing import Any

HEAD = {"id": "chatcmpl-scripted", "created": 1, "model": "scripted"}
DONE = b"data: [DONE]\n\n"
USAGE = (11, 7)
"""Tokens of every prompt and of every answer, unless told otherwise."""


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return event(HEAD | {"object": "chat.completion.chunk", "choices": [choice]})


def usage_chunk(tokens: tuple[int, int]) -> bytes:
    return event(HEAD | {"object": "chat.completion.chunk", "choices": [], "usage": usage(tokens)})


def usage(tokens: tuple[int, int]) -> dict[str, Any]:
    prompt, completion = tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(message: dict[str, Any], finish: str | None, tokens: tuple[int, int] | None) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None} | message, "finish_reason": finish}
    body = HEAD | {"object": "chat.completion", "choices": [choice]}
    return json.dumps(body | ({"usage": usage(tokens)} if tokens else {})).encode()


def call(index: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def more_of(index: int, arguments: str) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": arguments}}


def cut(text: str, pieces: int) -> Sequence[str]:
    size = max(-(-len(text) // pieces), 1)
    return [text[at : at + size] for at in range(0, len(text), size)]
