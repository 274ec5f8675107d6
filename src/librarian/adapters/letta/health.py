"""Whether the Letta server answers, and is one that the house can work with."""

from collections.abc import Sequence
from dataclasses import dataclass

from librarian.adapters.letta.client import LettaClient
from librarian.application.ports.clock import Clock
from librarian.application.ports.health import Finding
from librarian.domain.catalog import CatalogEntry
from librarian.domain.errors import LibrarianError, UpstreamRefused

NEEDED = (0, 16, 7)
"""The first release that forks conversations and takes the system message with each request."""
TOO_OLD = (
    "{} is Letta {}, which cannot branch conversations nor take a system message with each request: {} or later is"
    " needed."
)
SKEW_S = 60.0
NAMED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is there, in a few words; what is in the way of turns; and what is only not as it should be."""

    seen: str
    troubles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class LettaHealth:
    def __init__(
        self,
        *,
        client: LettaClient,
        base_url: str,
        clock: Clock,
        model: str | None = None,
        embedding: str | None = None,
        catalog: Sequence[CatalogEntry] = (),
    ) -> None:
        """`model`, `embedding` and `catalog`: the handles that are configured."""
        self._client = client
        self._base_url = base_url
        self._clock = clock
        self._handles = dict.fromkeys(handle for handle in (model, *(entry.model for entry in catalog)) if handle)
        self._embedding = embedding

    async def check(self) -> Finding:
        found = await self.inspect()
        if found.troubles:
            return Finding("letta", well=False, detail=" ".join([*found.troubles, *found.notes]))
        if found.notes:
            return Finding("letta", well=False, detail=" ".join(found.notes), needed=False)
        return Finding("letta", well=True, detail=found.seen)

    async def inspect(self) -> Inspection:
        """Never raises. The models are asked for, too: /v1/health/ answers without a key."""
        try:
            version = (await self._client.health()).version
            if _parsed(version) < NEEDED:
                return Inspection("", (TOO_OLD.format(self._base_url, version, _written(NEEDED)),))
            models = [model.handle for model in await self._client.models()]
            embeddings = [model.handle for model in await self._client.embedding_models()]
            skew = await self._skew()
        except UpstreamRefused:
            why = "refuses the key: is LETTA_API_KEY (or LIBRARIAN_LETTA__API_KEY) the server's?"
            return Inspection("", (f"{self._base_url} {why}",))
        except LibrarianError as error:
            return Inspection("", (f"{self._base_url}: {error}",))
        models = [model for model in models if model not in embeddings]
        troubles = [] if models else [f"{self._base_url} lists no language model."]
        troubles += [
            f"The model `{handle}` is not on the Letta server. There are: {_listed(models)}."
            for handle in self._handles
            if models and handle not in models
        ]
        notes = skew
        if self._embedding is not None and self._embedding not in embeddings:
            there = _listed(embeddings) or "none"
            notes.append(f"The embedding model `{self._embedding}` is not on the Letta server. There are: {there}.")
        return Inspection(
            f"{version} at {self._base_url}: {len(models)} models, {len(embeddings)} for embeddings",
            tuple(troubles),
            tuple(notes),
        )

    async def _skew(self) -> list[str]:
        theirs_s = await self._client.now_s()
        ahead_s = 0.0 if theirs_s is None else theirs_s - self._clock.now_s()
        if abs(ahead_s) < SKEW_S:
            return []
        which = "ahead of" if ahead_s > 0 else "behind"
        return [f"The Letta server's clock is {abs(ahead_s):.0f} s {which} this machine's: memories are misdated."]


def _listed(handles: Sequence[str]) -> str:
    more = f" and {len(handles) - NAMED_AT_MOST} more" if len(handles) > NAMED_AT_MOST else ""
    return ", ".join(handles[:NAMED_AT_MOST]) + more


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _written(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
