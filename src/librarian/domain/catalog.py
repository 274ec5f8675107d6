"""Names that clients may ask for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from librarian.domain.errors import UnknownModel
from librarian.domain.mode import Mode

TEMPLATE = "librarian"
DEFAULT_WINDOW_TOKENS = 128_000


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A language model as its server lists it. None where the server does not say."""

    name: str
    window_tokens: int | None = None
    created_s: int | None = None


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """Who answers to a name, in what manner, through which language model (None: the default one)."""

    name: str
    template: str = TEMPLATE
    mode: Mode = Mode.AUTO
    model: str | None = None
    description: str = ""


SHIPPED = (
    CatalogEntry("librarian", mode=Mode.AUTO, description="Decides by itself between the two manners."),
    CatalogEntry("librarian-worker", mode=Mode.WORKER, description="Literal, with nothing around it."),
    CatalogEntry("librarian-persona", mode=Mode.PERSONA, description="Expressive, in its own voice."),
)


class Catalog:
    """Configured names first, then what the upstream lists, then the aliases."""

    def __init__(
        self,
        named: Iterable[CatalogEntry],
        aliases: Mapping[str, str],
        listed: Iterable[ModelCard],
        embedders: Iterable[ModelCard] = (),
    ) -> None:
        """`aliases`: other names for named entries. `embedders`: models that make vectors, the default first."""
        self._embedders = {card.name: card for card in embedders}
        entries = {entry.name: entry for entry in named}
        self._cards = {card.name: card for card in listed}
        for card in self._cards.values():
            entries.setdefault(card.name, CatalogEntry(card.name, model=card.name))
        for alias, name in aliases.items():
            if name in entries:
                entry = entries[name]
                entries.setdefault(
                    alias, CatalogEntry(alias, entry.template, entry.mode, entry.model, entry.description)
                )
        self._entries = entries

    def resolve(self, name: str) -> CatalogEntry:
        """Raises UnknownModel."""
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownModel(name) from None

    def embedder(self, name: str) -> str:
        """The model that makes vectors for whoever asks for a name. A name of the house stands for the default one.

        Any model that the upstream lists may be one, whatever it is called. Raises UnknownModel.
        """
        if name in self._embedders or name in self._cards:
            return name
        model = self.resolve(name).model
        if model in self._embedders:
            return model
        try:
            return next(iter(self._embedders))
        except StopIteration:
            raise UnknownModel(name) from None

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def entries(self) -> Sequence[CatalogEntry]:
        return tuple(self._entries.values())

    def offered(self) -> Sequence[CatalogEntry]:
        """All that may be asked for, by whatever endpoint."""
        vectors = (CatalogEntry(name, model=name) for name in self._embedders if name not in self._entries)
        return (*self._entries.values(), *vectors)

    def find(self, name: str) -> CatalogEntry:
        """Among all that is offered. Raises UnknownModel."""
        return self._entries.get(name) or (
            CatalogEntry(name, model=name) if name in self._embedders else self.resolve(name)
        )

    def created_s(self, entry: CatalogEntry, otherwise_s: int) -> int:
        """When the model behind an entry was made, in seconds since 1970, where its server says."""
        model = entry.model or ""
        card = self._cards.get(model) or self._embedders.get(model)
        return card.created_s if card is not None and card.created_s else otherwise_s

    @property
    def default(self) -> str:
        """The language model behind entries that name none; empty where none is listed."""
        return next(iter(self._cards), "")

    def window_tokens(self, model: str) -> int | None:
        card = self._cards.get(model)
        return card.window_tokens if card is not None else None
