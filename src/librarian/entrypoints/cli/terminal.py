"""Words for a person at a terminal, or for a file in its place."""

import io
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Controls but tab and line feed, halves of surrogate pairs, and what turns the direction of writing for good.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STYLES = {"ok": "green", "note": "yellow", "trouble": "bold red"}


def printable(text: str) -> str:
    """The text with all that a terminal would obey made visible; carriage returns are left out."""
    return _UNSEEN.sub(_visible, text)


def _visible(found: re.Match[str]) -> str:
    return "" if found.group() == "\r" else found.group().encode("unicode_escape").decode()


def one_line(sentence: object) -> str:
    return printable(" ".join(str(sentence).split()))


def errors() -> Console:
    """Standard error as it is now. Nothing is wrapped, so that what is printed can be copied."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def output() -> Console:
    """Standard output, likewise."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def never_fail_to_print() -> None:
    """A character that the terminal does not have is shown by its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(sentence: object) -> None:
    errors().print(Text.assemble(("librarian: ", "bold red"), one_line(sentence)))


def give_up(sentence: object) -> NoReturn:
    complain(sentence)
    raise typer.Exit(1)


def show(console: Console, title: str, rows: Sequence[Sequence[str]]) -> None:
    """A table; for a file, lines."""
    if not rows:
        return
    seen = [[one_line(cell) for cell in row] for row in rows]
    console.print(Text(f"\n{title}", style="bold"))
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for row in seen:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, ""), overflow="fold") for cell in row))
        console.print(table, soft_wrap=False)
        return
    widths = [max(map(len, column)) for column in zip(*seen, strict=True)]
    for row in seen:
        console.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
