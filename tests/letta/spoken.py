"""A model of the house's, such as one that is overheard, speaking to Letta as a server of models does."""

import json
from typing import Any

from aiohttp import web

from librarian.application.ports.models import LanguageModel
from librarian.domain.errors import LibrarianError
from librarian.domain.prompt import Prompt
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import Message, Role, ToolCall
from librarian.domain.turn import Reasoned, StepEnded, StepEvent, StopReason, TextSpoken, ToolCalled
from tests.scripted import wire
from tests.scripted.server import Answer, Asked, Script

FINISH = {StopReason.TOOL_CALLS: "tool_calls", StopReason.LENGTH: "length"}


def spoken_by(model: LanguageModel) -> Answer:
    """Where the model fails, the connection breaks off after what it had said."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        laid: list[Answer] = []
        script = Script(laid.append)
        deltas: list[dict[str, Any]] = []
        finish: str | None = None
        try:
            async for event in model.speak(prompt_of(asked)):
                if isinstance(event, StepEnded):
                    finish = FINISH.get(event.reason, "stop")
                else:
                    deltas.append(_delta(event))
            script.stream(*deltas, finish=finish)
        except LibrarianError:
            script.break_off(after=b"".join(map(wire.chunk, deltas)))
        return await laid[0](request, asked)

    return answer


def prompt_of(asked: Asked) -> Prompt:
    """What the model was shown, in the words of the house."""
    system, *rest = asked.messages
    functions = [tool["function"] for tool in asked.body.get("tools") or ()]
    tools = [ToolSpec(f["name"], f.get("description"), json.dumps(f.get("parameters"))) for f in functions]
    return Prompt(asked.body["model"], text_of(system), tuple(map(_message, rest)), tools=tuple(tools))


def text_of(message: dict[str, Any]) -> str:
    content = message["content"] or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _message(message: dict[str, Any]) -> Message:
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
    return Message(
        Role(message["role"]),
        text_of(message),
        calls=tuple(ToolCall(call_id, called["name"], called["arguments"]) for call_id, called in calls),
        answers=message.get("tool_call_id"),
    )


def _delta(event: StepEvent) -> dict[str, Any]:
    match event:
        case TextSpoken(fragments):
            return {"content": "".join(fragments)}
        case Reasoned(fragments):
            return {"reasoning_content": "".join(fragments)}
        case ToolCalled():
            return {"tool_calls": [wire.call(event.index, event.id, event.name, event.arguments)]}
        case StepEnded():
            return {}
