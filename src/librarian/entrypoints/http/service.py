"""GET /: what this service is, and where its doors are."""

from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel


class Service(BaseModel):
    """`version` is told to those who were let in."""

    service: Literal["librarian"] = "librarian"
    name: str = "The Librarian"
    description: str = "A stateful, OpenAI-compatible gateway: point any OpenAI client at it, and it remembers."
    version: str | None
    docs: str | None
    endpoints: list[str]


def make_service_router(*, version: str, docs: str | None, endpoints: Sequence[str]) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/", summary="What this service is")
    async def service(request: Request) -> Service:
        stranger = request.scope.get("caller") is None
        return Service(version=None if stranger else version, docs=docs, endpoints=list(endpoints))

    return router
