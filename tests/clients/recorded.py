"""The requests that real clients sent, as `python -m scripts.clients` kept them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from librarian.domain.clients import Said
from librarian.domain.transcript import Message
from librarian.entrypoints.http.openai.wire import chat
from librarian.entrypoints.http.openai.wire.messages import to_message

FOLDER = Path(__file__).parent / "recorded"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request of one client."""

    client: str
    scene: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def raw(self) -> bytes:
        return json.dumps(self.body).encode()

    @property
    def messages(self) -> list[Message]:
        return [to_message(message, at) for at, message in enumerate(chat.decode(self.raw).messages)]

    @property
    def said(self) -> Said:
        return Said(
            headers={name.encode(): value.encode() for name, value in self.headers.items()},
            user=self.body.get("user"),
            safety_identifier=self.body.get("safety_identifier"),
            metadata=self.body.get("metadata") or {},
            prompt_cache_key=self.body.get("prompt_cache_key"),
            messages=self.messages,
            streamed=bool(self.body.get("stream")),
            has_tools=bool(self.body.get("tools")),
        )


def recorded() -> dict[str, list[Recorded]]:
    """By client, in the order in which they came."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))]
    return {
        told["client"]: [
            Recorded(told["client"], one["scene"], one["path"], one["headers"], one["body"]) for one in told["requests"]
        ]
        for told in read
    }


def chats() -> list[Recorded]:
    """All that were sent to chat completions."""
    return [one for requests in recorded().values() for one in requests if one.path == CHAT]
