"""The catalog: what is configured, and what the upstream lists, kept fresh."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from librarian.application.ports.clock import Clock
from librarian.application.ports.embedder import Embedder
from librarian.application.ports.models import LanguageModel
from librarian.domain.catalog import DEFAULT_WINDOW_TOKENS, Catalog, CatalogEntry, ModelCard
from librarian.domain.errors import LibrarianError, UnknownModel

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

T = TypeVar("T")
FRESH_S = 60.0
FIRST_LISTING_S = 2.0
"""How long the first request waits for the list; it goes on without."""
NEVER_AGAIN_WITHIN_S = 5.0
"""How often, at most, an unknown name makes the house ask the upstream again."""


class ListModels:
    """Says what may be asked for. One that is called has a list no older than a minute, if the upstream answers."""

    def __init__(
        self,
        *,
        model: LanguageModel,
        embedder: Embedder,
        named: Sequence[CatalogEntry],
        aliases: Mapping[str, str],
        windows_tokens: Mapping[str, int],
        clock: Clock,
    ) -> None:
        """`windows_tokens` overrides what the upstream says of its models, by name; `*` for all others."""
        self._speaking, self._embedding = Source(model), Source(embedder)
        self._named = named
        self._aliases = aliases
        self._windows_tokens = windows_tokens
        self._clock = clock
        self._catalog = Catalog(named, aliases, ())
        self._listed_at_s: float | None = None
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self) -> Catalog:
        await self._refresh(FRESH_S)
        return self._catalog

    async def resolve(self, name: str) -> CatalogEntry:
        """Raises UnknownModel; where the upstream could not say whether it has such a model, what it failed with."""
        return await self._found(name, Catalog.resolve, self._speaking)

    async def embedder(self, name: str) -> str:
        """The model that makes vectors for that name. Raises as `resolve`."""
        return await self._found(name, Catalog.embedder, self._embedding)

    async def _found(self, name: str, find: Callable[[Catalog, str], T], of: "Source") -> T:
        if self._listed_at_s is None:  # how much the default model can hold is not known before
            await asyncio.wait({self._asked()}, timeout=FIRST_LISTING_S)
        try:
            return find(self._catalog, name)
        except UnknownModel:
            await self._refresh(NEVER_AGAIN_WITHIN_S)
            try:
                return find(self._catalog, name)
            except UnknownModel:
                if of.failure is not None:
                    raise of.failure from None
                raise

    def window_tokens(self, entry: CatalogEntry) -> int:
        """How much the model behind an entry can hold at once."""
        model = entry.model or self._catalog.default
        return (
            self._windows_tokens.get(model)
            or self._catalog.window_tokens(model)
            or self._windows_tokens.get("*")
            or DEFAULT_WINDOW_TOKENS
        )

    async def _refresh(self, at_most_s: float) -> None:
        """Returns once the list is no older than that, or could not be had."""
        listed_at_s = self._listed_at_s if self._asking is None else None
        if listed_at_s is not None and self._clock.elapsed_s() - listed_at_s < at_most_s:
            return
        await asyncio.shield(self._asked())

    def _asked(self) -> asyncio.Task[None]:
        """One question at a time, for all who wait for its answer."""
        if self._asking is None or self._asking.get_loop() is not asyncio.get_running_loop():
            self._asking = asyncio.ensure_future(self._ask())
        return self._asking

    async def _ask(self) -> None:
        try:
            await asyncio.gather(self._speaking.ask(), self._embedding.ask())
            self._catalog = Catalog(self._named, self._aliases, self._speaking.cards, self._embedding.cards)
        finally:
            self._listed_at_s = self._clock.elapsed_s()
            self._asking = None


class Source:
    """Whoever lists models, and what was listed last."""

    def __init__(self, lists: LanguageModel | Embedder) -> None:
        self._lists = lists
        self.cards: Sequence[ModelCard] = ()
        self.failure: LibrarianError | None = None

    async def ask(self) -> None:
        try:
            self.cards = await self._lists.models()
            self.failure = None
        except LibrarianError as error:
            self.failure = error
            log.warning("models_not_listed", error=type(error).__name__)
