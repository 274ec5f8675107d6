"""What a client sends to /v1/responses. Source: openai-openapi, CreateResponse."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from librarian.application.converse import Ask
from librarian.application.go_on import From
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Principal
from librarian.domain.mode import Mode
from librarian.domain.prompt import PLAIN_SAMPLING, Sampling
from librarian.domain.transcript import Message, Role, Transcript
from librarian.entrypoints.http.openai.wire.decoding import Passed, decoder, kept
from librarian.entrypoints.http.openai.wire.items import Item, refuse, to_messages
from librarian.entrypoints.http.openai.wire.json_schema import schema_of
from librarian.entrypoints.http.openai.wire.sampling import Count, Labelled
from librarian.entrypoints.http.openai.wire.tools import NamedChoice, Tool, to_tools

PASSED = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_completion_tokens",
    "prompt_cache_key": "prompt_cache_key",
    "prompt_cache_retention": "prompt_cache_retention",
    "service_tier": "service_tier",
}
"""Fields that go to the model, by the names that it knows them by."""
INCLUDABLE = frozenset(
    {
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
        "reasoning.encrypted_content",
        "message.output_text.logprobs",
    }
)


class TextFormat(msgspec.Struct, omit_defaults=True):
    type: str
    name: str | None = None
    description: str | None = None
    schema: Passed = UNSET
    strict: bool | None = None


class TextConfig(msgspec.Struct):
    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ConversationRef(msgspec.Struct):
    id: str


class ResponseRequest(Labelled, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | list[Item] | None = None
    instructions: str | list[Item] | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationRef | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    truncation: str | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    store: bool | None = None
    background: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    prompt: Passed = UNSET

    @property
    def point(self) -> From:
        """Raises InvalidRequest."""
        conversation = self.conversation.id if isinstance(self.conversation, ConversationRef) else self.conversation
        if conversation and self.previous_response_id:
            refuse("Give either 'conversation' or 'previous_response_id', not both.", "previous_response_id")
        return From(self.previous_response_id or None, conversation or None)

    @property
    def items(self) -> list[Item]:
        if isinstance(self.input, str):
            return [Item(role="user", content=self.input)]
        return self.input or []

    @property
    def orders(self) -> list[Message]:
        """The instructions, for this response alone. Raises InvalidRequest."""
        if isinstance(self.instructions, str):
            return [Message(Role.SYSTEM, self.instructions)] if self.instructions else []
        return [message._replace(role=Role.SYSTEM) for message in to_messages(self.instructions or [])]


class UnaskedRequest(ResponseRequest, kw_only=True):
    """One that is only counted, and need not name a model."""

    model: str = "librarian"


decode = decoder(ResponseRequest)
decode_unasked = decoder(UnaskedRequest)


def to_domain(request: ResponseRequest, principal: Principal, mode: Mode | None) -> Ask:
    """All but what is said. Raises InvalidRequest."""
    for name in request.include or ():
        if name not in INCLUDABLE:
            refuse(f"Invalid value: '{name}' cannot be included.", "include")
    if request.truncation not in {None, "auto", "disabled"}:
        refuse("Invalid 'truncation': it is 'auto' or 'disabled'.", "truncation")
    if not isinstance(request.prompt, msgspec.UnsetType) and kept(request.prompt, "prompt") is not None:
        refuse("Unsupported value: 'prompt' templates are not kept here.", "prompt", "unsupported_value")
    return Ask(
        model=request.model,
        transcript=Transcript(()),
        principal=principal,
        mode=mode,
        sampling=_sampling(request),
        tools=to_tools(request.tools, request.tool_choice, parallel=request.parallel_tool_calls),
        structured=_format(request) is not None,
        whole=not request.stream,
    )


def _sampling(request: ResponseRequest) -> Sampling:
    values: dict[str, bytes] = {}
    for name, passed in PASSED.items():
        if (value := getattr(request, name)) is not None:
            values[passed] = msgspec.json.encode(value)
    if (wanted := _format(request)) is not None:
        values["response_format"] = wanted
    if request.text is not None and request.text.verbosity is not None:
        values["verbosity"] = msgspec.json.encode(request.text.verbosity)
    if request.reasoning is not None and request.reasoning.effort is not None:
        values["reasoning_effort"] = msgspec.json.encode(request.reasoning.effort)
    return Sampling(request.max_output_tokens, values) if values else PLAIN_SAMPLING


def _format(request: ResponseRequest) -> bytes | None:
    """In chat's form. Raises InvalidRequest."""
    wanted = request.text.format if request.text is not None else None
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return b'{"type":"json_object"}'
    if wanted.type != "json_schema":
        refuse(f"Invalid value: '{wanted.type}' is no format that is known here.", "text.format.type")
    if not wanted.name:
        refuse("Missing required parameter: 'text.format.name'.", "text.format.name", "missing_required_parameter")
    schema = schema_of(wanted.schema, "text.format.schema")
    if schema is None:
        raise InvalidRequest("The schema is not an object.", param="text.format.schema", code="invalid_type")
    described: dict[str, Any] = {"name": wanted.name, "schema": msgspec.Raw(schema)}
    described |= {"description": wanted.description} if wanted.description is not None else {}
    described |= {"strict": wanted.strict} if wanted.strict is not None else {}
    return msgspec.json.encode({"type": "json_schema", "json_schema": described})
