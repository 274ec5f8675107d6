"""`librarian doctor`: what is wrong, before anybody else finds out."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from librarian.application.ports.health import Finding
from librarian.domain.errors import LibrarianError
from librarian.entrypoints.cli import terminal
from librarian.entrypoints.cli.premises import Premises, PremisesFactory, enter

DAY_S = 86_400
LONGEST_INSTALLED_S = 20 * 365 * DAY_S


def make_doctor(premises_of: PremisesFactory) -> Callable[..., None]:
    def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False) -> None:
        """Look at every part, and say what is wrong. Ends with 1 if anything is."""
        premises = enter(premises_of, {})
        findings = [
            *_names(premises),
            *asyncio.run(_parts(premises)),
            clock(time.time(), Path(__file__).stat().st_mtime),
        ]
        well = not any(mark(finding) == "trouble" for finding in findings)
        if as_json:
            typer.echo(_json(premises, findings, well=well))
        else:
            _show(premises, findings)
        raise typer.Exit(0 if well else 1)

    return doctor


def mark(finding: Finding) -> str:
    if finding.well:
        return "ok"
    return "trouble" if finding.needed else "note"


def clock(now_s: float, installed_s: float) -> Finding:
    """Memories are dated: a clock that is far off puts them in the wrong order for good.

    `installed_s`: when the files of the gateway were written, in seconds since 1970.
    """
    now = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now_s < installed_s - DAY_S:
        return Finding("clock", well=False, detail=f"It is before the gateway was installed here: {now}.")
    if now_s > installed_s + LONGEST_INSTALLED_S:
        return Finding("clock", well=False, detail=f"It is long after the gateway was installed here: {now}.")
    return Finding("clock", well=True, detail=now)


def _names(premises: Premises) -> Sequence[Finding]:
    unknown = [Finding("settings", well=False, detail=_unknown(premises, name)) for name in premises.unknown]
    notices = [Finding("settings", well=False, detail=notice, needed=False) for notice in premises.notices]
    known = f"{len(premises.configuration)} settings, and every LIBRARIAN_* name is known."
    return [*unknown, *notices] if unknown else [Finding("settings", well=True, detail=known), *notices]


def _unknown(premises: Premises, name: str) -> str:
    similar = get_close_matches(name.upper(), premises.configuration, n=1, cutoff=0.8)
    return f"{name} means nothing here." + (f" Is it {similar[0]}?" if similar else "")


async def _parts(premises: Premises) -> Sequence[Finding]:
    try:
        async with premises.opened() as house:
            return (await house.diagnose()).findings
    except (LibrarianError, OSError) as error:
        return [Finding("house", well=False, detail=f"It cannot be opened: {error}")]


def _show(premises: Premises, findings: Sequence[Finding]) -> None:
    console = terminal.output()
    terminal.show(console, "Configuration", list(premises.configuration.items()))
    terminal.show(
        console,
        f"The Librarian {version('librarian-gateway')}",
        [(mark(finding), finding.part, finding.detail) for finding in findings],
    )


def _json(premises: Premises, findings: Sequence[Finding], *, well: bool) -> str:
    told = {
        "version": version("librarian-gateway"),
        "well": well,
        "configuration": dict(premises.configuration),
        "unknown": list(premises.unknown),
        "findings": [{"mark": mark(finding), **asdict(finding)} for finding in findings],
    }
    return json.dumps(told, indent=2)
