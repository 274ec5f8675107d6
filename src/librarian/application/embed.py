"""Vectors for texts."""

from dataclasses import dataclass
from typing import Protocol

from librarian.application.engine.counting import Counting
from librarian.application.ports.embedder import Embedder, Texts, Vectors
from librarian.domain.errors import UnknownModel


@dataclass(frozen=True, slots=True)
class Wanted:
    """Vectors of these texts, by the model behind that name; of so many dimensions, or as the model makes them."""

    texts: Texts
    model: str
    dimensions: int | None = None


class Names(Protocol):
    """What the catalog knows of models that make vectors."""

    async def embedder(self, name: str) -> str: ...


class Embed:
    def __init__(self, *, embedder: Embedder, models: Names, counting: Counting) -> None:
        self._embedder = embedder
        self._models = models
        self._counting = counting

    async def __call__(self, wanted: Wanted) -> Vectors:
        """What they came to is always said. Raises UnknownModel, and what the port raises."""
        model = await self._models.embedder(wanted.model)
        try:
            vectors = await self._embedder.embed(wanted.texts, model, wanted.dimensions)
        except UnknownModel:
            raise UnknownModel(wanted.model) from None  # by the name that was asked for
        return vectors if vectors.tokens is not None else vectors._replace(tokens=await self._count(wanted))

    async def _count(self, wanted: Wanted) -> int:
        texts = [text for text in wanted.texts if isinstance(text, str)]
        tokens = sum(len(text) for text in wanted.texts if not isinstance(text, str))
        return tokens + sum(await self._counting.counts(texts, wanted.model))
