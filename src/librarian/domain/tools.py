"""Tools a model may call, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from librarian.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function as a model is told of it. `parameters` is a JSON Schema, as JSON text; None if it takes none."""

    name: str
    description: str | None = None
    parameters: str | None = None
    strict: bool | None = None


class ToolUse(StrEnum):
    """Whether the model may, may not or must call."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The client's wish. `name`: this tool and no other."""

    use: ToolUse = ToolUse.AUTO
    name: str | None = None

    @property
    def demands(self) -> bool:
        """Whether there must be a call."""
        return self.use is ToolUse.REQUIRED or self.name is not None


@dataclass(frozen=True, slots=True)
class ClientTools:
    """What the client brought: run by the client, so the turn ends in TOOL_CALLS when one is called."""

    specs: Sequence[ToolSpec] = ()
    choice: ToolChoice = ToolChoice()
    parallel: bool | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset(spec.name for spec in self.specs)

    def check(self) -> None:
        """Raises InvalidRequest for a choice that names no tool, or a must with nothing to call."""
        names = [spec.name for spec in self.specs]
        if len(set(names)) != len(names):
            raise InvalidRequest("Two tools have the same name.", param="tools")
        if self.choice.use is ToolUse.REQUIRED and not names:
            raise InvalidRequest("`tool_choice` asks for a call, but there are no tools.", param="tool_choice")
        if self.choice.name is not None and self.choice.name not in names:
            raise InvalidRequest(f"`tool_choice` names an unknown tool: `{self.choice.name}`.", param="tool_choice")


NO_TOOLS = ClientTools()
