"""The client's tools. Source: openai-openapi, ChatCompletionTool, ChatCompletionToolChoiceOption."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from librarian.domain.errors import InvalidRequest
from librarian.domain.tools import NO_TOOLS, ClientTools, ToolChoice, ToolSpec, ToolUse
from librarian.entrypoints.http.openai.wire.decoding import Passed, kept

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


class NamedChoice(msgspec.Struct):
    type: str
    function: ChosenFunction | None = None
    name: Name | None = None


def to_tools(tools: Sequence[Tool] | None, choice: str | NamedChoice | None, *, parallel: bool | None) -> ClientTools:
    """Raises InvalidRequest."""
    if not tools and choice is None:
        return NO_TOOLS
    specs = [_spec(tool, at) for at, tool in enumerate(tools or ())]
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
    raw = None if isinstance(sent, msgspec.UnsetType) else kept(sent, param)
    if raw is None:
        return None
    if not raw.startswith(b"{"):
        raise InvalidRequest(
            f"Invalid type for '{param.replace('.[', '[')}': expected an object.", param=param, code="invalid_type"
        )
    return raw.decode()


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
            f"Unsupported value: 'tool_choice.type' is '{sent.type}'. Only 'function' is supported.",
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
