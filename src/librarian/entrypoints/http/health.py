"""/health, /health/live, /health/ready: whether the process lives, and whether it can serve."""

from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from librarian.application.diagnose import Diagnosis

DiagnoseHouse = Callable[[], Awaitable[Diagnosis]]
UNAVAILABLE = 503


class State(BaseModel):
    status: Literal["ok", "degraded", "unavailable"]


class Part(BaseModel):
    name: str
    well: bool
    needed: bool
    detail: str


class Summary(State):
    parts: list[Part]


def make_health_router(diagnose: DiagnoseHouse) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="How every part of the house is")
    async def health(response: Response) -> Summary:
        diagnosis = await diagnose()
        if not diagnosis.ready:
            response.status_code = UNAVAILABLE
        parts = [
            Part(name=finding.part, well=finding.well, needed=finding.needed, detail=finding.detail)
            for finding in diagnosis.findings
        ]
        return Summary(status=_status(diagnosis), parts=parts)

    @router.get("/health/live", summary="Whether the process lives")
    async def live() -> State:
        return State(status="ok")

    @router.get("/health/ready", summary="Whether the house can serve")
    async def ready(response: Response) -> State:
        diagnosis = await diagnose()
        if not diagnosis.ready:
            response.status_code = UNAVAILABLE
        return State(status=_status(diagnosis))

    return router


def _status(diagnosis: Diagnosis) -> Literal["ok", "degraded", "unavailable"]:
    if diagnosis.well:
        return "ok"
    return "degraded" if diagnosis.ready else "unavailable"
