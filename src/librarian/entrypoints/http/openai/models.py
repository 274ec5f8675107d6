"""GET /v1/models and /v1/models/{id}. Source: openai-openapi, `Model`, `ListModelsResponse`."""

from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from librarian.domain.catalog import Catalog, CatalogEntry

Models = Callable[[], Awaitable[Catalog]]


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "librarian"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


def make_models_router(models: Models, *, since_s: int) -> APIRouter:
    """`since_s`: when names were made that no model's server dates, in seconds since 1970."""
    router = APIRouter(tags=["models"])

    def shown(catalog: Catalog, entry: CatalogEntry) -> Model:
        return Model(id=entry.name, created=catalog.created_s(entry, since_s))

    @router.get("/v1/models", summary="List the models")
    async def list_models() -> ModelList:
        catalog = await models()
        return ModelList(data=[shown(catalog, entry) for entry in catalog.offered()])

    @router.get("/v1/models/{id:path}", summary="Describe a model")
    async def describe_model(id: str) -> Model:  # noqa: A002 - the name is OpenAI's
        catalog = await models()
        return shown(catalog, catalog.find(id))

    return router
