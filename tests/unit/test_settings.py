"""What an operator may choose, where it is read from, and what is refused."""

import os
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr

from librarian.domain.identity import LOCAL, Principal, owner_of
from librarian.domain.templates import Template
from librarian.settings import (
    ALIASES,
    OPENAI_BASE_URL,
    AgentTemplate,
    NamedModel,
    Settings,
    environment,
    is_loopback,
    notices,
    read_settings,
    unknown_names,
)
from scripts.config_example import FILE, example

LISTED = re.findall(r"^#(LIBRARIAN_\w+)=", FILE.read_text(encoding="utf-8"), re.MULTILINE)

# For every setting a value that is not its default, as it is written and as it arrives.
CHOSEN = {
    "LIBRARIAN_HOST": ("127.0.0.2", "127.0.0.2"),
    "LIBRARIAN_PORT": ("8001", 8001),
    "LIBRARIAN_API_KEY": ("lib_1", SecretStr("lib_1")),
    "LIBRARIAN_DATA_DIR": ("elsewhere", Path("elsewhere")),
    "LIBRARIAN_DATABASE_URL": ("sqlite:///other.db", "sqlite:///other.db"),
    "LIBRARIAN_ENABLE_DOCS": ("false", False),
    "LIBRARIAN_LOG_LEVEL": ("debug", "debug"),
    "LIBRARIAN_ENABLE_TOOL_SYNC": ("false", False),
    "LIBRARIAN_MODELS": ('{"clerk": {"mode": "worker"}}', {"clerk": NamedModel(mode="worker")}),
    "LIBRARIAN_ALIASES": ('{"o3": "librarian"}', {"o3": "librarian"}),
    "LIBRARIAN_WINDOWS_TOKENS": ('{"*": 8192}', {"*": 8192}),
    "LIBRARIAN_UPSTREAM__BASE_URL": ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
    "LIBRARIAN_UPSTREAM__API_KEY": ("sk-1", SecretStr("sk-1")),
    "LIBRARIAN_UPSTREAM__MODEL": ("llama", "llama"),
    "LIBRARIAN_UPSTREAM__DISCOVER": ("false", False),
    "LIBRARIAN_UPSTREAM__EMBEDDING_MODEL": ("nomic-embed-text", "nomic-embed-text"),
    "LIBRARIAN_UPSTREAM__CONNECT_S": ("1.5", 1.5),
    "LIBRARIAN_UPSTREAM__FIRST_EVENT_S": ("1.5", 1.5),
    "LIBRARIAN_UPSTREAM__IDLE_S": ("1.5", 1.5),
    "LIBRARIAN_UPSTREAM__HEADERS": ('{"x-team": "archive"}', {"x-team": SecretStr("archive")}),
    "LIBRARIAN_POOL__SEATS": ("3", 3),
    "LIBRARIAN_POOL__PLACES": ("3", 3),
    "LIBRARIAN_POOL__PATIENCE_S": ("1.5", 1.5),
    "LIBRARIAN_RECALL__BUDGET_S": ("0", 0.0),
    "LIBRARIAN_RECALL__BUDGET_CHARS": ("3", 3),
    "LIBRARIAN_ENGINE__MOST_STEPS": ("3", 3),
    "LIBRARIAN_LETTA__BASE_URL": ("http://127.0.0.1:9", "http://127.0.0.1:9"),
    "LIBRARIAN_LETTA__API_KEY": ("letta", SecretStr("letta")),
    "LIBRARIAN_LETTA__MODEL": ("openai-proxy/gpt-4o-mini", "openai-proxy/gpt-4o-mini"),
    "LIBRARIAN_LETTA__EMBEDDING": ("openai/text-embedding-3-small", "openai/text-embedding-3-small"),
    "LIBRARIAN_LETTA__TEMPLATES": ('{"librarian": {"tools": ["a.py"]}}', {"librarian": AgentTemplate(tools=["a.py"])}),
    "LIBRARIAN_LETTA__STRICT": ("true", True),
    "LIBRARIAN_LETTA__TIMEOUT_S": ("1.5", 1.5),
    "LIBRARIAN_LETTA__CONNECT_S": ("1.5", 1.5),
    "LIBRARIAN_LETTA__FIRST_EVENT_S": ("1.5", 1.5),
    "LIBRARIAN_LETTA__IDLE_S": ("1.5", 1.5),
    "LIBRARIAN_IDENTITY__OPENWEBUI_SECRET": (
        "made up, and longer than most are",
        SecretStr("made up, and longer than most are"),
    ),
    "LIBRARIAN_IDENTITY__ASSERT_SUBJECT": ("false", False),
    "LIBRARIAN_IDENTITY__REQUIRE_SUBJECT": ("true", True),
    "LIBRARIAN_HTTP__BODY_LIMIT_BYTES": ("2048", 2048),
    "LIBRARIAN_HTTP__TURN_S": ("1.5", 1.5),
    "LIBRARIAN_HTTP__HOLD_S": ("1.5", 1.5),
    "LIBRARIAN_HTTP__PING_S": ("1.5", 1.5),
    "LIBRARIAN_HTTP__METRICS": ("false", False),
}

# The names of the original that mean something here: what was written, and where it arrives as what.
MOVED = [
    ("LIBRARIAN_DEBUG", "true", "LIBRARIAN_LOG_LEVEL", "debug"),
    ("LIBRARIAN_DEBUG", "0", "LIBRARIAN_LOG_LEVEL", "info"),
    ("LIBRARIAN_MAX_REQUEST_SIZE", "10485760", "LIBRARIAN_HTTP__BODY_LIMIT_BYTES", 10_485_760),
    ("LIBRARIAN_REQUEST_TIMEOUT", "300", "LIBRARIAN_HTTP__TURN_S", 300.0),
    ("LIBRARIAN_MAX_CONCURRENT", "10", "LIBRARIAN_POOL__SEATS", 10),
    ("LIBRARIAN_QUEUE_TIMEOUT", "300", "LIBRARIAN_POOL__PATIENCE_S", 300.0),
    ("LIBRARIAN_METRICS_ENABLED", "false", "LIBRARIAN_HTTP__METRICS", False),
]
CUSTOM = '{"clerk": {"agent_id": "agent-1", "mode": "worker", "description": "Literal."}}'
WITHOUT_EFFECT = {
    "LIBRARIAN_ENABLE_IP_FILTERING": "false",
    "LIBRARIAN_ALLOWED_IPS": "10.0.0.0/8",
    "LIBRARIAN_BLOCKED_IPS": "10.0.0.1",
    "LIBRARIAN_API_KEY_REQUIRED": "false",
    "LIBRARIAN_RATE_LIMIT_ENABLED": "true",
    "LIBRARIAN_RATE_LIMIT_REQUESTS": "100",
    "LIBRARIAN_RATE_LIMIT_WINDOW": "60",
    "LIBRARIAN_DUPLICATION_THRESHOLD": "8",
    "LIBRARIAN_CLEANUP_INTERVAL": "60",
    "LIBRARIAN_ENABLE_AUTO_DUPLICATION": "true",
    "LIBRARIAN_MAX_CLONES_PER_AGENT": "3",
    "LIBRARIAN_LOG_SECURITY_EVENTS": "true",
    "LIBRARIAN_AUDIT_ENABLED": "true",
}

every_chosen = pytest.mark.parametrize("name", CHOSEN)


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """An environment in which nothing is chosen, and a folder without files."""
    for name in os.environ:
        if name.upper().startswith(("LIBRARIAN_", "OPENAI_", "LETTA_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def choose(monkeypatch):
    def choose(**chosen):
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)

    return choose


def at(settings, name):
    """What arrived under a variable's name."""
    value = settings
    for part in name.removeprefix("LIBRARIAN_").lower().split("__"):
        value = getattr(value, part)
    return value


def names_of(part, prefix="LIBRARIAN_"):
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from names_of(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper()


def refusal(**overrides):
    """What is said to an operator whose settings are wrong."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - what it says is looked at by who asks
        read_settings(overrides)
    return "\n".join(refused.value.args)


# -- config.example


def test_the_example_is_the_one_that_the_settings_make():
    assert example() == FILE.read_text(encoding="utf-8")


def test_the_example_names_every_setting_once():
    assert sorted(names_of(Settings)) == sorted(LISTED)


def test_the_example_changes_nothing(tmp_path):
    before = Settings()
    (tmp_path / ".env").write_text(example(), encoding="utf-8")

    assert before == Settings()


def test_its_lines_are_the_defaults(tmp_path):
    before = Settings()
    uncommented = re.sub(r"^#(?=LIBRARIAN_)", "", example(), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(uncommented, encoding="utf-8")

    assert LISTED == list(dotenv_values(".env"))
    assert before == Settings()


def test_there_is_something_to_choose_for_every_line_of_it():
    assert sorted(CHOSEN) == sorted(LISTED)


@every_chosen
def test_what_is_chosen_in_the_environment_arrives(choose, name):
    default = at(Settings(), name)
    written, arrived = CHOSEN[name]
    choose(LIBRARIAN_UPSTREAM__BASE_URL="http://127.0.0.1:8/v1")  # a key is for an address
    choose(**{name: written})

    assert default != arrived
    assert arrived == at(Settings(), name)
    assert [] == unknown_names(environment())
    assert [] == notices(environment())


@every_chosen
def test_what_is_chosen_in_a_file_arrives(tmp_path, name):
    written, arrived = CHOSEN[name]
    address = "LIBRARIAN_UPSTREAM__BASE_URL=http://127.0.0.1:8/v1\n"  # a key is for an address
    (tmp_path / "config").write_text(f"{address}{name}='{written}'\n", encoding="utf-8")

    assert arrived == at(Settings(), name)


# -- where from


@pytest.mark.parametrize(
    ("sources", "port"),
    [
        (["config"], 1),
        (["config", ".env"], 2),
        (["config", ".env", "environment"], 3),
        (["config", ".env", "environment", "flag"], 4),
    ],
    ids=lambda value: " < ".join(value) if isinstance(value, list) else "",
)
def test_the_nearer_source_has_the_last_word(choose, tmp_path, sources, port):
    for number, source in enumerate(sources, 1):
        if source == "environment":
            choose(LIBRARIAN_PORT=str(number))
        elif source != "flag":
            (tmp_path / source).write_text(f"LIBRARIAN_PORT={number}\n", encoding="utf-8")
    flags = {"port": 4} if "flag" in sources else {}

    assert port == Settings(**flags).port


def test_sources_are_joined_within_a_group(choose, tmp_path):
    (tmp_path / "config").write_text("LIBRARIAN_UPSTREAM__CONNECT_S=1\n", encoding="utf-8")
    (tmp_path / ".env").write_text("LIBRARIAN_UPSTREAM__IDLE_S=2\n", encoding="utf-8")
    choose(LIBRARIAN_UPSTREAM__MODEL="llama")

    upstream = Settings(upstream={"base_url": "http://127.0.0.1:9/v1"}).upstream

    chosen = (upstream.base_url, upstream.model, upstream.idle_s, upstream.connect_s)
    assert ("http://127.0.0.1:9/v1", "llama", 2.0, 1.0) == chosen


def test_an_empty_value_is_none(choose):
    before = Settings()
    choose(**dict.fromkeys(CHOSEN, ""))

    assert before == Settings()


def test_a_folder_by_the_name_of_a_file_is_left_alone(tmp_path):
    (tmp_path / "config").mkdir()

    assert 8000 == Settings().port


def test_the_defaults_are_for_one_machine_alone():
    settings = Settings()

    assert ("127.0.0.1", 8000, None) == (settings.host, settings.port, settings.api_key)
    assert ALIASES == settings.aliases
    assert f"sqlite:///{settings.data_dir / 'librarian.db'}" == settings.database


# -- the names of the original


@pytest.mark.parametrize(("name", "written", "new_name", "arrived"), MOVED)
def test_an_original_name_arrives_at_its_new_place_with_one_notice(choose, name, written, new_name, arrived):
    choose(**{name: written})

    assert arrived == at(Settings(), new_name)
    assert [f"{name} is now called {new_name}."] == notices(environment())
    assert [] == unknown_names(environment())


@pytest.mark.parametrize("name", ["LIBRARIAN_CUSTOM_MODELS", "LIBRARIAN_ADDITIONAL_MODELS"])
def test_the_originals_models_arrive_with_their_letta_agents(choose, name):
    choose(**{name: CUSTOM})

    settings = Settings()
    assert {"clerk": NamedModel(mode="worker", agent_id="agent-1", description="Literal.")} == settings.models
    assert "agent-1" == next(entry.template for entry in settings.catalog if entry.name == "clerk")
    assert (Template("agent-1", "agent-1", owner_of(LOCAL)),) == settings.templates
    assert [f"{name} is now called LIBRARIAN_MODELS."] == notices(environment())


def test_both_of_the_originals_lists_of_models_arrive(choose):
    choose(LIBRARIAN_CUSTOM_MODELS=CUSTOM, LIBRARIAN_ADDITIONAL_MODELS='{"bard": {"mode": "persona"}}')

    assert {"clerk", "bard"} == Settings().models.keys()


@pytest.mark.parametrize("level", ["WARNING", "Warning", "warning"])
def test_levels_are_written_either_way(choose, level):
    choose(LIBRARIAN_LOG_LEVEL=level)

    assert "warning" == Settings().log_level


def test_original_names_are_read_from_its_file(tmp_path):
    (tmp_path / "config").write_text("LIBRARIAN_MAX_CONCURRENT=10\n", encoding="utf-8")

    assert 10 == Settings().pool.seats
    assert ["LIBRARIAN_MAX_CONCURRENT is now called LIBRARIAN_POOL__SEATS."] == notices(environment())


@pytest.mark.parametrize(("name", "written", "new_name", "arrived"), MOVED)
def test_the_new_name_has_the_last_word(choose, name, written, new_name, arrived):
    chosen, expected = CHOSEN[new_name]
    choose(**{name: written, new_name: chosen})

    assert expected == at(Settings(), new_name)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_an_original_name_without_effect_has_one_notice(choose, name):
    before = Settings()
    choose(**{name: WITHOUT_EFFECT[name]})

    assert before == Settings()
    assert [f"{name} has no effect in this version."] == notices(environment())
    assert [] == unknown_names(environment())


def test_the_house_does_not_pretend_to_filter_addresses(choose):
    choose(LIBRARIAN_ENABLE_IP_FILTERING="true")

    assert "LIBRARIAN_ENABLE_IP_FILTERING" in refusal()


def test_a_key_that_is_required_must_be_there(choose):
    choose(LIBRARIAN_API_KEY_REQUIRED="true")

    assert "LIBRARIAN_API_KEY is not set" in refusal()
    choose(LIBRARIAN_API_KEY="lib_1")
    assert SecretStr("lib_1") == Settings().api_key


# -- what is refused


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("LIBRARIAN_PORT", "eighty"),
        ("LIBRARIAN_PORT", "65536"),
        ("LIBRARIAN_ENABLE_DOCS", "perhaps"),
        ("LIBRARIAN_LOG_LEVEL", "loud"),
        ("LIBRARIAN_DATABASE_URL", "postgres://house"),
        ("LIBRARIAN_UPSTREAM__BASE_URL", "localhost:11434"),
        ("LIBRARIAN_MODELS", "clerk"),
        ("LIBRARIAN_MAX_CONCURRENT", "many"),
        ("LIBRARIAN_REQUEST_TIMEOUT", "0"),
        ("LIBRARIAN_CUSTOM_MODELS", "clerk"),
        ("LIBRARIAN_ADDITIONAL_MODELS", "[1]"),
        ("LIBRARIAN_UPSTREAM__CONNECT_S", "0"),
        ("LIBRARIAN_UPSTREAM__IDLE_S", "soon"),
        ("LIBRARIAN_POOL__SEATS", "0"),
        ("LIBRARIAN_POOL__PATIENCE_S", "inf"),
        ("LIBRARIAN_RECALL__BUDGET_S", "nan"),
        ("LIBRARIAN_ENGINE__MOST_STEPS", "1.5"),
        ("LIBRARIAN_IDENTITY__OPENWEBUI_SECRET", "short"),
        ("LIBRARIAN_HTTP__BODY_LIMIT_BYTES", "-1"),
        ("LIBRARIAN_HTTP__METRICS", "maybe"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(choose, name, wrong):
    choose(**{name: wrong})

    assert re.fullmatch(rf"{name}: [A-Z].+", refusal())


@pytest.mark.parametrize(
    ("name", "wrong", "within"),
    [
        ("LIBRARIAN_WINDOWS_TOKENS", '{"llama": 5}', "LIBRARIAN_WINDOWS_TOKENS"),
        ("LIBRARIAN_MODELS", '{"clerk": {"mode": "curt"}}', "LIBRARIAN_MODELS"),
        ("LIBRARIAN_MODELS", '{"clerk": {"mod": "worker"}}', "LIBRARIAN_MODELS"),
        ("LIBRARIAN_CUSTOM_MODELS", '{"clerk": {"mode": "curt"}}', "LIBRARIAN_CUSTOM_MODELS"),
        ("LIBRARIAN_CUSTOM_MODELS", '{"clerk": 5}', "LIBRARIAN_CUSTOM_MODELS"),
        ("LIBRARIAN_UPSTREAM__HEADERS", "x-team", "LIBRARIAN_UPSTREAM"),
    ],
)
def test_a_wrong_value_within_json_is_refused_by_its_name(choose, name, wrong, within):
    choose(**{name: wrong})

    assert refusal().startswith(within)


def test_every_wrong_value_has_a_sentence_of_its_own(choose):
    choose(LIBRARIAN_PORT="eighty", LIBRARIAN_HTTP__METRICS="maybe", LIBRARIAN_POOL__SEATS="0")

    said = refusal().splitlines()

    names = ["LIBRARIAN_HTTP__METRICS", "LIBRARIAN_POOL__SEATS", "LIBRARIAN_PORT"]
    assert names == sorted(line.split(":")[0] for line in said)


@pytest.mark.parametrize("source", ["environment", "config", ".env"])
@pytest.mark.parametrize("name", ["LIBRARIAN_UPSTREAM__BASEURL", "LIBRARIAN_HTTP__PORT", "LIBRARIAN_POOL__SEATS__MAX"])
def test_an_unknown_name_within_a_group_stops_the_start(choose, tmp_path, source, name):
    if source == "environment":
        choose(**{name: "1"})
    else:
        (tmp_path / source).write_text(f"{name}=1\n", encoding="utf-8")

    assert name.rpartition("__")[0] in refusal()


@pytest.mark.parametrize(
    "name",
    [
        "LIBRARIAN_HOTS",
        "LIBRARIAN_HTTP_METRICS",
        "LIBRARIAN_DATA__DIR",
        "librarian_prt",
        "LIBRARIAN_",
        "LIBRARIAN_PORT__X",
    ],
)
def test_an_unknown_name_on_its_own_is_listed(choose, name):
    choose(**{name: "1"})

    assert 8000 == Settings().port
    assert [name] == unknown_names(environment())


def test_unknown_names_in_files_are_listed(tmp_path):
    (tmp_path / "config").write_text("LIBRARIAN_HOTS=1\nELSE=1\n", encoding="utf-8")
    (tmp_path / ".env").write_text("LIBRARIAN_PROT=1\n", encoding="utf-8")

    assert ["LIBRARIAN_HOTS", "LIBRARIAN_PROT"] == unknown_names(environment())


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "config").write_bytes(b"\xff\xfe")

    assert "config" in refusal()


def test_a_home_is_found_for_the_data(choose, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    choose(LIBRARIAN_DATA_DIR="~/archive")

    assert tmp_path / "archive" == Settings().data_dir


# -- who is let in


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.1.2", "librarian.example", "localhost.example", "127.1.evil"],  # noqa: S104 - refused
)
def test_other_machines_are_let_in_with_a_key_only(choose, host):
    choose(LIBRARIAN_HOST=host)

    assert f"LIBRARIAN_HOST={host} lets other machines in" in refusal()
    assert host == Settings(api_key="lib_1").host


def test_white_space_is_no_key(choose):
    choose(LIBRARIAN_HOST="192.168.1.2", LIBRARIAN_API_KEY="  ")

    assert "no key is configured" in refusal()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "librarian.localhost"])
def test_this_machine_needs_no_key(choose, host):
    choose(LIBRARIAN_HOST=host)

    assert is_loopback(Settings().host)


# -- the key for the language model


@pytest.mark.parametrize(
    "chosen",
    [
        {"LIBRARIAN_UPSTREAM__BASE_URL": "http://127.0.0.1:9/v1"},
        {"librarian_upstream__base_url": "http://127.0.0.1:9/v1"},
        {"LIBRARIAN_UPSTREAM": '{"base_url": "http://127.0.0.1:9/v1"}'},
        {"LIBRARIAN_UPSTREAM__BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_BASE_URL": "https://gateway.example/v1"},
    ],
)
def test_the_key_for_openai_goes_nowhere_else(choose, chosen):
    choose(OPENAI_API_KEY="sk-1", **chosen)

    upstream = Settings().upstream

    assert ("http://127.0.0.1:9/v1", None) == (upstream.base_url, upstream.api_key)


def test_nor_does_it_follow_a_flag_or_a_file(choose, tmp_path):
    choose(OPENAI_API_KEY="sk-1")

    assert Settings(upstream={"base_url": "http://127.0.0.1:9/v1"}).upstream.api_key is None
    (tmp_path / ".env").write_text("LIBRARIAN_UPSTREAM__BASE_URL=http://127.0.0.1:9/v1\n", encoding="utf-8")
    assert Settings().upstream.api_key is None


@pytest.mark.parametrize(
    ("chosen", "base_url"),
    [
        ({}, OPENAI_BASE_URL),
        ({"OPENAI_BASE_URL": "https://gateway.example/v1"}, "https://gateway.example/v1"),
        ({"LIBRARIAN_UPSTREAM__MODEL": "gpt-4.1"}, OPENAI_BASE_URL),
        ({"LIBRARIAN_UPSTREAM__BASE_URL": OPENAI_BASE_URL + "/"}, OPENAI_BASE_URL + "/"),
    ],
)
def test_the_names_of_openai_are_read_together(choose, chosen, base_url):
    choose(OPENAI_API_KEY="sk-1", **chosen)

    upstream = Settings().upstream

    assert (base_url, SecretStr("sk-1")) == (upstream.base_url, upstream.api_key)


@pytest.mark.parametrize("chosen", [{}, {"OPENAI_API_KEY": "sk-2"}])
def test_a_key_of_ours_without_an_address_is_sent_nowhere(choose, chosen):
    choose(LIBRARIAN_UPSTREAM__API_KEY="sk-1", **chosen)

    assert "LIBRARIAN_UPSTREAM__BASE_URL" in refusal()


# -- secrets


def test_secrets_never_appear(choose):
    choose(
        LIBRARIAN_API_KEY="lib_hidden",
        LIBRARIAN_UPSTREAM__BASE_URL="http://127.0.0.1:9/v1",
        LIBRARIAN_UPSTREAM__API_KEY="sk-hidden",
        LIBRARIAN_UPSTREAM__HEADERS='{"x-key": "hidden"}',
    )

    settings = Settings()

    assert "hidden" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_a_refusal_does_not_repeat_what_was_written(choose):
    choose(LIBRARIAN_API_KEY="lib_hidden", LIBRARIAN_UPSTREAM__CONNECT_S="sk-hidden", LIBRARIAN_PORT="hidden")

    assert "hidden" not in refusal()


def test_letta_is_found_by_the_names_its_ecosystem_knows(monkeypatch):
    monkeypatch.setenv("LETTA_BASE_URL", "http://127.0.0.1:8283/")
    monkeypatch.setenv("LETTA_API_KEY", "secret")
    monkeypatch.setenv("LETTA_TIMEOUT", "7")

    letta = Settings().letta

    assert ("http://127.0.0.1:8283", "secret", 7.0) == (letta.address, letta.secret, letta.timeout_s)
    assert "letta" == Settings().backend


def test_lettas_key_is_not_sent_to_another_server(monkeypatch):
    monkeypatch.setenv("LETTA_API_KEY", "secret")
    monkeypatch.setenv("LETTA_BASE_URL", "http://127.0.0.1:8283")
    monkeypatch.setenv("LIBRARIAN_LETTA__BASE_URL", "http://127.0.0.1:9999")

    assert ("http://127.0.0.1:9999", None) == (Settings().letta.address, Settings().letta.secret)


def test_lettas_key_alone_moves_no_agents(monkeypatch):
    monkeypatch.setenv("LETTA_API_KEY", "secret")

    assert "embedded" == Settings().backend


TOWER = """{"sage": {"owner": "acme/ada", "agent_id": "agent-2", "tools": ["dice.py"],
 "tool_rules": [{"type": "exit_loop", "tool_name": "roll"}],
 "mcp_servers": {"near": {"command": "python", "args": ["near.py"], "env": {"KEY": "sekret"}},
 "far": {"url": "https://far.example/mcp", "auth_token": "sekret"}}}}"""


def test_templates_arrive_whole(choose):
    choose(LIBRARIAN_LETTA__TEMPLATES=TOWER)
    (sage,) = Settings().templates

    assert ("sage", "agent-2", "acme", "user:ada") == (
        sage.name,
        sage.agent,
        sage.owner.principal,
        sage.owner.subject,
    )
    assert ("dice.py",) == sage.tools
    assert [
        {"mcp_server_type": "stdio", "command": "python", "args": ["near.py"], "env": {"KEY": "sekret"}},
        {
            "mcp_server_type": "streamable_http",
            "server_url": "https://far.example/mcp",
            "custom_headers": {"Authorization": "sekret"},
        },
    ] == [server.config for server in sage.servers]


def test_the_secrets_of_tools_are_not_shown(choose):
    choose(LIBRARIAN_LETTA__TEMPLATES=TOWER)

    assert "sekret" not in str(Settings().letta)


def test_tools_for_a_template_of_the_catalog_are_named_by_its_agent(choose):
    choose(
        LIBRARIAN_MODELS='{"sage": {"agent_id": "agent-1", "owner": "acme"}}',
        LIBRARIAN_LETTA__TEMPLATES='{"agent-1": {"tools": ["dice.py"]}}',
    )

    assert (Template("agent-1", "agent-1", owner_of(Principal("acme")), ("dice.py",)),) == Settings().templates


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIBRARIAN_MODELS", '{"sage": {"agent_id": "agent-1", "template": "librarian"}}'),
        ("LIBRARIAN_LETTA__TEMPLATES", '{"sage": {"mcp_servers": {"x": {}}}}'),
        ("LIBRARIAN_LETTA__TEMPLATES", '{"sage": {"mcp_servers": {"x": {"command": "a", "url": "http://b"}}}}'),
    ],
)
def test_templates_that_say_two_things_are_refused(choose, name, value):
    choose(**{name: value})

    assert name in refusal()
