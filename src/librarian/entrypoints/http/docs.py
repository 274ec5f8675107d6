"""GET /docs: the API on one page, made here.

FastAPI's own page runs scripts from another server, at an origin that may read everybody's memory.
"""

from collections.abc import Callable, Mapping
from html import escape
from json import dumps
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
STYLE = "body{font:1rem/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}pre{overflow:auto}"


def make_docs_router(describe: Callable[[], Mapping[str, Any]]) -> APIRouter:
    """`describe` gives the OpenAPI document."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page(describe()), headers=HEADERS)

    return router


def _page(described: Mapping[str, Any]) -> str:
    title = escape(described["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f'<h1>{title}</h1><p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(_operation(*entry) for entry in _operations(described))}"
        f"<h2>Schemas</h2>{''.join(_schema(*entry) for entry in described['components']['schemas'].items())}</html>"
    )


def _operations(described: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (path, method.upper(), operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = str(body.get("$ref", "")).rpartition("/")[2]
    reads = f' Reads <a href="#{escape(name)}">{escape(name)}</a>.' if name else ""
    return f"<h3><code>{method} {escape(path)}</code></h3><p>{escape(operation['summary'])}.{reads}</p>"


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    shown = escape(dumps(schema, indent=2))
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{shown}</pre></details>'
