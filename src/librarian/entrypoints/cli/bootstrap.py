"""`librarian bootstrap`: what the house needs before its first turn."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from librarian.application.ports.administration import Report
from librarian.domain.errors import LibrarianError
from librarian.entrypoints.cli import terminal
from librarian.entrypoints.cli.premises import Premises, PremisesFactory, enter


def make_bootstrap(premises_of: PremisesFactory) -> Callable[..., None]:
    def bootstrap(
        *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False
    ) -> None:
        """Make the librarian's agent and its tools, as far as they are missing. Safe to run again."""
        try:
            report = asyncio.run(_run(enter(premises_of, {}), dry_run=dry_run))
        except (LibrarianError, OSError) as error:
            terminal.give_up(error)
        for change in report.changes:
            typer.echo(f"{'would be done' if dry_run else 'done'}: {terminal.one_line(change)}")
        for trouble in report.troubles:
            terminal.complain(trouble)
        if report.troubles:
            raise typer.Exit(1)
        if not report.changes:
            typer.echo("Everything is there. Nothing was changed.")

    return bootstrap


async def _run(premises: Premises, *, dry_run: bool) -> Report:
    async with premises.opened() as house:
        return await house.bootstrap(dry_run=dry_run)
