"""How a thread's model chooses its words: Letta's `model_settings`, whole, for the kind of endpoint behind a handle.

What is left out of them is not left to the provider: Letta fills it with values of its own (a temperature of 0.7, high
effort, strict tools). So every field is said, and what the client did not ask for stays as near to the provider's own
default as Letta allows. Source: Letta 0.16.8, `schemas/model.py`, and what the clients in `llm_api/` make of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import orjson

from librarian.domain.prompt import Sampling

Settings = dict[str, object]

PROVIDER_BY_PREFIX = {
    "anthropic": "anthropic",
    "azure": "azure",
    "baseten": "baseten",
    "bedrock": "bedrock",
    "chatgpt_oauth": "chatgpt_oauth",
    "chatgpt-plus-pro": "chatgpt_oauth",
    "claude-pro-max": "anthropic",
    "deepseek": "deepseek",
    "google_ai": "google_ai",
    "google_vertex": "google_vertex",
    "groq": "groq",
    "minimax": "minimax",
    "openrouter": "openrouter",
    "sglang": "sglang",
    "together": "together",
    "xai": "xai",
    "zai": "zai",
    "zai_coding": "zai",
}
"""For handles that the server does not list. All others are OpenAI's kind: `openai-proxy`, `ollama`, `vllm`, ..."""


class _Kind(Enum):
    """What there is beside a temperature and a limit."""

    OPENAI = "reasoning, response_format, strict"
    PLAIN = "response_format"
    THINKING = "response_format, thinking"
    BARE = ""
    BEDROCK = "response_format, not heeded"
    EFFORT = "reasoning"
    ANTHROPIC = "thinking, effort"
    GOOGLE = "thinking_config"


_KINDS = {
    "openai": _Kind.OPENAI,
    "sglang": _Kind.OPENAI,
    "azure": _Kind.PLAIN,
    "deepseek": _Kind.PLAIN,
    "groq": _Kind.PLAIN,
    "openrouter": _Kind.PLAIN,
    "together": _Kind.PLAIN,
    "xai": _Kind.PLAIN,
    "zai": _Kind.THINKING,
    "baseten": _Kind.BARE,
    "bedrock": _Kind.BEDROCK,
    "chatgpt_oauth": _Kind.EFFORT,
    "anthropic": _Kind.ANTHROPIC,
    "google_ai": _Kind.GOOGLE,
    "google_vertex": _Kind.GOOGLE,
}
_LIKE = {"minimax": "anthropic", "zai_coding": "zai"}

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
BUDGET_TOKENS = {"none": 1024, "minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 24_576}
"""What a model may think where effort is counted in tokens. It cannot be kept from it: Letta drops `disabled`."""
EFFORT_OF_CLAUDE = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
REASONS_AT_OPENAI = ("o1", "o3", "o4", "gpt-5")
THINKS_AT_ANTHROPIC = ("claude-opus-4", "claude-sonnet-4", "claude-3-7-sonnet", "claude-haiku-4-5")
THINKS_AT_GOOGLE = ("gemini-2.5", "gemini-3")
TEMPERATURE = 1.0
CLAUDES = frozenset({"anthropic", "bedrock"})
CLAUDES_HOTTEST = 1.0
CLAUDES_OUTPUT_TOKENS = 4096
EMULATED = frozenset({"stop"})
"""What the house does itself."""
LIMITS = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """`ignored` names what the client asked for and Letta cannot do. `most_tokens`: the limit of an answer, if any."""

    model_settings: Settings
    most_tokens: int | None
    ignored: tuple[str, ...]


def chosen(handle: str, provider: str | None, sampling: Sampling, *, otherwise_tokens: int | None = None) -> Chosen:
    """`provider`: the model's `provider_type`, as the server lists it; None where it does not.

    `otherwise_tokens` limits an answer that the client does not limit; without it Letta allows 4,096 or 16,384,
    whatever the window.
    """
    return _Choice(handle, provider or provider_of(handle), sampling, otherwise_tokens).made()


def ignored(handle: str, provider: str | None, sampling: Sampling) -> tuple[str, ...]:
    """What `chosen` says of them, in the client's order."""
    return chosen(handle, provider, sampling).ignored


def provider_of(handle: str) -> str:
    return PROVIDER_BY_PREFIX.get(handle.partition("/")[0], "openai")


class _Choice:
    """One set of settings in the making. What is asked for is marked as used where it has an effect."""

    def __init__(self, handle: str, provider: str, sampling: Sampling, otherwise_tokens: int | None) -> None:
        self._model = handle.partition("/")[2]
        self._is_minimax = provider == "minimax"
        self._provider = _LIKE.get(provider, provider if provider in _KINDS else "openai")
        self._sampling = sampling
        self._asked = _read(sampling.passed)
        self._most_tokens = sampling.max_tokens or otherwise_tokens
        self._used = {*EMULATED, *LIMITS}

    def made(self) -> Chosen:
        settings: Settings = {
            "provider_type": self._provider,
            "parallel_tool_calls": True,  # else all calls but the first are lost
            "temperature": self._temperature(),
            **self._particulars(),
        }
        if self._most_tokens is not None:
            settings["max_output_tokens"] = self._most_tokens
        left_out = tuple(name for name in self._sampling.passed if name not in self._used)
        return Chosen(settings, self._most_tokens, left_out)

    def _particulars(self) -> Settings:
        """What only some kinds have."""
        particulars: Settings = {}
        match _KINDS[self._provider]:
            case _Kind.OPENAI:
                particulars = self._openais()
            case _Kind.PLAIN:
                particulars = {"response_format": self._format()}
            case _Kind.THINKING:
                thinking = {"type": "enabled", "clear_thinking": False}
                particulars = {"response_format": self._format(), "thinking": thinking}
            case _Kind.EFFORT:
                effort = {"none": "medium", "minimal": "low"}
                asked = self._effort(heard=True)
                particulars = {"reasoning": {"reasoning_effort": effort.get(asked, asked)}}
                self._used -= LIMITS
            case _Kind.BEDROCK:
                self._make_room(BUDGET_TOKENS["none"])
                particulars = {"response_format": None}
            case _Kind.ANTHROPIC:
                particulars = self._claudes()
            case _Kind.GOOGLE:
                particulars = self._googles()
        return particulars

    def _openais(self) -> Settings:
        settings: Settings = {
            "reasoning": {"reasoning_effort": self._effort(heard=self._reasons)},
            "response_format": self._format(),
            "strict": False,
        }
        return settings if self._provider == "openai" else settings | {"tool_call_parser": None}

    @property
    def _reasons(self) -> bool:
        """Whether Letta tells this model of an effort."""
        return self._model.startswith(REASONS_AT_OPENAI)

    def _temperature(self) -> float:
        asked = self._asked.get("temperature")
        if not isinstance(asked, int | float) or isinstance(asked, bool) or not self._takes_temperature:
            return TEMPERATURE
        hottest = CLAUDES_HOTTEST if self._provider in CLAUDES else float(asked)
        if asked <= hottest:
            self._used.add("temperature")
        return min(float(asked), hottest)

    @property
    def _takes_temperature(self) -> bool:
        """Letta leaves it out, or says 1 instead, where a model reasons."""
        if self._provider in {"openai", "sglang"}:
            return not self._reasons
        return self._provider != "chatgpt_oauth" and not self._is_thinking_claude

    def _effort(self, *, heard: bool) -> str:
        """`none` is not said to the model at all: it does as it does by default."""
        asked = self._asked.get("reasoning_effort")
        if not heard or not isinstance(asked, str) or asked not in EFFORTS:
            return "none"
        if asked != "none":
            self._used.add("reasoning_effort")
        return asked

    def _format(self) -> object:
        asked = self._asked.get("response_format")
        kind = asked.get("type") if isinstance(asked, dict) else None
        if kind not in {"text", "json_object", "json_schema"}:
            return None
        self._used.add("response_format")
        return asked if kind != "text" else None

    def _claudes(self) -> Settings:
        effort = self._effort(heard=self._is_thinking_claude)
        budget = BUDGET_TOKENS[effort]
        self._make_room(budget)
        return {
            "thinking": {"type": "enabled", "budget_tokens": budget},
            "response_format": None,
            "verbosity": None,
            "effort": EFFORT_OF_CLAUDE.get(effort),
            "strict": False,
        }

    def _make_room(self, budget_tokens: int) -> None:
        """Claude's limit holds for thoughts and answer together, and must leave some for the answer."""
        if self._is_thinking_claude:
            self._most_tokens = (self._most_tokens or CLAUDES_OUTPUT_TOKENS) + budget_tokens

    @property
    def _is_thinking_claude(self) -> bool:
        if self._provider not in CLAUDES:
            return False
        return self._is_minimax or any(name in self._model for name in THINKS_AT_ANTHROPIC)

    def _googles(self) -> Settings:
        thinks = self._model.startswith(THINKS_AT_GOOGLE)
        budget = BUDGET_TOKENS[self._effort(heard=thinks)] if thinks else 0
        if self._most_tokens is not None:
            self._most_tokens += budget
        return {"thinking_config": {"include_thoughts": thinks, "thinking_budget": budget}, "response_schema": None}


def _read(passed: Mapping[str, bytes]) -> dict[str, object]:
    names = ("temperature", "reasoning_effort", "response_format")
    return {name: orjson.loads(passed[name]) for name in names if name in passed}
