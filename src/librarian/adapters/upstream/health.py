"""Whether the language model's server answers. It is asked for its list; nothing is said to a model."""

from librarian.adapters.upstream.chosen import ChosenModel
from librarian.application.ports.health import Finding
from librarian.domain.errors import LibrarianError


class UpstreamHealth:
    def __init__(self, *, model: ChosenModel) -> None:
        self._model = model

    async def check(self) -> Finding:
        choice = await self._model.choose()
        try:
            cards = await choice.model.models()
        except LibrarianError as error:
            return Finding("upstream", well=False, detail=f"{choice.place}: {error}")
        return Finding("upstream", well=True, detail=f"{choice.place} ({len(cards)} models)")
