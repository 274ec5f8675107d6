"""GET /metrics, for Prometheus."""

from collections.abc import Callable

from fastapi import APIRouter, Response

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_metrics_router(render: Callable[[], bytes]) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/metrics", summary="What was counted", response_class=Response)
    async def metrics() -> Response:
        return Response(render(), headers={"content-type": CONTENT_TYPE})

    return router
