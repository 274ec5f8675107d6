"""`librarian chat`: talk with the librarian."""

import asyncio
import io
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Annotated

import httpx
import typer
from rich.text import Text

from librarian.domain.catalog import TEMPLATE
from librarian.domain.errors import LibrarianError
from librarian.domain.transcript import Message, assistant, user
from librarian.entrypoints.cli import terminal
from librarian.entrypoints.cli.correspondents import (
    NO_PROXY,
    PATIENCE,
    Correspondent,
    InThisProcess,
    NoAnswer,
    Server,
)
from librarian.entrypoints.cli.premises import Premises, PremisesFactory, enter

with suppress(ImportError):  # where there is one, `input` lets a line be edited and called back
    import readline  # noqa: F401

COMMANDS = "/new starts another chat, /quit or Ctrl-D ends; Ctrl-C stops an answer."


def make_chat(premises_of: PremisesFactory) -> Callable[..., None]:
    def chat(
        model: Annotated[str, typer.Option(metavar="NAME", help="Which name to ask for.")] = TEMPLATE,
        url: Annotated[
            str | None, typer.Option(metavar="URL", help="The server to talk to. Else the one that is configured.")
        ] = None,
        key: Annotated[
            str | None, typer.Option(metavar="KEY", help="Its key. Else the one that is configured.")
        ] = None,
    ) -> None:
        """Talk with the librarian: with the server if one runs, else in this process."""
        premises = enter(premises_of, {})
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        with asyncio.Runner() as runner:
            chatting = AsyncExitStack()
            try:
                correspondent = runner.run(chatting.enter_async_context(_correspondent(premises, model, url, key)))
                terminal.errors().print(f"Talking with {terminal.one_line(correspondent.where)}. {COMMANDS}")
                Chat(runner, correspondent).go_on_while(_read)
            except (NoAnswer, LibrarianError, OSError) as error:
                terminal.give_up(error)
            except KeyboardInterrupt:
                raise typer.Exit(130) from None
            finally:
                runner.run(chatting.aclose())

    return chat


class Chat:
    """The client's side of a conversation: the transcript is kept here, and sent whole."""

    def __init__(self, runner: asyncio.Runner, correspondent: Correspondent) -> None:
        self._runner = runner
        self._correspondent = correspondent
        self._transcript: list[Message] = []

    def go_on_while(self, read: Callable[[], str | None]) -> None:
        """`read` returns what the person says; None when they are done."""
        while (line := read()) is not None:
            match line.strip():
                case "":
                    continue
                case "/quit" | "/exit":
                    return
                case "/new":
                    self._transcript.clear()
                    terminal.errors().print("Another chat.")
                case "/help":
                    terminal.errors().print(COMMANDS)
                case said:
                    self._say(said)

    def _say(self, said: str) -> None:
        """A turn that failed is not part of the chat: it can be said again. Of one that was stopped, what was heard."""
        heard: list[str] = []
        try:
            self._runner.run(_print_answer(self._correspondent, [*self._transcript, user(said)], heard))
        except KeyboardInterrupt:
            terminal.errors().print(Text("stopped", style="dim"))
        except (NoAnswer, LibrarianError) as error:
            terminal.complain(error)
            return
        if heard:
            self._transcript += [user(said), assistant("".join(heard))]


async def _print_answer(correspondent: Correspondent, messages: Sequence[Message], heard: list[str]) -> None:
    try:
        async with aclosing(correspondent.answer(messages)) as pieces:
            async for piece in pieces:
                heard.append(piece)
                typer.echo(terminal.printable(piece), nl=False)
    finally:
        if heard:
            typer.echo()
    if not heard:
        raise NoAnswer("Nothing was said.")


@asynccontextmanager
async def _correspondent(
    premises: Premises, model: str, url: str | None, key: str | None
) -> AsyncGenerator[Correspondent, None]:
    """Raises NoAnswer, and what opening the house raises."""
    async with httpx.AsyncClient(timeout=PATIENCE, mounts=NO_PROXY) as client:
        if url is not None:
            asked_for = Server(client, url, key, model)  # the configured key is for the configured address alone
            await asked_for.greet()
            yield asked_for
            return
        configured = Server(client, premises.base_url, key or premises.api_key, model)
        if await configured.is_a_librarian():
            await configured.greet()
            yield configured
            return
    async with premises.opened() as house:
        yield InThisProcess(house.converse, model, f"{await house.upstream()}, in this process")


def _read() -> str | None:
    """A line as the person typed it, or as it comes from a file."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    while True:
        try:
            return input("> ")
        except EOFError:
            terminal.errors().print()
            return None
        except KeyboardInterrupt:  # the line that was begun is thrown away, the chat goes on
            terminal.errors().print()
