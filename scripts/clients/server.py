"""A server that answers as OpenAI's would, says little, and keeps what it was asked.

Drivers tell it at `/scene/NAME` what they are about to do. In the scene `retry` it fails once.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

USAGE = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
ANSWER = "Bertrand, of course."
TITLE = '{"title": "A Cat", "tags": ["Pets"], "follow_ups": ["And the dog?"], "queries": ["cat"], "text": "cat"}'


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as it came, and the scene it came in."""

    scene: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: Any


class Recorder:
    """`url` is where it listens, on loopback."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.scene = ""
        self.failed = True
        self.lock = threading.Lock()
        self.numbers = count(1)
        recorder = self

        class Handler(_Handler):
            at = recorder

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def begin(self, scene: str) -> None:
        self.scene = scene
        self.failed = scene != "retry"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    at: Recorder

    def do_GET(self) -> None:
        if self.path.startswith("/scene/"):
            self.at.begin(self.path.removeprefix("/scene/"))
            self._say({})
        else:
            self._keep(None)
            models = [{"id": "librarian", "object": "model", "created": 0, "owned_by": "librarian"}]
            self._say({"object": "list", "data": models})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw) if raw else None
        with self.at.lock:
            self._keep(body)
            fails, self.at.failed = not self.at.failed, True
        if fails:
            self._say({"error": {"message": "Later.", "type": "server_error", "param": None, "code": None}}, status=500)
        elif self.path.endswith("/chat/completions"):
            self._chat(body)
        elif self.path.endswith("/responses"):
            self._response(body)
        else:
            self._say({"error": {"message": "No.", "type": "x", "param": None, "code": None}}, status=404)

    def _keep(self, body: object) -> None:
        self.at.heard.append(Heard(self.at.scene, self.command, self.path, tuple(self.headers.items()), body))

    def _chat(self, body: Mapping[str, Any]) -> None:
        number = next(self.at.numbers)
        message = _message(body, number)
        reason = "tool_calls" if "tool_calls" in message else "stop"
        same = {"id": f"chatcmpl-{number}", "created": 0, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            self._say({**same, "object": "chat.completion", "choices": [choice], "usage": USAGE})
            return
        for at, call in enumerate(message.get("tool_calls", ())):
            call["index"] = at
        chunk = {**same, "object": "chat.completion.chunk"}
        frames = [
            {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        ]
        if (body.get("stream_options") or {}).get("include_usage"):
            frames.append({**chunk, "choices": [], "usage": USAGE})
        self._stream([f"data: {json.dumps(frame)}\n\n" for frame in frames] + ["data: [DONE]\n\n"])

    def _response(self, body: Mapping[str, Any]) -> None:
        number = next(self.at.numbers)
        text = {"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [text]}
        if _wants_a_call(body, json.dumps(body.get("input"))):
            item = {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": f"call_{number}",
                "name": body["tools"][0]["name"],
                "arguments": '{"city": "Paris"}',
                "status": "completed",
            }
        response = {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": body["model"],
            "output": [item],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": {
                "input_tokens": 3,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 6,
            },
        }
        if not body.get("stream"):
            self._say(response)
            return
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        events: list[dict[str, Any]] = [{"type": "response.created", "response": {**response, "output": []}}]
        events.append({"type": "response.output_item.added", "output_index": 0, "item": item})
        if item["type"] == "message":
            events.append({"type": "response.content_part.added", **place, "part": {**text, "text": ""}})
            events.append({"type": "response.output_text.delta", **place, "delta": ANSWER, "logprobs": []})
        events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
        events.append({"type": "response.completed", "response": response})
        self._stream(
            [
                f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': at})}\n\n"
                for at, event in enumerate(events)
            ]
        )

    def _say(self, body: object, *, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, frames: list[str]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write("".join(frames).encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:  # it would speak of every request
        pass


def _message(body: Mapping[str, Any], number: int) -> dict[str, Any]:
    messages = body["messages"]
    if _wants_a_call(body, json.dumps(messages)) and messages[-1]["role"] != "tool":
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Paris"}'}
        calls = [{"id": f"call_{number}", "type": "function", "function": function}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    said = " ".join(_texts(messages[-1]))
    return {"role": "assistant", "content": TITLE if "JSON" in said else ANSWER}


def _wants_a_call(body: Mapping[str, Any], said: str) -> bool:
    return bool(body.get("tools")) and "weather" in said.lower() and "function_call_output" not in said


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        yield part.get("text", "")
