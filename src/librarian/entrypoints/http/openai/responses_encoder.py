"""A turn as a response and as its events; and a response that is kept, told again.

Source: openai-openapi, `Response`, `ResponseStreamEvent`.
"""

from collections.abc import Sequence

import msgspec
import orjson

from librarian.application.ports.clock import Clock
from librarian.domain.conversation import TurnId
from librarian.domain.transcript import Message, ToolCall
from librarian.domain.turn import StopReason, TextSpoken, ToolCalled, TurnBegan, TurnEnded, Usage
from librarian.entrypoints.http.openai.errors import envelope, refusal
from librarian.entrypoints.http.openai.wire import items as wire_items
from librarian.entrypoints.http.openai.wire import responses as wire
from librarian.entrypoints.http.openai.wire.items import Body
from librarian.entrypoints.http.openai.wire.tools import Tool
from librarian.entrypoints.http.openai.writing import quoted

INCOMPLETE = {StopReason.LENGTH: "max_output_tokens", StopReason.CONTENT_FILTER: "content_filter"}


class Response:
    """A turn as a `response`, and as its events. Source: openai-openapi, `Response`, `ResponseStreamEvent`."""

    def __init__(self, request: wire.ResponseRequest, news: Sequence[Message], clock: Clock) -> None:
        """`news`: what it answers."""
        self._clock = clock
        self.news = news
        self._texts: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._items: dict[int, int] = {}
        self._text_at: int | None = None
        self._number = 0
        self.began: TurnBegan | None = None
        self.spoke = False
        self.id = ""
        self.body: Body = echoed(request)

    def queue(self, turn: TurnId, at_s: float) -> None:
        """Its turn is still to come."""
        self._name(turn)
        self.body |= {"created_at": int(at_s), "status": "queued"}

    def begin(self, began: TurnBegan) -> None:
        """Named and dated by the turn: told again, it is the same."""
        self.began = began
        self._name(began.turn)
        self.body |= {"created_at": int(began.at_s), "status": "in_progress"}
        if self.body["conversation"] is not None and began.conversation is not None:
            self.body["conversation"] = {"id": began.conversation}

    def said(self, event: TextSpoken | ToolCalled) -> bytes:
        frames = self._opened()
        return frames + (self._text("".join(event.fragments)) if isinstance(event, TextSpoken) else self._call(event))

    def end(self, ended: TurnEnded) -> bytes:
        """All that is left of the stream; `body` is whole from then on."""
        frames = [self._opened()]
        reason = INCOMPLETE.get(ended.reason)
        status = "incomplete" if reason else "completed"
        if not self._items:
            frames.append(self._open_text())
        output = self._output("completed")
        frames += [self._event(kind, **facts) for at, item in enumerate(output) for kind, facts in closing(at, item)]
        done = int(self._clock.now_s()) if status == "completed" else None
        self.body |= {
            "status": status,
            "completed_at": done,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": output,
            "usage": usage_of(ended.usage),
        }
        frames.append(self._event(f"response.{status}", response=self.body))
        return b"".join(frames)

    def failed(self, error: Exception) -> bytes:
        """The last words of a stream that began."""
        said = orjson.loads(envelope(error))["error"]
        kind = "rate_limit_exceeded" if refusal(error).status == TOO_MANY else "server_error"
        self.body |= {"status": "failed", "error": {"code": kind, "message": said["message"]}}
        told = {"code": said["code"], "message": said["message"], "param": said["param"]}
        return self._event("response.failed", response=self.body) + self._event("error", **told)

    def cancelled(self) -> None:
        self.body |= {"status": "cancelled", "output": []}

    def _name(self, turn: TurnId) -> None:
        digits = turn.removeprefix("turn_")
        self._base = digits + wire_items.REPLY
        self.id = f"resp_{digits}"
        self.body["id"] = self.id

    def _opened(self) -> bytes:
        if self.spoke:
            return b""
        self.spoke = True
        return self._event("response.created", response=self.body) + self._event(
            "response.in_progress", response=self.body
        )

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        opening = self._open_text() if self._text_at is None else b""
        self._texts.append(text)
        delta = (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%d,'
            b'"item_id":"msg_%b0","output_index":%d,"content_index":0,"delta":%b,"logprobs":[]}\n\n'
            % (self._next(), self._base.encode(), self._text_at or 0, quoted(text))
        )
        return opening + delta

    def _open_text(self) -> bytes:
        at = self._text_at = len(self._items)
        self._items[-1] = at
        item = {**wire_items.spoken(f"msg_{self._base}0", "", "in_progress"), "content": []}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        place = {"item_id": item["id"], "output_index": at, "content_index": 0}
        return self._event("response.output_item.added", output_index=at, item=item) + self._event(
            "response.content_part.added", **place, part=part
        )

    def _call(self, event: ToolCalled) -> bytes:
        frames = b""
        known = self._calls.get(event.index)
        if known is None:
            known = self._calls[event.index] = [event.id, event.name]
            at = self._items[event.index] = len(self._items)
            item = wire_items.called(self._call_id(event.index), ToolCall(event.id, event.name, ""), "in_progress")
            frames = self._event("response.output_item.added", output_index=at, item=item)
        if event.arguments:
            known.append(event.arguments)
            place = {"item_id": self._call_id(event.index), "output_index": self._items[event.index]}
            frames += self._event("response.function_call_arguments.delta", **place, delta=event.arguments)
        return frames

    def _call_id(self, index: int) -> str:
        return f"fc_{self._base}{list(self._calls).index(index) + 1:x}"

    def _output(self, status: str) -> list[Body]:
        found: dict[int, Body] = {}
        if self._text_at is not None:
            text = "".join(self._texts)
            item = wire_items.spoken(f"msg_{self._base}0", text, status)
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            found[self._text_at] = {**item, "content": [part]}
        for index, (id_, name, *rest) in self._calls.items():
            call = ToolCall(id_, name, "".join(rest))
            found[self._items[index]] = wire_items.called(self._call_id(index), call, status)
        return [found[at] for at in sorted(found)]

    def _event(self, kind: str, **facts: object) -> bytes:
        return event(kind, self._next(), **facts)

    def _next(self) -> int:
        number = self._number
        self._number += 1
        return number


TOO_MANY = 429


def usage_of(usage: Usage) -> Body:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def echoed(request: wire.ResponseRequest) -> Body:
    """A response before anything is known but what was asked."""
    plain = msgspec.to_builtins
    tools = [_tool(tool) for tool in request.tools or ()]
    wanted = request.text.format if request.text is not None else None
    effort = request.reasoning.effort if request.reasoning is not None else None
    summary = request.reasoning.summary if request.reasoning is not None else None
    return {
        "id": "",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "background": bool(request.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions if isinstance(request.instructions, str) else None,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "conversation": {"id": request.point.conversation} if request.point.conversation else None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": effort, "summary": summary},
        "safety_identifier": request.safety_identifier,
        "service_tier": request.service_tier or "default",
        "store": request.store is not False,
        "temperature": request.temperature if request.temperature is not None else 1.0,
        "text": {
            "format": _shown_format(wanted) if wanted is not None else {"type": "text"},
            "verbosity": request.text.verbosity if request.text and request.text.verbosity else "medium",
        },
        "tool_choice": plain(request.tool_choice) if request.tool_choice is not None else "auto",
        "tools": tools,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p if request.top_p is not None else 1.0,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
        "metadata": dict(request.metadata or {}),
    }


def _tool(tool: Tool) -> Body:
    described = tool.function or tool
    parameters = (
        None if isinstance(described.parameters, msgspec.UnsetType) else orjson.loads(bytes(described.parameters))
    )
    return {
        "type": "function",
        "name": described.name,
        "description": described.description,
        "parameters": parameters,
        "strict": described.strict if described.strict is not None else False,
    }


def _shown_format(wanted: wire.TextFormat) -> Body:
    shown: Body = {"type": wanted.type}
    if wanted.type == "json_schema":
        schema = {} if isinstance(wanted.schema, msgspec.UnsetType) else orjson.loads(bytes(wanted.schema))
        shown |= {"name": wanted.name, "schema": schema, "strict": bool(wanted.strict)}
        shown |= {"description": wanted.description} if wanted.description else {}
    return shown


def unfinished(body: Body) -> Body:
    """A response whose process ended before it did."""
    failure = {"code": "server_error", "message": "The gateway was stopped before the response was complete."}
    return {**body, "status": "failed", "error": failure}


def told_again(body: Body, after: int | None = None) -> list[bytes]:
    """The events of a response that is kept, one by one, from the beginning or beyond number `after`."""
    begun = {**body, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    told: list[tuple[str, Body]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for at, item in enumerate(body["output"]):
        told += [*opening(at, item), *closing(at, item)]
    told.append((f"response.{body['status']}", {"response": body}))
    first = after + 1 if after is not None else 0
    return [event(kind, number, **facts) for number, (kind, facts) in enumerate(told)][first:]


def event(kind: str, number: int, **facts: object) -> bytes:
    told = orjson.dumps({"type": kind, "sequence_number": number, **facts})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), told)


def opening(at: int, item: Body) -> list[tuple[str, Body]]:
    """The events of one item up to where all of it was said."""
    if item["type"] == "function_call":
        begun = {**item, "arguments": "", "status": "in_progress"}
        told = [("response.output_item.added", {"output_index": at, "item": begun})]
        place = {"item_id": item["id"], "output_index": at}
        return [*told, ("response.function_call_arguments.delta", {**place, "delta": item["arguments"]})]
    begun = {**item, "content": [], "status": "in_progress"}
    told = [("response.output_item.added", {"output_index": at, "item": begun})]
    place = {"item_id": item["id"], "output_index": at, "content_index": 0}
    for part in item["content"]:
        told.append(("response.content_part.added", {**place, "part": {**part, "text": ""}}))
        told.append(("response.output_text.delta", {**place, "delta": part["text"], "logprobs": []}))
    return told


def closing(at: int, item: Body) -> list[tuple[str, Body]]:
    """The events that end one item."""
    if item["type"] == "function_call":
        facts = {"item_id": item["id"], "name": item["name"], "output_index": at, "arguments": item["arguments"]}
        told = [("response.function_call_arguments.done", facts)]
    else:
        place = {"item_id": item["id"], "output_index": at, "content_index": 0}
        told = []
        for part in item["content"]:
            told.append(("response.output_text.done", {**place, "text": part["text"], "logprobs": []}))
            told.append(("response.content_part.done", {**place, "part": part}))
    return [*told, ("response.output_item.done", {"output_index": at, "item": item})]
