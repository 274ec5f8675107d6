"""`librarian agents`: who there is, and what they remember."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from librarian.application.keep_agents import AgentView, KeepAgents
from librarian.application.ports.administration import Standing, Written
from librarian.application.ports.memory import AgentId
from librarian.domain.conversation import TurnId
from librarian.domain.errors import LibrarianError
from librarian.domain.memory import MemoryBlock, Passage
from librarian.entrypoints.cli import terminal
from librarian.entrypoints.cli.premises import PremisesFactory, enter

_T = TypeVar("_T")
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Its id, as `list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a program to read.")]
Most = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]


def make_agents(premises_of: PremisesFactory) -> typer.Typer:  # noqa: C901, PLR0915  one door, many small rooms
    cli = typer.Typer(no_args_is_help=True, help="See agents, make them, pause them, correct what they remember.")

    def done(what: Callable[[KeepAgents], Awaitable[_T]]) -> _T:
        async def doing() -> _T:
            async with premises.opened() as house:
                return await what(house.agents)

        premises = enter(premises_of, {})
        try:
            return asyncio.run(doing())
        except (LibrarianError, OSError) as error:
            terminal.give_up(error)

    @cli.command("list")
    def list_agents(
        *,
        after: Annotated[str | None, typer.Option(metavar="AGENT", help="Begin after this one.")] = None,
        limit: Most = 100,
        as_json: AsJson = False,
    ) -> None:
        """Who there is, the oldest first."""
        views = done(lambda agents: agents.list(after=AgentId(after) if after else None, limit=limit))
        if as_json:
            typer.echo(json.dumps([_facts(view) for view in views], indent=2))
        elif views:
            _table(views)
        else:
            typer.echo("There is no agent yet. `librarian bootstrap` makes the first one.")

    @cli.command()
    def show(agent: Agent, *, as_json: AsJson = False) -> None:
        """One agent."""
        view = done(lambda agents: agents.show(AgentId(agent)))
        if as_json:
            typer.echo(json.dumps(_facts(view), indent=2))
        else:
            terminal.show(terminal.output(), agent, [(name, str(fact)) for name, fact in _facts(view).items()])

    @cli.command()
    def create(
        *,
        template: Annotated[str, typer.Option(help="What it is made after.")] = "librarian",
        person: Annotated[
            str | None, typer.Option(help="Whose it is. Nobody named: whoever asks without a name.")
        ] = None,
    ) -> None:
        """Make an agent, or make one that is paused or retired active again."""
        view, made = done(lambda agents: agents.create(template, person))
        typer.echo(f"{view.card.id} {'is made' if made else 'was there, and is active'}.")

    @cli.command()
    def pause(
        agent: Agent, *, off: Annotated[bool, typer.Option("--off", help="It takes turns again.")] = False
    ) -> None:
        """Let an agent take no turns until it may again."""
        card = done(lambda agents: agents.resume(AgentId(agent)) if off else agents.pause(AgentId(agent)))
        typer.echo(f"{agent} is {card.standing}.")

    @cli.command()
    def retire(
        agent: Agent,
        *,
        forget: Annotated[bool, typer.Option("--forget", help="With all that it remembers, for good.")] = False,
    ) -> None:
        """Delete an agent on its server. What it remembers is kept, unless told otherwise."""
        done(lambda agents: agents.retire(AgentId(agent), forget=forget))
        typer.echo(f"{agent} is retired{', and remembers nothing' if forget else '; its memory is kept'}.")

    @cli.command()
    def blocks(
        agent: Agent,
        *,
        label: Annotated[str | None, typer.Option("--set", metavar="LABEL", help="Write this block anew.")] = None,
        value: Annotated[str | None, typer.Option(help="What it says then. Empty: standard input is read.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """What an agent keeps before its eyes; or write one block of it anew."""
        if label is not None:
            text = value if value is not None else typer.get_text_stream("stdin").read()
            _say_blocks([done(lambda agents: agents.edit(AgentId(agent), label, text))], as_json=as_json)
        else:
            _say_blocks(done(lambda agents: agents.blocks(AgentId(agent))), as_json=as_json)

    @cli.command()
    def passages(
        agent: Agent,
        *,
        add: Annotated[str | None, typer.Option(metavar="TEXT", help="Put this by.")] = None,
        tag: Annotated[list[str] | None, typer.Option(help="With this tag; may be given again.")] = None,
        delete: Annotated[int | None, typer.Option(metavar="NUMBER", help="Delete this one for good.")] = None,
        after: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Begin after this one.")] = 0,
        limit: Most = 100,
        as_json: AsJson = False,
    ) -> None:
        """What an agent has put by, the oldest first; put something by, or delete it."""
        if add is not None:
            _say_passages([done(lambda agents: agents.add_passage(AgentId(agent), add, tag or ()))], as_json=as_json)
        elif delete is not None:
            done(lambda agents: agents.delete_passage(AgentId(agent), delete))
            typer.echo(f"Passage {delete} is deleted.")
        else:
            found = done(lambda agents: agents.passages(AgentId(agent), after=after, limit=limit))
            _say_passages(found, as_json=as_json)

    @cli.command()
    def abandoned(
        agent: Agent,
        *,
        take_back: Annotated[
            str | None, typer.Option(metavar="TURN", help="Take back what this turn wrote, as far as it is there.")
        ] = None,
        limit: Most = 100,
        as_json: AsJson = False,
    ) -> None:
        """What turns wrote to memory that were edited or regenerated away, the newest first; or take it back."""
        if take_back is not None:
            entries = done(lambda agents: agents.take_back(AgentId(agent), TurnId(take_back)))
            typer.echo(f"Taken back: {entries} entries of {take_back}.")
        else:
            _say_written(done(lambda agents: agents.abandoned(AgentId(agent), limit=limit)), as_json=as_json)

    return cli


def _facts(view: AgentView) -> dict[str, str | None]:
    card = view.card
    return {
        "id": card.id,
        "template": card.key.template,
        "principal": card.key.owner.principal,
        "subject": card.key.owner.subject,
        "model": view.model,
        "created": _day(card.created_s),
        "state": card.standing,
    }


def _table(views: Sequence[AgentView]) -> None:
    rows = [[str(fact or "-") for fact in _facts(view).values()] for view in views]
    paused = sum(view.card.standing is not Standing.ACTIVE for view in views)
    title = f"{len(views)} agents" + (f", {paused} of them not active" if paused else "")
    terminal.show(terminal.output(), title, [list(_facts(views[0])), *rows])


def _say_blocks(blocks: Sequence[MemoryBlock], *, as_json: bool) -> None:
    if as_json:
        told = [{"label": b.label, "value": b.value, "limit_chars": b.limit_chars} for b in blocks]
        typer.echo(json.dumps(told, indent=2))
        return
    for block in blocks:
        title = f"{block.label} ({len(block.value)} of {block.limit_chars} characters)"
        typer.echo(f"{terminal.one_line(title)}\n{terminal.printable(block.value)}\n")


def _say_passages(passages: Sequence[Passage], *, as_json: bool) -> None:
    if as_json:
        told = [{"number": p.number, "text": p.text, "tags": list(p.tags), "at": _day(p.at_s)} for p in passages]
        typer.echo(json.dumps(told, indent=2))
        return
    rows = [(str(p.number), _day(p.at_s), ", ".join(p.tags) or "-", p.text) for p in passages]
    terminal.show(terminal.output(), "Put by", rows or [("-", "", "", "Nothing.")])


def _say_written(entries: Sequence[Written], *, as_json: bool) -> None:
    if as_json:
        told = [
            {"turn": w.turn, "conversation": w.conversation, "at": _day(w.at_s), "what": w.what}
            | {"took": w.took, "put": w.put}
            for w in entries
        ]
        typer.echo(json.dumps(told, indent=2))
        return
    rows = [(w.turn, _day(w.at_s), w.what, w.put or "(deleted)") for w in entries]
    terminal.show(terminal.output(), "Written and abandoned", rows or [("-", "", "", "Nothing.")])


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
