"""What the hot endpoints read and write, for /openapi.json: FastAPI does not see them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from librarian.entrypoints.http.openai.wire.chat import ChatRequest
from librarian.entrypoints.http.openai.wire.completions import CompletionRequest
from librarian.entrypoints.http.openai.wire.embeddings import EmbeddingRequest
from librarian.entrypoints.http.openai.wire.responses import ResponseRequest, UnaskedRequest

REQUESTS: Mapping[str, tuple[type[msgspec.Struct], str]] = {
    "/v1/chat/completions": (ChatRequest, "Answer a chat"),
    "/v1/completions": (CompletionRequest, "Carry a text on"),
    "/v1/embeddings": (EmbeddingRequest, "Make vectors of texts"),
    "/v1/responses": (ResponseRequest, "Respond, and keep the response"),
    "/v1/responses/input_tokens": (UnaskedRequest, "Count what a request would come to"),
    "/v1/responses/compact": (ResponseRequest, "Make a history short"),
}
ERROR = {
    "title": "ErrorResponse",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "code": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
        }
    },
}
REFUSAL = {
    "description": "A refusal",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}},
}


def schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        [shape for shape, _ in REQUESTS.values()], ref_template="#/components/schemas/{name}"
    )
    return {**components, "ErrorResponse": ERROR}


def publish(app: FastAPI) -> None:
    """Make `app` describe the hot endpoints, too, and every refusal as it is."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = described()
            schema["paths"] |= {path: {"post": _operation(path)} for path in REQUESTS}
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            components |= schemas()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
                    operation["responses"]["default"] = REFUSAL
        return described()

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _operation(path: str) -> dict[str, Any]:
    shape, summary = REQUESTS[path]
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}}}
    whole = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    return {
        "tags": ["openai"],
        "summary": summary,
        "operationId": path.removeprefix("/v1/").replace("/", "_"),
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "The reply, whole or as server-sent events", "content": whole}},
    }
