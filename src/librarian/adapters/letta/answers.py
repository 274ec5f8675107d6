"""What Letta answers, as far as the house reads it. Source: Letta 0.16.8, `schemas/`; unknown fields are ignored."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")


class Answer(msgspec.Struct, kw_only=True):
    """Something with an id."""

    id: str


class Health(msgspec.Struct):
    version: str = ""
    status: str = ""


class Block(Answer):
    """`limit` is in characters; Letta does not enforce it."""

    label: str | None = None
    value: str = ""
    limit: int = 0
    description: str | None = None
    read_only: bool = False
    metadata: dict[str, Any] | None = None


class Tool(Answer):
    """`tool_type` is `custom`, `external_mcp` or one of Letta's own kinds."""

    name: str | None = None
    tool_type: str | None = None
    description: str | None = None
    source_code: str | None = None
    json_schema: dict[str, Any] | None = None
    tags: list[str] | None = None


class McpServer(Answer):
    server_name: str
    mcp_server_type: str | None = None
    server_url: str | None = None
    command: str | None = None
    args: list[str] | None = None


class LlmConfig(msgspec.Struct, kw_only=True):
    handle: str | None = None
    context_window: int | None = None
    model_endpoint_type: str | None = None


class Agent(Answer):
    """`message_ids` is its own history, which no conversation shares; the first is its system message."""

    name: str = ""
    system: str | None = None
    agent_type: str | None = None
    description: str | None = None
    model: str | None = None
    embedding: str | None = None
    llm_config: LlmConfig | None = None
    message_ids: list[str] | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    blocks: list[Block] | None = None
    tools: list[Tool] | None = None
    tool_rules: list[dict[str, Any]] | None = None
    created_at: str | None = None


class Conversation(Answer):
    """Only when it is asked for by its id is `in_context_message_ids` filled; the first is the system message."""

    agent_id: str
    in_context_message_ids: list[str] = []
    model: str | None = None
    model_settings: dict[str, Any] | None = None
    summary: str | None = None
    created_at: str | None = None


class CallPart(msgspec.Struct, kw_only=True):
    """A call of a tool, or what a delta adds to it."""

    tool_call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class ReturnPart(msgspec.Struct, kw_only=True):
    tool_call_id: str | None = None
    status: str | None = None


class TextPart(msgspec.Struct):
    text: str | None = None


Content = str | list[TextPart] | None
Calls = list[CallPart] | CallPart | None


class StoredMessage(Answer):
    """One stored row may come back as several of these, of one id."""

    message_type: str
    content: Content = None
    reasoning: str | None = None
    summary: str | None = None
    tool_call: CallPart | None = None
    tool_calls: Calls = None
    tool_call_id: str | None = None
    tool_returns: list[ReturnPart] | None = None
    otid: str | None = None
    step_id: str | None = None
    run_id: str | None = None
    date: str | None = None

    @property
    def text(self) -> str:
        return text_of(self.content)

    @property
    def calls(self) -> list[CallPart]:
        return calls_of(self.tool_calls, self.tool_call)


class Streamed(msgspec.Struct, kw_only=True):
    """One event of a stream: `message_type` says which."""

    message_type: str = ""
    run_id: str | None = None
    step_id: str | None = None
    name: str | None = None
    content: Content = None
    reasoning: str | None = None
    tool_call: CallPart | None = None
    tool_calls: Calls = None
    tool_call_id: str | None = None
    status: str | None = None
    tool_returns: list[ReturnPart] | None = None
    stop_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    context_tokens: int | None = None
    step_count: int | None = None


class Counted(msgspec.Struct, kw_only=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class Generated(msgspec.Struct):
    """A completion without an agent's memory or history."""

    content: str | None = None
    model: str | None = None
    usage: Counted | None = None


class Summarised(msgspec.Struct):
    summary: str = ""
    num_messages_before: int = 0
    num_messages_after: int = 0


class Archive(Answer):
    name: str = ""


class Passage(Answer):
    """`created_at` is ISO 8601. The vectors that Letta sends along are not kept."""

    text: str = ""
    tags: list[str] | None = None
    created_at: str | None = None
    metadata: dict[str, Any] | None = None


class FoundPassage(Answer):
    content: str = ""
    tags: list[str] | None = None
    timestamp: str | None = None


class Found(msgspec.Struct):
    results: list[FoundPassage] = []


class Model(msgspec.Struct, kw_only=True):
    """`provider_type` is the kind of its endpoint: every OpenAI-compatible server is `openai`, Ollama's too."""

    handle: str
    provider_type: str | None = None
    max_context_window: int | None = None
    context_window: int | None = None

    @property
    def window_tokens(self) -> int | None:
        return self.max_context_window or self.context_window


class EmbeddingModel(msgspec.Struct, kw_only=True):
    handle: str
    embedding_dim: int | None = None


def reads(kind: type[_T]) -> Callable[[bytes], _T]:
    """Raises msgspec.DecodeError."""
    return msgspec.json.Decoder(kind).decode


def text_of(content: Content) -> str:
    """Streams say text or a list of text parts, by provider."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text or "" for part in content)


def calls_of(many: Calls, one: CallPart | None) -> list[CallPart]:
    """A list has them all, the first again in `one`; in a stream of tokens both are the same delta."""
    if isinstance(many, list):
        return many
    return [one] if one is not None else []
