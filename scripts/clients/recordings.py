"""What was heard, as it is kept: without secrets, machines, days, and other people's long texts."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.clients.server import Heard

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "clients" / "recorded"
LONGEST_TEXT = 200
KEPT_TEXT = 120
MOST_TOOLS = 2

DROPPED = {"host", "content-length", "connection", "cookie", "traceparent", "tracestate", "accept-encoding"}
SAID_OTHERWISE = {
    "authorization": "Bearer KEY",
    "x-stainless-os": "OS",
    "x-stainless-arch": "ARCH",
    "x-stainless-runtime-version": "RUNTIME",
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SYSTEM = re.compile(r"(?i)\(+(?:node/|linux|darwin|windows|x11)[^)]*\)+|\blinux[-/]\S+")
_LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d+")
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


def write(client: str, package: str, version: str, heard: Iterable[Heard]) -> Path:
    """Of one client, all it asked, in the order in which it came."""
    scrub = Scrub()
    requests = [
        {
            "scene": one.scene,
            "method": one.method,
            "path": one.path,
            "headers": scrub.headers(one.headers),
            "body": scrub.value(one.body),
        }
        for one in heard
    ]
    file = FOLDER / f"{client}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    recorded = {"client": client, "package": package, "version": version, "requests": requests}
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


class Scrub:
    """One for each client: what is one and the same in it stays so."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def headers(self, sent: Iterable[tuple[str, str]]) -> Mapping[str, str]:
        lower = ((name.lower(), value) for name, value in sent)
        return {
            name: SAID_OTHERWISE.get(name, self._text(value)) for name, value in sorted(lower) if name not in DROPPED
        }

    def value(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, str):
            return shortened(self._text(value))
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {name: self.value(_few(item) if name == "tools" else item) for name, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        text = _UUID.sub(lambda found: self._id(found[0]), text)
        text = _TOKEN.sub("TOKEN", text)
        text = _LOOPBACK.sub("http://127.0.0.1", text)
        return _SYSTEM.sub("(SYSTEM)", text)

    def _id(self, uuid: str) -> str:
        return self._ids.setdefault(uuid, f"00000000-0000-4000-8000-{len(self._ids) + 1:012}")


def _few(tools: Any) -> Any:  # noqa: ANN401
    """Some clients bring dozens."""
    return tools[:MOST_TOOLS] if isinstance(tools, list) else tools


def shortened(text: str) -> str:
    """Enough to be recognised by."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:KEPT_TEXT]}... [{len(text)} characters]"
