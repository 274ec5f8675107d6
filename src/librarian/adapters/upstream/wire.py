"""The chat-completions wire, as a client of it. Source: openai-openapi, CreateChatCompletion*; and what servers do."""

import re
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from librarian.domain.prompt import Prompt
from librarian.domain.tools import ToolChoice, ToolSpec, ToolUse
from librarian.domain.transcript import Image, Message, Part, Role, ToolCall
from librarian.domain.turn import Likelihood, Usage

REASONING_MODELS = re.compile(r"(?:.*/)?(?:o\d|gpt-5)")
"""OpenAI's own, which refuse `max_tokens`. Local servers know little else."""


class Function(msgspec.Struct):
    """Some servers send the arguments as an object instead of as text."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class ContentPart(msgspec.Struct):
    text: str | None = None


class Said(msgspec.Struct):
    """A message, or what a chunk adds to it. `reasoning` is no text everywhere."""

    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[CallDelta] | None = None
    function_call: Function | None = None


class Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["Token"] | None = None


class Logprobs(msgspec.Struct):
    content: list[Token] | None = None
    refusal: list[Token] | None = None


class Choice(msgspec.Struct):
    """Some servers have `logprobs` of a shape of their own."""

    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


Count = int | float | None


class InputDetails(msgspec.Struct):
    cached_tokens: Count = None


class OutputDetails(msgspec.Struct):
    reasoning_tokens: Count = None


class Tokens(msgspec.Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class Completion(msgspec.Struct):
    """A whole reply, or one chunk of one; or, by either of two customs, an error."""

    choices: list[Choice] | None = None
    usage: Tokens | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


decode = msgspec.json.Decoder(Completion).decode
_decode_logprobs = msgspec.json.Decoder(Logprobs | None).decode


def usage(tokens: Tokens | None) -> Usage | None:
    """None where the server did not count: some say 0."""
    if tokens is None or not tokens.prompt_tokens or not tokens.completion_tokens:
        return None
    cached, thought = tokens.prompt_tokens_details, tokens.completion_tokens_details
    return Usage(
        int(tokens.prompt_tokens),
        int(tokens.completion_tokens),
        int(cached.cached_tokens or 0) if cached is not None else 0,
        int(thought.reasoning_tokens or 0) if thought is not None else 0,
    )


def likelihoods(sent: msgspec.Raw) -> list[Likelihood]:
    """None where they cannot be read: an answer without them is better than none."""
    try:
        told = _decode_logprobs(sent)
    except msgspec.DecodeError:
        return []
    return [_likelihood(token) for token in (told.content or told.refusal or ())] if told is not None else []


def from_domain(prompt: Prompt, model: str) -> bytes:
    """The body of a request. Raises orjson.JSONEncodeError for text that is no Unicode."""
    body: dict[str, object] = {name: orjson.Fragment(value) for name, value in prompt.sampling.passed.items()}
    body["model"] = model
    messages: list[object] = [{"role": "system", "content": prompt.system}] if prompt.system else []
    messages += [_message(message) for message in prompt.messages]
    body["messages"] = messages
    body["stream"] = not prompt.whole
    if prompt.whole:
        body.pop("stream_options", None)
    else:
        body["stream_options"] = {"include_usage": True}
    if prompt.sampling.max_tokens is not None and not body.keys() & {"max_tokens", "max_completion_tokens"}:
        body["max_completion_tokens" if REASONING_MODELS.match(model) else "max_tokens"] = prompt.sampling.max_tokens
    if prompt.tools:
        body["tools"] = [orjson.Fragment(_tool(spec)) for spec in prompt.tools]
        if prompt.choice.name is not None or prompt.choice.use is not ToolUse.AUTO:
            body["tool_choice"] = _choice(prompt.choice)
        if prompt.parallel is not None:
            body["parallel_tool_calls"] = prompt.parallel
    return orjson.dumps(body)


def _likelihood(sent: Token) -> Likelihood:
    spelt = [byte for byte in sent.bytes or () if 0 <= byte < _BYTES]
    return Likelihood(
        sent.token,
        sent.logprob,
        bytes(spelt) or sent.token.encode(),
        tuple([_likelihood(other) for other in sent.top_logprobs or ()]),
    )


_BYTES = 256


def _message(message: Message) -> dict[str, object]:
    role, text, parts, calls, answers, name = message
    sent: dict[str, object] = {"role": role.value, "content": [_part(part) for part in parts] if parts else text}
    if calls:
        sent["tool_calls"] = [_call(call) for call in calls]
        if not text and not parts:
            sent["content"] = None
    if role is Role.TOOL:
        sent["tool_call_id"] = answers
    if name is not None:
        sent["name"] = name
    return sent


def _part(part: Part) -> object:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Image):
        image = {"url": part.url} if part.detail is None else {"url": part.url, "detail": part.detail}
        return {"type": "image_url", "image_url": image}
    return orjson.Fragment(part.content)


def _call(call: ToolCall) -> object:
    """Servers that put calls into a template of their own read the arguments, and fail on none."""
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}


@lru_cache(maxsize=256)
def _tool(spec: ToolSpec) -> bytes:
    """The house's own are the same in every turn."""
    function: dict[str, object] = {"name": spec.name}
    if spec.description is not None:
        function["description"] = spec.description
    if spec.parameters is not None:
        function["parameters"] = orjson.Fragment(spec.parameters)
    if spec.strict is not None:
        function["strict"] = spec.strict
    return orjson.dumps({"type": "function", "function": function})


def _choice(choice: ToolChoice) -> object:
    if choice.name is not None:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.use.value
