"""Vectors for texts."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from librarian.domain.catalog import ModelCard

Texts = Sequence[str] | Sequence[Sequence[int]]
"""Texts as they are, or each as the tokens of the model that is asked."""


class Vectors(NamedTuple):
    """One for each text, in their order. `tokens`: what they came to; None where the model's server does not say."""

    values: Sequence[Sequence[float]]
    tokens: int | None


class Embedder(Protocol):
    """Something that turns texts into vectors and remembers nothing."""

    async def embed(self, texts: Texts, model: str, dimensions: int | None) -> Vectors:
        """`dimensions` None: as many as the model makes by itself.

        Raises UnknownModel where that is no model that embeds; InvalidRequest (the upstream's own 400, naming no
        secrets), UpstreamRefused, UpstreamBusy, UpstreamTimedOut.
        """
        ...

    async def models(self) -> Sequence[ModelCard]:
        """What can be asked for as far as the server says so, the default first. Empty: nothing embeds here.

        Raises UpstreamRefused, UpstreamBusy, UpstreamTimedOut.
        """
        ...

    async def aclose(self) -> None: ...
