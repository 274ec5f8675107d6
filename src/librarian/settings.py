"""What an operator may choose: environment, `.env`, or flags. Read once, in `__main__`.

Every variable begins with LIBRARIAN_; nested names are joined by two underscores, as in LIBRARIAN_UPSTREAM__BASE_URL.
"""

import json
import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from librarian.domain.catalog import SHIPPED, CatalogEntry
from librarian.domain.mode import Mode

ENV_FILES = ("config", ".env")
"""The original read `config`; a `.env` has the last word of the two, the environment over both."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
ManyTokens = Annotated[int, Field(ge=256)]


class Part(BaseModel):
    """A group of settings. A name that is not there stops the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Upstream(Part):
    """The language model behind the embedded engine: any OpenAI-compatible server."""

    base_url: str | None = Field(
        default=None, description="Where it is, with /v1. Empty: a local server is looked for."
    )
    api_key: SecretStr | None = Field(default=None, description="Its key. OPENAI_API_KEY is read, too.")
    model: str | None = Field(default=None, description="The model behind `librarian`. Empty: the first one listed.")
    discover: bool = Field(default=True, description="Look for a local server where no address is given.")
    connect_s: Seconds = Field(default=5.0, description="How long to wait for a connection.")
    first_event_s: Seconds = Field(default=300.0, description="How long to wait for the first sign of an answer.")
    idle_s: Seconds = Field(default=60.0, description="How long a model may fall silent in the middle of an answer.")
    headers: dict[str, str] = Field(default_factory=dict, description="More headers to send, as JSON.")

    @property
    def secret(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key is not None else None


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
    description: str = ""


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
    api_key: SecretStr | None = Field(
        default=None, description="The key that clients must send. Empty: this machine only."
    )
    data_dir: Path = Field(default_factory=lambda: user_data_path("librarian"), description="Where data lies.")
    database_url: str | None = Field(
        default=None, description="sqlite:///PATH. Empty: librarian.db in the data folder."
    )
    enable_docs: bool = Field(default=True, description="Serve /docs.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is logged.")
    models: dict[str, NamedModel] = Field(default_factory=dict, description="More names, as JSON.")
    aliases: dict[str, str] = Field(default_factory=lambda: dict(ALIASES), description="Other names, as JSON.")
    windows_tokens: dict[str, ManyTokens] = Field(
        default_factory=dict, description="Context windows by model, as JSON; `*` for all others."
    )
    upstream: Upstream = Upstream()
    pool: Pool = Pool()
    recall: Recall = Recall()
    engine: Engine = Engine()
    http: Http = Http()

    @model_validator(mode="after")
    def _open_only_at_home(self) -> Self:
        if self.api_key is None and not is_loopback(self.host):
            raise ValueError(
                f"LIBRARIAN_HOST={self.host} lets other machines in, and no key is configured: set LIBRARIAN_API_KEY,"
                " or listen on 127.0.0.1."
            )
        return self

    @property
    def database(self) -> str:
        """A SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'librarian.db'}"

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
            entries[name] = CatalogEntry(name, model.template, Mode(model.mode), model.model, model.description)
        return tuple(entries.values())

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
        name = "LIBRARIAN_" + "__".join(str(part) for part in problem["loc"]).upper()
        message = problem["msg"].removeprefix("Value error, ")
        said.append(f"{name}: {message}" if problem["loc"] else message)
    return said


def unknown_names(env: Mapping[str, str]) -> list[str]:
    """LIBRARIAN_* names that mean nothing here: most often a slip of the pen."""
    known = {name.upper() for name in Settings.model_fields} | _ORIGINAL.keys() | _WITHOUT_EFFECT
    return sorted(
        name
        for name in env
        if name.upper().startswith("LIBRARIAN_")
        and name.upper() not in known
        and name.upper().removeprefix("LIBRARIAN_").split("__")[0] not in known
    )


def notices(env: Mapping[str, str]) -> list[str]:
    """A line for each name of the original that is set: what it is called now, or that it does nothing."""
    said = [f"{name} is now called {_new_name(_ORIGINAL[name][0])}." for name in sorted(_ORIGINAL) if env.get(name)]
    return said + [f"{name} has no effect in this version." for name in sorted(_WITHOUT_EFFECT) if env.get(name)]


def _yes(value: str) -> bool:
    return value.strip().lower() in {"1", "true", "yes", "on"}


def _models(value: str) -> dict[str, dict[str, str]]:
    """`{"name": {"agent_id": ..., "mode": ..., "description": ...}}`; which Letta agent it was says nothing here."""
    told = json.loads(value)
    if not isinstance(told, dict):
        raise ValueError("LIBRARIAN_CUSTOM_MODELS is not a JSON object.")  # noqa: TRY004 - what pydantic gathers
    return {name: {key: card[key] for key in ("mode", "description") if key in card} for name, card in told.items()}


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
        "LIBRARIAN_ENABLE_TOOL_SYNC",
    }
)
_OPENAI = {"OPENAI_API_KEY": "api_key", "OPENAI_BASE_URL": "base_url"}
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
                place[last] = convert(env[name])
        ours = self.current_state.get("upstream", {})
        if isinstance(ours, dict) and not ours.get("base_url"):  # a key for one server is not sent to another
            upstream = {field: env[name] for name, field in _OPENAI.items() if env.get(name)}
            if "api_key" in upstream:
                upstream.setdefault("base_url", OPENAI_BASE_URL)
            if upstream:
                values["upstream"] = upstream
        return values
