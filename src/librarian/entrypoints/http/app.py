"""The HTTP face of the house."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from librarian.application.admit import Admit
from librarian.application.go_on import GoOn
from librarian.application.keep_agents import KeepAgents
from librarian.application.keep_answers import KeepAnswers
from librarian.application.keep_conversations import KeepConversations
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.meter import Meter
from librarian.application.shorten import Shorten
from librarian.domain.errors import InvalidRequest, LibrarianError
from librarian.entrypoints.http.admin.agents import make_agents_router
from librarian.entrypoints.http.admission import Admission
from librarian.entrypoints.http.docs import make_docs_router
from librarian.entrypoints.http.front_door import FrontDoor
from librarian.entrypoints.http.health import DiagnoseHouse, make_health_router
from librarian.entrypoints.http.lifespan import Step, make_lifespan
from librarian.entrypoints.http.metrics import make_metrics_router
from librarian.entrypoints.http.openai.background import Background
from librarian.entrypoints.http.openai.chat import ChatEndpoint, Converse
from librarian.entrypoints.http.openai.completions import CompletionsEndpoint
from librarian.entrypoints.http.openai.embeddings import Embed, EmbeddingsEndpoint
from librarian.entrypoints.http.openai.errors import (
    INVALID,
    Refusal,
    Refused,
    envelope,
    method_not_allowed,
    not_found,
    refusal,
)
from librarian.entrypoints.http.openai.kept import make_conversations_router, make_responses_router
from librarian.entrypoints.http.openai.models import Models, make_models_router
from librarian.entrypoints.http.openai.responses import CompactEndpoint, InputTokensEndpoint, Reading, ResponsesEndpoint
from librarian.entrypoints.http.openai.schema import REQUESTS, publish
from librarian.entrypoints.http.service import make_service_router
from librarian.entrypoints.http.streams import NO_CONTENT, Pace

OTHERS = (
    "/v1/models",
    "/v1/models/{id}",
    "/v1/responses/{id}",
    "/v1/conversations",
    "/librarian/agents",
    "/health",
    "/health/live",
    "/health/ready",
)
API_VERSION = "1"
"""Not the version of the house, which is nothing to tell a stranger."""
NOT_FOUND = 404
NOT_ALLOWED = 405


def make_front_door(
    *,
    converse: Converse,
    embed: Embed,
    models: Models,
    agents: KeepAgents,
    go_on: GoOn,
    shorten: Shorten,
    answers: KeepAnswers,
    conversations: KeepConversations,
    diagnose: DiagnoseHouse,
    admit: Admit,
    render_metrics: Callable[[], bytes] | None,
    opening: Sequence[Step] = (),
    closing: Sequence[Step] = (),
    version: str,
    docs: bool,
    body_limit_bytes: int,
    hold_s: float,
    ping_s: float,
    turn_s: float,
    clock: Clock,
    ids: Ids,
    meter: Meter,
) -> FrontDoor:
    """The whole of the house's HTTP, as one ASGI application. `render_metrics` None: there is no /metrics."""
    pace = Pace(hold_s=hold_s, ping_s=ping_s, turn_s=turn_s)
    background = Background(turn_s)
    read = Reading(go_on, meter)
    app = make_app(
        models=models,
        agents=agents,
        answers=answers,
        background=background,
        conversations=conversations,
        diagnose=diagnose,
        render_metrics=render_metrics,
        opening=opening,
        closing=[*closing, background.aclose],
        version=version,
        docs=docs,
        since_s=int(clock.now_s()),
    )
    return FrontDoor(
        {
            "/v1/chat/completions": ChatEndpoint(converse, pace=pace, clock=clock, meter=meter),
            "/v1/completions": CompletionsEndpoint(converse, pace=pace, clock=clock, meter=meter),
            "/v1/embeddings": EmbeddingsEndpoint(embed),
            "/v1/responses": ResponsesEndpoint(
                converse,
                read=read,
                keep=answers,
                background=background,
                pace=pace,
                clock=clock,
                ids=ids,
                meter=meter,
            ),
            "/v1/responses/input_tokens": InputTokensEndpoint(shorten, read=read),
            "/v1/responses/compact": CompactEndpoint(shorten, read=read, clock=clock, ids=ids),
        },
        app,
        admission=Admission(admit),
        pace=pace,
        body_limit_bytes=body_limit_bytes,
        clock=clock,
        ids=ids,
        meter=meter,
    )


def make_app(
    *,
    models: Models,
    agents: KeepAgents,
    answers: KeepAnswers,
    background: Background,
    conversations: KeepConversations,
    diagnose: DiagnoseHouse,
    render_metrics: Callable[[], bytes] | None,
    opening: Sequence[Step],
    closing: Sequence[Step],
    version: str,
    docs: bool,
    since_s: int,
) -> FastAPI:
    """All that is not hot. It lets everybody in: the front door does not."""
    app = FastAPI(
        title="The Librarian",
        version=API_VERSION,
        lifespan=make_lifespan(opening, closing),
        docs_url=None,
        openapi_url="/openapi.json" if docs else None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: _refuse_route,
            RequestValidationError: _refuse_values,
            LibrarianError: _refuse,
            Exception: _refuse,
        },
    )
    endpoints = [*REQUESTS, *OTHERS, *(["/metrics"] if render_metrics is not None else [])]
    app.include_router(make_service_router(version=version, docs="/docs" if docs else None, endpoints=endpoints))
    app.include_router(make_models_router(models, since_s=since_s))
    app.include_router(make_responses_router(answers, background))
    app.include_router(make_conversations_router(conversations))
    app.include_router(make_agents_router(agents))
    app.include_router(make_health_router(diagnose))
    if render_metrics is not None:
        app.include_router(make_metrics_router(render_metrics))
    publish(app)
    if docs:
        app.include_router(make_docs_router(app.openapi))
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    said = refusal(error)
    if (visit := request.scope.get("visit")) is not None:
        visit.error = type(error).__name__
    headers = {name.decode(): value.decode() for name, value in said.headers()}
    return Response(envelope(error), said.status, headers)


async def _refuse_route(request: Request, error: Exception) -> Response:
    """The router's own refusals; a question for the options is answered with them."""
    if not isinstance(error, HTTPException):
        return await _refuse(request, error)
    method, path = request.method, request.url.path
    if error.status_code == NOT_ALLOWED:
        allowed = ", ".join(sorted({*(error.headers or {}).get("Allow", "").split(", "), "HEAD", "OPTIONS"} - {""}))
        if method == "OPTIONS":
            return Response(status_code=NO_CONTENT, headers={"allow": allowed})
        return await _refuse(request, method_not_allowed(method, path, allowed))
    if error.status_code == NOT_FOUND:
        return await _refuse(request, not_found(method, path))
    return await _refuse(request, Refused(str(error.detail), Refusal(error.status_code, INVALID, None)))


async def _refuse_values(request: Request, error: Exception) -> Response:
    """What FastAPI finds wrong with a path or a query."""
    if not isinstance(error, RequestValidationError):
        return await _refuse(request, error)
    problems = [(".".join(str(part) for part in found["loc"][1:]), found["msg"]) for found in error.errors()]
    param = problems[0][0] if problems else None
    detail = "; ".join(f"Invalid value for '{place}': {said}" for place, said in problems)
    return await _refuse(request, InvalidRequest(detail, param=param, code="invalid_value"))
