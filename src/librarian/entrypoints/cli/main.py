"""The command line: `librarian`, and what can be asked of it."""

from importlib.metadata import version
from typing import Annotated

import typer

from librarian.entrypoints.cli import terminal
from librarian.entrypoints.cli.agents import make_agents
from librarian.entrypoints.cli.bootstrap import make_bootstrap
from librarian.entrypoints.cli.chat import make_chat
from librarian.entrypoints.cli.doctor import make_doctor
from librarian.entrypoints.cli.premises import PremisesFactory
from librarian.entrypoints.cli.serve import make_serve


def make_cli(premises_of: PremisesFactory) -> typer.Typer:
    """`librarian`. Ends with 0, with 1 where something failed, with 2 where it was asked or configured wrongly."""
    cli = typer.Typer(name="librarian", add_completion=False, pretty_exceptions_enable=False)

    @cli.callback(invoke_without_command=True)
    def librarian(
        context: typer.Context,
        *,
        show_version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
    ) -> None:
        """Point any OpenAI client at it, and it remembers."""
        terminal.never_fail_to_print()
        if show_version:
            typer.echo(f"librarian {version('librarian-gateway')}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    cli.command("serve")(make_serve(premises_of))
    cli.command("chat")(make_chat(premises_of))
    cli.command("doctor")(make_doctor(premises_of))
    cli.command("bootstrap")(make_bootstrap(premises_of))
    cli.add_typer(make_agents(premises_of), name="agents")
    return cli
