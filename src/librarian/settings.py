"""What an operator may choose: environment, `.env`, or flags. Read once, in `__main__`.

Every variable begins with LIBRARIAN_; nested names are joined by two underscores, as in LIBRARIAN_UPSTREAM__BASE_URL.
"""

import json
import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from librarian.domain.catalog import SHIPPED, CatalogEntry
from librarian.domain.identity import Principal, PrincipalId, owner_of
from librarian.domain.mode import Mode
from librarian.domain.templates import Template, ToolServer

ENV_FILES = ("config", ".env")
"""The original read `config`; a `.env` has the last word of the two, the environment over both."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
ManyTokens = Annotated[int, Field(ge=256)]


def _key(value: SecretStr | None) -> SecretStr | None:
    """White space is no key."""
    key = value.get_secret_value().strip() if value is not None else ""
    return SecretStr(key) if key else None


def _address(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("An address begins with http:// or https://.")
    return value


def _sqlite(value: str | None) -> str | None:
    if value is not None and not value.startswith("sqlite://"):
        raise ValueError("Only SQLite is supported so far: sqlite:///PATH.")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Key = Annotated[SecretStr | None, AfterValidator(_key)]
Address = Annotated[str | None, AfterValidator(_address)]


class Part(BaseModel):
    """A group of settings. A name that is not there stops the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Upstream(Part):
    """The language model behind the embedded engine: any OpenAI-compatible server."""

    base_url: Address = Field(default=None, description="Where it is, with /v1. Empty: a local server is looked for.")
    api_key: Key = Field(default=None, description="Its key. OPENAI_API_KEY is read, too.")
    model: str | None = Field(default=None, description="The model behind `librarian`. Empty: the first one listed.")
    embedding_model: str | None = Field(
        default=None, description="The model that makes vectors for `librarian`. Empty: the first one listed."
    )
    discover: bool = Field(default=True, description="Look for a local server where no address is given.")
    connect_s: Seconds = Field(default=5.0, description="How long to wait for a connection.")
    first_event_s: Seconds = Field(default=300.0, description="How long to wait for the first sign of an answer.")
    idle_s: Seconds = Field(default=60.0, description="How long a model may fall silent in the middle of an answer.")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="More headers to send, as JSON.")

    @property
    def given(self) -> Literal["yes", "no"]:
        """Whether there is one at all, whatever else may be found."""
        return "yes" if self.base_url is not None else "no"

    @property
    def secret(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key is not None else None

    @property
    def plain_headers(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self.headers.items()}


class Pool(Part):
    """How many turns at once."""

    seats: int = Field(default=256, ge=1, description="Turns at once.")
    places: int = Field(default=1024, ge=0, description="Turns that may wait for a seat.")
    patience_s: Seconds = Field(default=30.0, description="How long one may wait.")


class Recall(Part):
    """What is put in view unasked before a turn."""

    budget_s: float = Field(
        default=0.15, ge=0, le=60, description="How long it may take; what is late is left out. 0: off."
    )
    budget_chars: int = Field(default=3600, ge=0, description="How much may be put in view, in characters.")


class Engine(Part):
    """The embedded engine."""

    most_steps: int = Field(default=8, ge=1, le=100, description="Steps an agent may take in a turn.")


class ToolSource(Part):
    """A server of tools that speaks MCP: a command that Letta starts, or an address that it can reach."""

    command: str | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[str, SecretStr] = Field(default_factory=dict)
    url: Address = None
    sse: bool = False
    auth_header: str = "Authorization"
    auth_token: SecretStr | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("A server of tools has a `command` or a `url`.")
        return self

    @property
    def config(self) -> dict[str, object]:
        """As Letta wants it. Source: Letta 0.16.8, `schemas/mcp_server.py`.

        A token goes with the headers: Letta has one name for its header, and leaves it out where there are others.
        """
        if self.command is not None:
            return {"mcp_server_type": "stdio", "command": self.command, "args": self.args, "env": _plain(self.env)}
        headers = _plain(self.headers)
        if self.auth_token is not None:
            headers[self.auth_header] = self.auth_token.get_secret_value()
        kind = "sse" if self.sse else "streamable_http"
        return {"mcp_server_type": kind, "server_url": self.url, "custom_headers": headers or None}


class AgentTemplate(Part):
    """What the agents of a template are made after, and which tools Letta runs for them."""

    agent_id: str | None = None
    owner: str = "local"
    tools: list[Path] = Field(default_factory=list)
    mcp_servers: dict[str, ToolSource] = Field(default_factory=dict)
    tool_rules: list[dict[str, Any]] = Field(default_factory=list)


class Letta(Part):
    """A Letta server: where it is given, agents live there and not in the embedded engine."""

    base_url: Address = Field(default=None, description="Where it is. LETTA_BASE_URL is read, too.")
    api_key: Key = Field(default=None, description="Its key or password. LETTA_API_KEY is read, too.")
    model: str | None = Field(default=None, description="The handle agents speak through. Empty: the first one listed.")
    embedding: str | None = Field(default=None, description="The handle for archives. Empty: the first one listed.")
    templates: dict[str, AgentTemplate] = Field(
        default_factory=dict, description="What agents are made after, and their tools, as JSON."
    )
    strict: bool = Field(default=False, description="Refuse what Letta cannot do, instead of going on without it.")
    timeout_s: Seconds = Field(default=30.0, description="How long to wait for what is no turn.")
    connect_s: Seconds = Field(default=5.0, description="How long to wait for a connection.")
    first_event_s: Seconds = Field(default=300.0, description="How long an agent may think before it speaks.")
    idle_s: Seconds = Field(default=60.0, description="How long an agent may fall silent in the middle of an answer.")

    @property
    def address(self) -> str:
        """Empty where there is none."""
        return (self.base_url or "").rstrip("/")

    @property
    def secret(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key is not None else None


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    """Source: RFC 7518, 3.2."""
    if value is not None and len(value.get_secret_value().encode()) < SHORTEST_SECRET_BYTES:
        raise ValueError(f"A secret of at least {SHORTEST_SECRET_BYTES} bytes, else it can be guessed.")
    return value


SHORTEST_SECRET_BYTES = 32


class Identity(Part):
    """Whom the gateway believes about who is speaking."""

    openwebui_secret: Annotated[Key, AfterValidator(_long_enough)] = Field(
        default=None, description="FORWARD_USER_INFO_HEADER_JWT_SECRET of Open WebUI, which signs for its people."
    )
    assert_subject: bool = Field(
        default=True, description="Clients may say whose memory it is. false: who names somebody gets no memory."
    )
    require_subject: bool = Field(default=False, description="Where nobody is named, there is no memory.")

    @property
    def secret(self) -> str | None:
        return self.openwebui_secret.get_secret_value() if self.openwebui_secret is not None else None


class Http(Part):
    """The face of the house."""

    body_limit_bytes: int = Field(default=20 * 1024 * 1024, ge=1024, description="The largest body; more is a 413.")
    turn_s: Seconds = Field(default=600.0, description="The longest a turn may take, all in all.")
    hold_s: Seconds = Field(default=10.0, description="How long a stream's status is held back for its first event.")
    ping_s: Seconds = Field(default=15.0, description="How often a silent stream says that it is still there.")
    metrics: bool = Field(default=True, description="Serve /metrics.")

    @property
    def metrics_switch(self) -> Literal["on", "off"]:
        return "on" if self.metrics else "off"


class NamedModel(Part):
    """An entry of the catalog."""

    mode: Literal["auto", "worker", "persona"] = "auto"
    model: str | None = Field(default=None, description="The language model it speaks through. Empty: the default one.")
    template: str = Field(
        default="librarian", description="Which agent answers: one for each template, tenant and person."
    )
    agent_id: str | None = Field(default=None, description="A Letta agent that is the template.")
    owner: str = Field(default="local", description="Whom that agent serves itself: a tenant, or TENANT/PERSON.")
    description: str = ""

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        if self.agent_id is not None and "template" in self.model_fields_set:
            raise ValueError("An entry has a `template` or an `agent_id`.")
        return self

    @property
    def made_after(self) -> str:
        """The name of its template."""
        return self.agent_id or self.template


ALIASES = dict.fromkeys(("gpt-4.1", "gpt-4", "gpt-3.5-turbo", "gpt-4-turbo"), "librarian")


class Settings(BaseSettings):
    """All settings. A wrong value stops the start with a sentence."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="LIBRARIAN_",
        env_nested_delimiter="__",
        env_file=ENV_FILES,
        env_ignore_empty=True,
        extra="ignore",
    )

    host: str = Field(
        default="127.0.0.1", description="The address to listen on. Anything but this machine needs a key."
    )
    port: int = Field(default=8000, ge=0, le=65_535, description="The port to listen on.")
    api_key: Key = Field(default=None, description="The key that clients must send. Empty: this machine only.")
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: user_data_path("librarian"), description="Where data lies."
    )
    database_url: Annotated[str | None, AfterValidator(_sqlite)] = Field(
        default=None, description="sqlite:///PATH. Empty: librarian.db in the data folder."
    )
    enable_docs: bool = Field(default=True, description="Serve /docs.")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="What is logged."
    )
    enable_tool_sync: bool = Field(
        default=True, description="Keep the tools of agents in Letta as LIBRARIAN_LETTA__TEMPLATES has them."
    )
    models: dict[str, NamedModel] = Field(default_factory=dict, description="More names, as JSON.")
    aliases: dict[str, str] = Field(default_factory=lambda: dict(ALIASES), description="Other names, as JSON.")
    windows_tokens: dict[str, ManyTokens] = Field(
        default_factory=dict, description="Context windows by model, as JSON; `*` for all others."
    )
    upstream: Upstream = Upstream()
    pool: Pool = Pool()
    recall: Recall = Recall()
    engine: Engine = Engine()
    letta: Letta = Letta()
    identity: Identity = Identity()
    http: Http = Http()

    @model_validator(mode="after")
    def _open_only_at_home(self) -> Self:
        if self.api_key is None and not is_loopback(self.host):
            raise ValueError(
                f"LIBRARIAN_HOST={self.host} lets other machines in, and no key is configured: set LIBRARIAN_API_KEY,"
                " or listen on 127.0.0.1."
            )
        if self.upstream.api_key is not None and self.upstream.base_url is None:
            raise ValueError("LIBRARIAN_UPSTREAM__API_KEY is for which server? Set LIBRARIAN_UPSTREAM__BASE_URL, too.")
        return self

    @property
    def database(self) -> str:
        """A SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'librarian.db'}"

    @property
    def backend(self) -> Literal["letta", "embedded"]:
        """Where agents live."""
        return "letta" if self.letta.base_url is not None else "embedded"

    @property
    def embedding(self) -> Literal["upstream", "nowhere"]:
        """Where vectors are made. Letta makes none for others; a server next to it is used where it is named."""
        return "upstream" if self.backend == "embedded" or self.upstream.base_url is not None else "nowhere"

    @property
    def tools_watched(self) -> bool:
        return self.enable_tool_sync and self.backend == "letta"

    @property
    def recall_dir(self) -> Path:
        return self.data_dir / "recall"

    @property
    def secret(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key is not None else None

    @property
    def catalog(self) -> tuple[CatalogEntry, ...]:
        """The entries that ship, and those that are configured: of two with one name, the latter."""
        entries = {entry.name: entry for entry in SHIPPED}
        for name, model in self.models.items():
            entries[name] = CatalogEntry(name, model.made_after, Mode(model.mode), model.model, model.description)
        return tuple(entries.values())

    @property
    def templates(self) -> tuple[Template, ...]:
        """Those that are more than a name, by `letta.templates` or as an `agent_id` of the catalog."""
        told = {
            model.agent_id: AgentTemplate(agent_id=model.agent_id, owner=model.owner)
            for model in self.models.values()
            if model.agent_id is not None
        }
        for name, template in self.letta.templates.items():
            known = told.get(name)
            told[name] = (
                template if known is None else template.model_copy(update={"agent_id": name, "owner": known.owner})
            )
        return tuple(_template(name, template) for name, template in told.items())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings, _OtherNames(settings_cls)


def read_settings(overrides: Mapping[str, Any]) -> Settings:
    """Raises ValueError, a sentence in each of its `args`, each naming a variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ValueError(*sentences(error)) from None
    except SettingsError as error:  # what it quotes is the field: `... for field "models" from ...`
        raise ValueError(f"LIBRARIAN_{str(error).split(chr(34))[1].upper()}: This is not JSON.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{' or '.join(ENV_FILES)}: This is not text in UTF-8: {error.reason}.") from None


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def environment() -> Mapping[str, str]:
    """What the settings are read from."""
    read: dict[str, str] = {}
    for file in ENV_FILES:
        if Path(file).is_file():
            read |= {name: value for name, value in dotenv_values(file).items() if value is not None}
    return read | os.environ


def sentences(error: ValidationError) -> list[str]:
    """A sentence for each thing that is wrong, naming the variable."""
    said = []
    for problem in error.errors():
        name = _written(tuple(str(part) for part in problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        said.append(f"{name}: {message}" if problem["loc"] else message)
    return said


def unknown_names(env: Mapping[str, str]) -> list[str]:
    """LIBRARIAN_* names that mean nothing here: most often a slip of the pen."""
    own = {f"LIBRARIAN_{name.upper()}" for name in Settings.model_fields}
    groups = tuple(f"LIBRARIAN_{name.upper()}__" for name, field in Settings.model_fields.items() if _nests(field))
    known = own | _ORIGINAL.keys() | _WITHOUT_EFFECT
    ours = (name for name in env if name.upper().startswith("LIBRARIAN_"))
    return sorted(name for name in ours if name.upper() not in known and not name.upper().startswith(groups))


def notices(env: Mapping[str, str]) -> list[str]:
    """A line for each name of the original that is set: what it is called now, or that it does nothing."""
    said = [f"{name} is now called {_new_name(_ORIGINAL[name][0])}." for name in sorted(_ORIGINAL) if env.get(name)]
    return said + [f"{name} has no effect in this version." for name in sorted(_WITHOUT_EFFECT) if env.get(name)]


def _nests(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict or (
        isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    )


def _written(path: tuple[str, ...]) -> str:
    """The variable that was set: the original's, where it was that one."""
    name, env = _new_name(path), environment()
    older = (old for old, (place, _) in _ORIGINAL.items() if place == path[: len(place)] and env.get(old))
    return name if env.get(name) else next(older, name)


def _yes(value: str) -> bool:
    return value.strip().lower() in {"1", "true", "yes", "on"}


def _plain(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secrets.items()}


def _template(name: str, told: AgentTemplate) -> Template:
    principal, _, person = told.owner.partition("/")
    return Template(
        name,
        told.agent_id,
        owner_of(Principal(PrincipalId(principal)), person=person or None),
        tuple(str(path.expanduser()) for path in told.tools),
        tuple(ToolServer(server, source.config) for server, source in told.mcp_servers.items()),
        tuple(told.tool_rules),
    )


def _models(value: str) -> object:
    """`{"name": {"agent_id": ..., "mode": ..., "description": ...}}`; other words of the original say nothing here.

    What is not of that shape is left for the settings to refuse.
    """
    try:
        told = json.loads(value)
    except ValueError:
        return value
    if not isinstance(told, dict):
        return told
    kept = ("agent_id", "mode", "description")
    return {
        name: {key: card[key] for key in kept if key in card} if isinstance(card, dict) else card
        for name, card in told.items()
    }


_ORIGINAL: Mapping[str, tuple[tuple[str, ...], Callable[[str], Any]]] = {
    "LIBRARIAN_DEBUG": (("log_level",), lambda value: "debug" if _yes(value) else "info"),
    "LIBRARIAN_CUSTOM_MODELS": (("models",), _models),
    "LIBRARIAN_ADDITIONAL_MODELS": (("models",), _models),
    "LIBRARIAN_MAX_REQUEST_SIZE": (("http", "body_limit_bytes"), str),
    "LIBRARIAN_REQUEST_TIMEOUT": (("http", "turn_s"), str),
    "LIBRARIAN_MAX_CONCURRENT": (("pool", "seats"), str),
    "LIBRARIAN_QUEUE_TIMEOUT": (("pool", "patience_s"), str),
    "LIBRARIAN_METRICS_ENABLED": (("http", "metrics"), str),
}
_WITHOUT_EFFECT = frozenset(
    {
        "LIBRARIAN_ENABLE_IP_FILTERING",
        "LIBRARIAN_ALLOWED_IPS",
        "LIBRARIAN_BLOCKED_IPS",
        "LIBRARIAN_API_KEY_REQUIRED",
        "LIBRARIAN_RATE_LIMIT_ENABLED",
        "LIBRARIAN_RATE_LIMIT_REQUESTS",
        "LIBRARIAN_RATE_LIMIT_WINDOW",
        "LIBRARIAN_DUPLICATION_THRESHOLD",
        "LIBRARIAN_CLEANUP_INTERVAL",
        "LIBRARIAN_ENABLE_AUTO_DUPLICATION",
        "LIBRARIAN_MAX_CLONES_PER_AGENT",
        "LIBRARIAN_LOG_SECURITY_EVENTS",
        "LIBRARIAN_AUDIT_ENABLED",
    }
)
OPENAI_BASE_URL = "https://api.openai.com/v1"


def _new_name(path: tuple[str, ...]) -> str:
    return "LIBRARIAN_" + "__".join(path).upper()


class _OtherNames(PydanticBaseSettingsSource):
    """The original's names, and those the OpenAI ecosystem knows; ours have the last word."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise KeyError(field, field_name)  # read whole, by `__call__`

    def __call__(self) -> dict[str, Any]:
        env = environment()
        if _yes(env.get("LIBRARIAN_ENABLE_IP_FILTERING", "")):
            raise ValueError(
                "LIBRARIAN_ENABLE_IP_FILTERING: this version cannot filter addresses, and will not pretend to."
            )
        if _yes(env.get("LIBRARIAN_API_KEY_REQUIRED", "")) and not env.get("LIBRARIAN_API_KEY"):
            raise ValueError("LIBRARIAN_API_KEY_REQUIRED asks for a key, and LIBRARIAN_API_KEY is not set.")
        values: dict[str, Any] = {}
        for name, ((*groups, last), convert) in _ORIGINAL.items():
            if env.get(name):
                place = values
                for group in groups:
                    place = place.setdefault(group, {})
                value = convert(env[name])
                known = place.get(last)
                place[last] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
        ours = self.current_state.get("upstream", {})
        if isinstance(ours, dict) and (upstream := _openai(ours, env)):
            values["upstream"] = upstream
        ours = self.current_state.get("letta", {})
        if isinstance(ours, dict) and (letta := _letta(ours, env)):
            values["letta"] = letta
        return values


def _openai(ours: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """A key for one server is not sent to another."""
    key, base_url = env.get("OPENAI_API_KEY"), env.get("OPENAI_BASE_URL")
    theirs: dict[str, str] = {}
    if base_url:
        theirs["base_url"] = base_url
    if key and not ours.get("api_key"):
        theirs |= {"base_url": base_url or OPENAI_BASE_URL, "api_key": key}
    chosen = ours.get("base_url")
    return theirs if not chosen or chosen.rstrip("/") == theirs.get("base_url", "").rstrip("/") else {}


_LETTA = {"LETTA_BASE_URL": "base_url", "LETTA_API_KEY": "api_key", "LETTA_TIMEOUT": "timeout_s"}


def _letta(ours: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """As the Letta ecosystem knows them. A key for one server is not sent to another."""
    theirs = {field: env[name] for name, field in _LETTA.items() if env.get(name)}
    chosen = ours.get("base_url")
    if chosen and chosen.rstrip("/") != theirs.get("base_url", "").rstrip("/"):
        theirs.pop("api_key", None)
    if not chosen and "base_url" not in theirs:
        return {}
    return theirs
