"""The language model the house speaks through: the configured one, else a local server's, else the built-in one."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from librarian.adapters.upstream.discovery import LocalServer
from librarian.application.ports.models import LanguageModel
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import LibrarianError
from librarian.domain.prompt import Prompt
from librarian.domain.turn import StepStream

Find = Callable[[], Awaitable[LocalServer | None]]


class Choice(NamedTuple):
    """`place`: where it is, in a few words for people. `base_url`: where it is, for programs; None: it is built in."""

    model: LanguageModel
    place: str
    base_url: str | None = None


class ChosenModel:
    """Chooses once, at the first call or when asked to; from then on it is the model it chose."""

    def __init__(
        self,
        *,
        base_url: str | None,
        discover: bool,
        find: Find,
        at: Callable[..., LanguageModel],
        offline: Callable[[], LanguageModel],
    ) -> None:
        """`discover`: look for a local server, with `find`. `at` makes the model at a base URL."""
        self._base_url = base_url
        self._discover = discover
        self._find = find
        self._at = at
        self._offline = offline
        self._choice: Choice | None = None

    def itself(self) -> LanguageModel:
        """As what it is to those who only speak through it."""
        return self

    def speak(self, prompt: Prompt) -> StepStream:
        return self._choice.model.speak(prompt) if self._choice is not None else self._chosen_first(prompt)

    async def models(self) -> Sequence[ModelCard]:
        return await (await self.choose()).model.models()

    async def aclose(self) -> None:
        if self._choice is not None:
            await self._choice.model.aclose()

    async def choose(self) -> Choice:
        """Waits for a local server for a third of a second at most."""
        if self._choice is None:
            self._choice = await self._chosen()
        return self._choice

    async def base_url(self) -> str | None:
        """Where the server is that was chosen, if one was."""
        return (await self.choose()).base_url

    async def described(self) -> str:
        """What speaks, for people. Asks it for its models. Raises nothing."""
        choice = await self.choose()
        try:
            cards = await choice.model.models()
        except LibrarianError as error:
            return f"{choice.place}, which does not answer: {error}"
        return f"{choice.place}: {cards[0].name}" if cards else choice.place

    async def _chosen(self) -> Choice:
        if self._base_url is not None:
            return Choice(self._at(base_url=self._base_url), self._base_url, self._base_url)
        found = await self._find() if self._discover else None
        if found is not None:
            return Choice(self._at(base_url=found.base_url), f"{found.name} at {found.base_url}", found.base_url)
        return Choice(self._offline(), "the built-in offline model; LIBRARIAN_UPSTREAM__BASE_URL connects another")

    async def _chosen_first(self, prompt: Prompt) -> StepStream:
        choice = await self.choose()
        async with aclosing(choice.model.speak(prompt)) as events:
            async for event in events:
                yield event
