"""What Letta is told of a turn. Source: Letta 0.16.8, `schemas/letta_request.py`, and what it does with it."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from librarian.adapters.letta import images
from librarian.domain.errors import InvalidRequest
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import Image, Message, Part, Role, ToolCall

Body = dict[str, object]
SILENCE = " "
"""What is said where nothing is: Letta takes no empty content."""

PREFACE = "For the record: tools that the assistant called at this point, and what they returned."
_FRAMES = re.compile(r"<(?=\s*/?\s*(?:tool_record|call|arguments|result)\b)", re.IGNORECASE)


class Result(NamedTuple):
    """What a call returned. A `str` among the parts is text."""

    call_id: str
    parts: Sequence[Part]
    succeeded: bool = True


def turn(
    messages: Sequence[Body],
    *,
    system: str | None = None,
    tools: Sequence[ToolSpec] = (),
    most_steps: int | None = None,
    otid: str | None = None,
) -> Body:
    """The body of a request. `system` stands in for all that Letta would tell the model by itself, memory included.

    `otid` is a mark on the last message, by which it is found again. System and tools hold for this request only.
    """
    sent = list(messages)
    if otid is not None:
        sent[-1] = sent[-1] | {"otid": otid}
    body: Body = {"messages": sent}
    if system is not None:
        body["override_system"] = system
    if tools:
        body["client_tools"] = [_tool(spec) for spec in tools]
    if most_steps is not None:
        body["max_steps"] = most_steps
    return body


def said(messages: Sequence[Message], at: int = 0) -> list[Body]:
    """Messages of a transcript, or its news. `at`: where the first of them stands in what the client sent.

    Letta takes no calls and no results of tools that it did not see itself: those are told as a record, in the place
    of a user's message, so that the model does not learn to write its calls as text. Raises InvalidRequest.
    """
    return list(_said(messages, at))


def returned(results: Sequence[Result]) -> Body:
    """The results of all pending calls at once, in the order in which the model is to read them."""
    return {
        "type": "tool_return",
        "tool_returns": [
            {
                "type": "tool",
                "tool_call_id": result.call_id,
                # as parts: a string would reach the model in an envelope of Letta's
                "tool_return": _content(result.parts, "messages"),
                "status": "success" if result.succeeded else "error",
            }
            for result in results
        ],
    }


def result_of(message: Message) -> Result:
    """Of a message of the role TOOL."""
    return Result(message.answers or "", message.parts or (message.text,))


def denied(call_ids: Sequence[str], reason: str) -> Body:
    """All pending calls refused, so that the thread takes messages again. The model reads the reason."""
    return {
        "type": "approval",
        "approvals": [
            {"type": "approval", "tool_call_id": call_id, "approve": False, "reason": reason} for call_id in call_ids
        ],
    }


def _said(messages: Sequence[Message], at: int) -> Iterator[Body]:
    calls: dict[str, ToolCall] = {}
    results: list[tuple[ToolCall, Sequence[Part]]] = []
    record_at = at
    for position, message in enumerate(messages, at):
        if message.role is Role.TOOL:
            call = calls.get(message.answers or "") or ToolCall(message.answers or "", "tool", "")
            results.append((call, message.parts or (message.text,)))
            continue
        if results:
            yield _record(results, f"messages.[{record_at}]")
            results = []
        calls = {call.id: call for call in message.calls}
        record_at = position + 1
        if message.text or message.parts or not message.calls:
            yield _message(message, f"messages.[{position}]")
    if results:
        yield _record(results, f"messages.[{record_at}]")


def _message(message: Message, param: str) -> Body:
    body: Body = {"role": message.role.value, "content": message.text or SILENCE}
    if message.parts:
        if message.role is not Role.USER and any(isinstance(part, Image) for part in message.parts):
            raise InvalidRequest(
                "Pictures are taken from the user only.", param=f"{param}.content", code="unsupported_value"
            )
        body["content"] = _content(message.parts, param)
    if message.name is not None and message.role is Role.USER:
        body["name"] = message.name
    return body


def _record(results: Sequence[tuple[ToolCall, Sequence[Part]]], param: str) -> Body:
    """What was shown is quoted; it cannot close the frame it stands in."""
    lines = ["<tool_record>", PREFACE]
    shown: list[Part] = []
    for call, parts in results:
        lines.append(f'<call name="{call.name}">')
        if call.arguments:
            lines.append(f"<arguments>{_quoted(call.arguments)}</arguments>")
        text = "".join(part for part in parts if isinstance(part, str))
        lines += ["<result>", _quoted(text), "</result>", "</call>"]
        shown += [part for part in parts if not isinstance(part, str)]
    text = "\n".join([*lines, "</tool_record>"])
    return {"role": Role.USER.value, "content": _content([text, *shown], param) if shown else text}


def _quoted(text: str) -> str:
    return _FRAMES.sub("&lt;", text)


def _content(parts: Sequence[Part], param: str) -> list[Body]:
    content = [_part(part, f"{param}.content.[{position}]") for position, part in enumerate(parts) if part != ""]
    return content or [{"type": "text", "text": SILENCE}]


def _part(part: Part, param: str) -> Body:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Image):
        return images.from_domain(part, f"{param}.image_url")
    raise InvalidRequest(
        f"Content of the type '{part.kind}' is not taken by agents that live in Letta.",
        param=param,
        code="unsupported_value",
    )


def _tool(spec: ToolSpec) -> Body:
    """Some of Letta's providers stumble over parameters without `properties`, some models over a null description."""
    tool: Body = {"name": spec.name, "description": spec.description or ""}
    if spec.parameters is not None:
        parameters = orjson.loads(spec.parameters)
        if isinstance(parameters, dict):
            tool["parameters"] = parameters if "properties" in parameters else {**parameters, "properties": {}}
    return tool
