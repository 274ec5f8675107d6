"""What the command line is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import typer

from librarian.application.bootstrap import Bootstrap
from librarian.application.converse import Ask
from librarian.application.diagnose import Diagnosis
from librarian.application.keep_agents import KeepAgents
from librarian.domain.turn import TurnStream
from librarian.entrypoints.cli import terminal


class UseCases(Protocol):
    """What can be done in a house that is open."""

    @property
    def converse(self) -> Callable[[Ask], TurnStream]: ...

    @property
    def diagnose(self) -> Callable[[], Awaitable[Diagnosis]]: ...

    @property
    def bootstrap(self) -> Bootstrap: ...

    @property
    def agents(self) -> KeepAgents: ...

    async def upstream(self) -> str:
        """The model that speaks, in a few words. Never raises."""
        ...


class Premises(Protocol):
    """The house as a command finds it: configured, and not open yet."""

    @property
    def base_url(self) -> str:
        """Where `serve` listens and a person on this machine can reach it, without `/v1`."""
        ...

    @property
    def api_key(self) -> str | None: ...

    @property
    def data(self) -> str:
        """Where data lies, for people; no secrets."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """A line for each name that is called otherwise now, or has no effect."""
        ...

    @property
    def unknown(self) -> Sequence[str]:
        """LIBRARIAN_* names that mean nothing."""
        ...

    @property
    def configuration(self) -> Mapping[str, str]:
        """Every setting by the name of its variable, as people may see it: secrets are redacted."""
        ...

    def serve(self, ready: Callable[[str, str], None]) -> None:
        """Blocks until stopped. Once it listens, `ready` is told where (a base URL) and which model speaks.

        Raises LibrarianError, and OSError where the address cannot be had.
        """
        ...

    def opened(self) -> AbstractAsyncContextManager[UseCases]:
        """The house in this process, its store made or brought up to date; closed at the end of the block.

        Entering raises LibrarianError or OSError.
        """
        ...


PremisesFactory = Callable[[Mapping[str, object]], Premises]
"""Settings given on the command line -> the premises.

The keys are the names of the settings' fields, nested ones in a mapping of their own. Raises ValueError, a sentence in
each of its `args`, where the settings are wrong.
"""


def enter(premises_of: PremisesFactory, overrides: Mapping[str, object]) -> Premises:
    """Ends the command with status 2 where the settings are wrong."""
    try:
        return premises_of(overrides)
    except ValueError as error:
        for sentence in error.args or (error,):
            terminal.complain(sentence)
        raise typer.Exit(2) from error
