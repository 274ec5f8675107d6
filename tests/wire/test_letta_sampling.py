"""How a thread's model chooses its words."""

import json

import pytest

from librarian.adapters.letta.sampling import chosen, ignored, provider_of
from librarian.domain.prompt import PLAIN_SAMPLING, Sampling

MINI = "openai-proxy/gpt-4o-mini"
CLAUDE = "anthropic/claude-sonnet-4-20250514"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def asked(max_tokens=None, **passed):
    return Sampling(max_tokens, {name: json.dumps(value).encode() for name, value in passed.items()})


def settings(handle, provider, sampling=PLAIN_SAMPLING, **more):
    return chosen(handle, provider, sampling, **more).model_settings


def test_nothing_asked_for():
    assert {
        "provider_type": "openai",
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "reasoning": {"reasoning_effort": "none"},
        "response_format": None,
        "strict": False,
    } == settings(MINI, "openai")


def test_all_that_letta_can_do():
    sampling = asked(50, temperature=0.2, max_completion_tokens=50, response_format=SCHEMA, stop=["\n"])

    choice = chosen(MINI, "openai", sampling)

    assert (0.2, 50, SCHEMA) == tuple(
        choice.model_settings[name] for name in ("temperature", "max_output_tokens", "response_format")
    )
    assert 50 == choice.most_tokens
    assert () == choice.ignored


def test_what_letta_cannot_do_is_named_in_order():
    sampling = asked(seed=1, temperature=0.5, top_p=0.1, logit_bias={}, presence_penalty=1, logprobs=True)

    assert ("seed", "top_p", "logit_bias", "presence_penalty", "logprobs") == ignored(MINI, "openai", sampling)


def test_effort_where_it_is_heard():
    choice = chosen("openai/gpt-5", "openai", asked(reasoning_effort="high", temperature=0.2))

    assert {"reasoning_effort": "high"} == choice.model_settings["reasoning"]
    assert ("temperature",) == choice.ignored


@pytest.mark.parametrize(
    ("handle", "provider", "effort"),
    [
        (MINI, "openai", "high"),
        ("openai/gpt-5", "openai", "none"),
        ("openai/gpt-5", "openai", "vast"),
        ("x/y", None, 5),
    ],
)
def test_effort_where_it_is_not(handle, provider, effort):
    choice = chosen(handle, provider, asked(reasoning_effort=effort))

    assert {"reasoning_effort": "none"} == choice.model_settings["reasoning"]
    assert ("reasoning_effort",) == choice.ignored


@pytest.mark.parametrize(
    ("wanted", "expected", "left_out"),
    [
        ({"type": "text"}, None, ()),
        ({"type": "json_object"}, {"type": "json_object"}, ()),
        (SCHEMA, SCHEMA, ()),
        ({"type": "grammar"}, None, ("response_format",)),
        ("json", None, ("response_format",)),
    ],
)
def test_formats(wanted, expected, left_out):
    choice = chosen(MINI, "openai", asked(response_format=wanted))

    assert expected == choice.model_settings["response_format"]
    assert left_out == choice.ignored


@pytest.mark.parametrize("provider", ["anthropic", "google_ai", "bedrock", "baseten", "chatgpt_oauth"])
def test_formats_that_are_dropped_on_the_way(provider):
    assert ("response_format",) == ignored("p/model", provider, asked(response_format=SCHEMA))


def test_a_limit_that_the_client_does_not_set():
    assert 4000 == settings(MINI, "openai", otherwise_tokens=4000)["max_output_tokens"]
    assert 50 == settings(MINI, "openai", asked(50), otherwise_tokens=4000)["max_output_tokens"]


def test_claude_thinks_beside_its_answer():
    choice = chosen(CLAUDE, "anthropic", asked(50, temperature=1.7, reasoning_effort="medium"))

    assert {"type": "enabled", "budget_tokens": 4096} == choice.model_settings["thinking"]
    assert "medium" == choice.model_settings["effort"]
    assert 50 + 4096 == choice.model_settings["max_output_tokens"] == choice.most_tokens
    assert 1.0 == choice.model_settings["temperature"]
    assert ("temperature",) == choice.ignored


@pytest.mark.parametrize(("temperature", "expected", "left_out"), [(0.7, 0.7, ()), (1.7, 1.0, ("temperature",))])
def test_claudes_that_do_not_think(temperature, expected, left_out):
    choice = chosen("anthropic/claude-3-haiku-20240307", "anthropic", asked(50, temperature=temperature))

    assert (expected, 50) == (choice.model_settings["temperature"], choice.most_tokens)
    assert left_out == choice.ignored


def test_a_limit_that_is_no_limit_there():
    sampling = asked(5, max_completion_tokens=5, temperature=0.5)

    assert ("max_completion_tokens", "temperature") == ignored("chatgpt_oauth/gpt-5", None, sampling)


def test_a_claude_by_way_of_others_is_theirs_to_deal_with():
    choice = chosen("openrouter/anthropic/claude-sonnet-4", "openrouter", asked(50, temperature=1.7))

    assert (1.7, 50) == (choice.model_settings["temperature"], choice.most_tokens)


def test_gemini():
    choice = chosen("google_ai/gemini-2.5-flash", "google_ai", asked(50, reasoning_effort="low"))

    assert {"include_thoughts": True, "thinking_budget": 1024} == choice.model_settings["thinking_config"]
    assert 50 + 1024 == choice.most_tokens
    assert () == choice.ignored
    assert {"include_thoughts": False, "thinking_budget": 0} == settings("google_ai/gemini-2.0-flash", "google_ai")[
        "thinking_config"
    ]


@pytest.mark.parametrize(
    ("handle", "provider"),
    [
        (MINI, "openai"),
        ("ollama/llama3", "openai"),
        ("venice/qwen", "openai"),
        (CLAUDE, "anthropic"),
        ("google_vertex/gemini-2.5-pro", "google_vertex"),
        ("zai_coding/glm-5", "zai"),
    ],
)
def test_handles_that_no_server_listed(handle, provider):
    assert provider == provider_of(handle)


def test_kinds_that_letta_has_no_settings_for():
    assert "openai" == settings("fireworks/glm-5", "fireworks")["provider_type"]
    assert "anthropic" == settings("minimax/m2", "minimax")["provider_type"]
    assert "zai" == settings("zai_coding/glm-5", "zai_coding")["provider_type"]
