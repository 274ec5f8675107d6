"""The client's tools. Source: openai-openapi, ChatCompletionTool, ChatCompletionToolChoiceOption."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from librarian.domain.errors import InvalidRequest
from librarian.domain.tools import NO_TOOLS, ClientTools, ToolChoice, ToolSpec, ToolUse
from librarian.entrypoints.http.openai.wire.decoding import Passed
from librarian.entrypoints.http.openai.wire.json_schema import schema_of

MOST_TOOLS = 512
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Function(msgspec.Struct):
    name: Name
    description: str | None = None
    parameters: Passed = UNSET
    strict: bool | None = None


class Tool(msgspec.Struct):
    """Chat's form, or flat as in Responses: some clients send that here, too."""

    type: str
    function: Function | None = None
    name: Name | None = None
    description: str | None = None
    parameters: Passed = UNSET
    strict: bool | None = None


class ChosenFunction(msgspec.Struct):
    name: Name


class AllowedTool(msgspec.Struct):
    """In chat's form or flat."""

    type: str
    function: ChosenFunction | None = None
    name: Name | None = None


class AllowedTools(msgspec.Struct):
    mode: str
    tools: list[AllowedTool]


class NamedChoice(msgspec.Struct):
    """A tool by name, or which of them may be called: `mode` and `tools` stand here in Responses."""

    type: str
    function: ChosenFunction | None = None
    name: Name | None = None
    allowed_tools: AllowedTools | None = None
    mode: str | None = None
    tools: list[AllowedTool] | None = None


def to_tools(tools: Sequence[Tool] | None, choice: str | NamedChoice | None, *, parallel: bool | None) -> ClientTools:
    """Tools that are not among the allowed ones are as good as none. Raises InvalidRequest."""
    if not tools and choice is None:
        return NO_TOOLS
    specs = [_spec(tool, at) for at, tool in enumerate(tools or ())]
    if isinstance(choice, NamedChoice) and choice.type == "allowed_tools":
        use, names = _allowed(choice, {spec.name for spec in specs})
        return ClientTools([spec for spec in specs if spec.name in names], ToolChoice(use), parallel)
    return ClientTools(specs, _choice(choice), parallel)


def _spec(tool: Tool, at: int) -> ToolSpec:
    if tool.type != "function":
        raise InvalidRequest(
            f"Unsupported value: 'tools[{at}].type' is '{tool.type}'. Only 'function' is supported.",
            param=f"tools.[{at}].type",
            code="unsupported_value",
        )
    described = tool.function or tool
    if described.name is None:
        raise InvalidRequest(
            f"Missing required parameter: 'tools[{at}].function.name'.",
            param=f"tools.[{at}].function.name",
            code="missing_required_parameter",
        )
    return ToolSpec(
        described.name,
        described.description,
        _parameters(described.parameters, f"tools.[{at}].function.parameters"),
        described.strict,
    )


def _parameters(sent: Passed, param: str) -> str | None:
    raw = schema_of(sent, param)
    return raw.decode() if raw is not None else None


def _allowed(sent: NamedChoice, known: set[str]) -> tuple[ToolUse, set[str]]:
    within = "tool_choice.allowed_tools" if sent.allowed_tools is not None or sent.tools is None else "tool_choice"
    mode, tools = sent.mode, sent.tools
    if sent.allowed_tools is not None:
        mode, tools = sent.allowed_tools.mode, sent.allowed_tools.tools
    if tools is None:
        raise InvalidRequest(
            f"Missing required parameter: '{within}'.", param=within, code="missing_required_parameter"
        )
    if mode not in {ToolUse.AUTO, ToolUse.REQUIRED}:
        raise InvalidRequest(
            f"Invalid value: '{mode}'. Supported values are: 'auto', and 'required'.",
            param=f"{within}.mode",
            code="invalid_value",
        )
    names = {_allowed_name(tool, f"{within}.tools.[{at}]") for at, tool in enumerate(tools)}
    if unknown := sorted(names - known):
        raise InvalidRequest(
            f"`tool_choice` allows an unknown tool: `{unknown[0]}`.", param=f"{within}.tools", code="invalid_value"
        )
    return ToolUse(mode), names


def _allowed_name(tool: AllowedTool, param: str) -> str:
    if tool.type != "function":
        raise InvalidRequest(
            f"Unsupported value: '{tool.type}'. Only 'function' is supported.",
            param=f"{param}.type",
            code="unsupported_value",
        )
    name = tool.function.name if tool.function is not None else tool.name
    if name is None:
        raise InvalidRequest(
            f"Missing required parameter: '{param.replace('.[', '[')}.function.name'.",
            param=f"{param}.function.name",
            code="missing_required_parameter",
        )
    return name


def _choice(sent: str | NamedChoice | None) -> ToolChoice:
    if sent is None:
        return ToolChoice()
    if isinstance(sent, str):
        try:
            return ToolChoice(ToolUse(sent))
        except ValueError:
            raise InvalidRequest(
                f"Invalid value: '{sent}'. Supported values are: 'none', 'auto', and 'required'.",
                param="tool_choice",
                code="invalid_value",
            ) from None
    if sent.type != "function":
        raise InvalidRequest(
            f"Unsupported value: 'tool_choice.type' is '{sent.type}'. Supported are 'function' and 'allowed_tools'.",
            param="tool_choice.type",
            code="unsupported_value",
        )
    name = sent.function.name if sent.function is not None else sent.name
    if name is None:
        raise InvalidRequest(
            "Missing required parameter: 'tool_choice.function.name'.",
            param="tool_choice.function.name",
            code="missing_required_parameter",
        )
    return ToolChoice(ToolUse.AUTO, name)
