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
from librarian.entrypoints.http.openai.wire.json_schema import schema_of
from librarian.entrypoints.http.openai.wire.messages import ChatMessage, to_message
from librarian.entrypoints.http.openai.wire.sampling import PASSED, Count, Request, sampling
from librarian.entrypoints.http.openai.wire.tools import MOST_TOOLS, NamedChoice, Tool, to_tools

ALL_PASSED = (
    *PASSED,
    "logprobs",
    "max_completion_tokens",
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


IGNORED = ("audio", "moderation")
"""What nothing here can do, and no answer depends on."""
MOST_CHOICES = 16
"""Each is a turn."""
MOST_MESSAGES = 4096


class ChatRequest(Request, kw_only=True):
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MOST_MESSAGES)]
    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    max_completion_tokens: Count | None = None
    tools: Annotated[list[Tool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Passed = UNSET
    function_call: Passed = UNSET
    response_format: Passed = UNSET
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    audio: Passed = UNSET
    modalities: list[str] | None = None
    moderation: Passed = UNSET
    prediction: Passed = UNSET
    prompt_cache_options: Passed = UNSET
    prompt_cache_retention: Passed = UNSET
    reasoning_effort: Passed = UNSET
    service_tier: Passed = UNSET
    store: bool | None = None
    verbosity: Passed = UNSET
    web_search_options: Passed = UNSET


class JsonSchema(msgspec.Struct):
    name: str
    schema: Passed = UNSET


class ResponseFormat(msgspec.Struct):
    """`type` says whether the other is there."""

    type: str
    json_schema: JsonSchema | None = None


decode = decoder(ChatRequest)
_decode_format = decoder(ResponseFormat)


def to_domain(request: ChatRequest, principal: Principal, mode: Mode | None = None) -> Ask:
    """Raises InvalidRequest."""
    _refuse_functions(request)
    _refuse_sounds(request)
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


def _refuse_sounds(request: ChatRequest) -> None:
    for wanted in request.modalities or ():
        if wanted != "text":
            raise InvalidRequest(
                f"Unsupported value: 'modalities' has '{wanted}'. Only 'text' is supported.",
                param="modalities",
                code="unsupported_value",
            )


def ignored(request: ChatRequest) -> tuple[str, ...]:
    return tuple(name for name in IGNORED if _is_given(getattr(request, name)))


def _is_given(sent: Passed) -> bool:
    return not isinstance(sent, msgspec.UnsetType) and bytes(sent) != b"null"


def _is_structured(sent: Passed) -> bool:
    """Raises InvalidRequest for a format that is none."""
    if isinstance(sent, msgspec.UnsetType) or (raw := kept(sent, "response_format")) is None:
        return False
    try:
        wanted = _decode_format(raw)
    except InvalidRequest as error:
        param = f"response_format.{error.param}" if error.param else "response_format"
        raise InvalidRequest(
            f"Invalid 'response_format': expected an object with a 'type'. {error}", param=param, code=error.code
        ) from error
    if wanted.type == "json_schema":
        _check_schema(wanted.json_schema)
    elif wanted.type not in {"text", "json_object"}:
        raise InvalidRequest(
            f"Invalid value: '{wanted.type}'. Supported values are: 'text', 'json_object', and 'json_schema'.",
            param="response_format.type",
            code="invalid_value",
        )
    return wanted.type != "text"


def _check_schema(wanted: JsonSchema | None) -> None:
    if wanted is None:
        raise InvalidRequest(
            "Missing required parameter: 'response_format.json_schema'.",
            param="response_format.json_schema",
            code="missing_required_parameter",
        )
    schema_of(wanted.schema, "response_format.json_schema.schema")
