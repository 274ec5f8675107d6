"""What a client sends to /v1/chat/completions. Source: openai-openapi, CreateChatCompletionRequest."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from librarian.application.converse import Ask
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Principal
from librarian.domain.mode import Mode
from librarian.domain.transcript import Transcript
from librarian.entrypoints.http.openai.wire.decoding import Passed, decoder, kept
from librarian.entrypoints.http.openai.wire.messages import ChatMessage, to_message
from librarian.entrypoints.http.openai.wire.sampling import PASSED, Count, Request, sampling
from librarian.entrypoints.http.openai.wire.tools import NamedChoice, Tool, to_tools

ALL_PASSED = (
    *PASSED,
    "audio",
    "logprobs",
    "max_completion_tokens",
    "modalities",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "service_tier",
    "top_logprobs",
    "verbosity",
    "web_search_options",
)


MOST_CHOICES = 16
"""Each is a turn."""


class ChatRequest(Request, kw_only=True):
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    max_completion_tokens: Count | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Passed = UNSET
    function_call: Passed = UNSET
    response_format: Passed = UNSET
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    audio: Passed = UNSET
    modalities: Passed = UNSET
    prediction: Passed = UNSET
    prompt_cache_options: Passed = UNSET
    prompt_cache_retention: Passed = UNSET
    reasoning_effort: Passed = UNSET
    service_tier: Passed = UNSET
    verbosity: Passed = UNSET
    web_search_options: Passed = UNSET


class ResponseFormat(msgspec.Struct):
    type: str


decode = decoder(ChatRequest)
_decode_format = decoder(ResponseFormat)


def to_domain(request: ChatRequest, principal: Principal, mode: Mode | None = None) -> Ask:
    """Raises InvalidRequest."""
    _refuse_functions(request)
    limits = [limit for limit in (request.max_tokens, request.max_completion_tokens) if limit is not None]
    return Ask(
        model=request.model,
        transcript=Transcript([to_message(message, at) for at, message in enumerate(request.messages)]),
        principal=principal,
        mode=mode,
        sampling=sampling(request, ALL_PASSED, min(limits, default=None)),
        tools=to_tools(request.tools, request.tool_choice, parallel=request.parallel_tool_calls),
        structured=_is_structured(request.response_format),
        whole=not request.stream,
    )


def _refuse_functions(request: ChatRequest) -> None:
    for name in ("functions", "function_call"):
        sent: Any = getattr(request, name)
        if sent is not UNSET and kept(sent, name) is not None:
            raise InvalidRequest(
                f"`{name}` is no longer supported: use `tools` and `tool_choice`.", param=name, code="unsupported_value"
            )


def _is_structured(sent: Passed) -> bool:
    if isinstance(sent, msgspec.UnsetType) or (raw := kept(sent, "response_format")) is None:
        return False
    try:
        return _decode_format(raw).type != "text"
    except InvalidRequest as error:
        raise InvalidRequest(
            "Invalid 'response_format': expected an object with a 'type'.", param="response_format", code=error.code
        ) from error
