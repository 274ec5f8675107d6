"""What everybody tells the house: a secret of each kind, each where it belongs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from random import Random

from tests.isolation.grid import CELLS, Cell, Kind
from tests.isolation.mansion import WEATHER, Mansion, said, says
from tests.unit.edge_house import COMPLETIONS

AT_ONCE = 12


async def all_at_once(work: Callable[[Cell], Awaitable[object]], cells: Iterable[Cell] = CELLS) -> None:
    """Not one tenant after the other: as they come."""
    shuffled = list(cells)
    Random(7).shuffle(shuffled)  # noqa: S311  nothing hangs on it
    waiting = iter(shuffled)

    async def hand() -> None:
        for cell in waiting:
            await work(cell)

    async with asyncio.TaskGroup() as hands:
        for _ in range(AT_ONCE):
            hands.create_task(hand())


async def confide(mansion: Mansion, cell: Cell) -> None:
    await _in_a_chat_of_its_own_name(mansion, cell)
    await _to_memory(mansion, cell)
    await _through_a_tool(mansion, cell)
    await _in_a_completion(mansion, cell)


async def _in_a_chat_of_its_own_name(mansion: Mansion, cell: Cell) -> None:
    """And what a turn wrote that was edited away."""
    cue = cell.cue
    overlay = {"role": "system", "content": f"Your manner is {cell.canary(Kind.OVERLAY)}."}
    place = {"x-librarian-conversation": f"chat {cell.canary(Kind.KEY)}", "x-librarian-debug": "1"}
    once = {
        "idempotency-key": f"once {cell.canary(Kind.IDEMPOTENCY)}",
        "x-librarian-message": cell.canary(Kind.MESSAGE),
    }
    opening = says(f"Keep this heirloom: the {cue} heirloom is {cell.canary(Kind.SAID)}.")
    answers = [f"The {cue} answer to that heirloom is {cell.canary(Kind.ANSWERED)}."]
    first = await mansion.ask(cell, overlay, opening, acts=answers, headers=place | once)
    again = await mansion.ask(cell, overlay, opening, headers=place | once)
    assert first.json["id"] == again.json["id"]
    chat = [overlay, opening, said(first)]
    writes = [("memory_insert", {"label": "human", "new_string": f"Once: {cell.canary(Kind.ABANDONED)}."})]
    await mansion.ask(cell, *chat, says("Note something."), acts=[writes, "Noted."], headers=place)
    parent = {"x-librarian-parent": cell.canary(Kind.MESSAGE)}
    await mansion.ask(cell, *chat, says("Note nothing."), headers=place | parent)


async def _to_memory(mansion: Mansion, cell: Cell) -> None:
    calls = [
        ("memory_insert", {"label": "human", "new_string": f"The {cell.cue} motto is {cell.canary(Kind.BLOCK)}."}),
        (
            "archival_memory_insert",
            {
                "content": f"The {cell.cue} heirloom letter is {cell.canary(Kind.PASSAGE)}.",
                "tags": ["heirloom", cell.cue, cell.canary(Kind.TAG)],
            },
        ),
    ]
    first = await mansion.ask(cell, says("Remember what I showed you."), acts=[calls, "Done."], by="b")
    own = first.headers["x-librarian-conversation"]
    await mansion.ask(
        cell,
        says("Remember what I showed you."),
        said(first),
        says("Go on."),
        headers={"x-librarian-conversation": own},
    )


async def _through_a_tool(mansion: Mansion, cell: Cell) -> None:
    asked = says("Weather, please.")
    first = await mansion.ask(cell, asked, acts=[[("get_weather", {"place": cell.cue})]], tools=[WEATHER])
    (call,) = said(first)["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": f"{cell.cue}: {cell.canary(Kind.TOOL)}."}
    await mansion.ask(cell, asked, said(first), result, acts=["Thank you."], tools=[WEATHER], stream=True)


async def _in_a_completion(mansion: Mansion, cell: Cell) -> None:
    await mansion.ask(
        cell, path=COMPLETIONS, prompt=f"The {cell.cue} heirloom again: {cell.canary(Kind.SAID)}.", stream=True
    )
