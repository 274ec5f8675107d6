"""`librarian serve`: the gateway, until it is stopped."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from librarian.domain.errors import LibrarianError
from librarian.entrypoints.cli import terminal
from librarian.entrypoints.cli.premises import Premises, PremisesFactory, enter


def make_serve(premises_of: PremisesFactory) -> Callable[..., None]:
    def serve(
        *,
        host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
        port: Annotated[int | None, typer.Option(help="The port to listen on; 0: any that is free.")] = None,
        data_dir: Annotated[Path | None, typer.Option(help="Where data lies.")] = None,
        upstream: Annotated[
            str | None, typer.Option(metavar="URL", help="The language model's server, with /v1.")
        ] = None,
        model: Annotated[
            str | None, typer.Option(metavar="NAME", help="The language model behind `librarian`.")
        ] = None,
        log_level: Annotated[
            str | None, typer.Option(metavar="debug|info|warning|error", help="What is logged.")
        ] = None,
    ) -> None:
        """Start the gateway."""
        premises = enter(
            premises_of,
            given(
                host=host,
                port=port,
                data_dir=data_dir,
                log_level=log_level,
                upstream=given(base_url=upstream, model=model),
            ),
        )
        try:
            premises.serve(lambda base_url, speaking: _greet(premises, base_url, speaking))
        except (LibrarianError, OSError) as error:
            terminal.give_up(error)
        except KeyboardInterrupt:  # how it is usually stopped
            raise typer.Exit from None

    return serve


def given(**settings: object) -> Mapping[str, object]:
    """Those that were given; the others keep the value they have elsewhere."""
    return {name: value for name, value in settings.items() if value not in (None, {})}


def _greet(premises: Premises, base_url: str, speaking: str) -> None:
    console = terminal.errors()
    terminal.show(
        console,
        f"The Librarian {version('librarian-gateway')}",
        [
            ("listens", f"{base_url} ({'with its key' if premises.api_key else 'open to this machine only'})"),
            ("model", speaking),
            ("data", premises.data),
            *(("note", notice) for notice in premises.notices),
            *(("note", f"{name} means nothing here.") for name in premises.unknown),
        ],
    )
    console.print(Text("\nA first request", style="bold"))
    console.print(first_requests(base_url, with_key=premises.api_key is not None))


def first_requests(base_url: str, *, with_key: bool) -> str:
    """For a shell and for Python, to be copied. The key is named and never shown: this is printed into logs."""
    lines = [
        f"curl {base_url}/v1/chat/completions \\",
        '  -H "Authorization: Bearer $LIBRARIAN_API_KEY" \\' if with_key else "",
        '  -H "Content-Type: application/json" \\',
        """  -d '{"model": "librarian", "messages": [{"role": "user", "content": "Hello! My name is Ada."}]}'""",
        "# or, in Python",
        "import os" if with_key else "",
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{base_url}/v1", api_key={_KEY if with_key else _NO_KEY})',
        'messages = [{"role": "user", "content": "What is my name?"}]',
        'print(client.chat.completions.create(model="librarian", messages=messages).choices[0].message.content)',
    ]
    return "\n".join(line for line in lines if line)


_KEY = 'os.environ["LIBRARIAN_API_KEY"]'
_NO_KEY = '"none needed"'
