"""Measure what it costs to find the conversation that a long transcript goes on with.

100 turns, 200 KB: read into a Transcript, digested, looked up in a store on disk that knows the chat, and planned.
CPU of this process, everything else left out; the median and the best over many runs.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from statistics import median

from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.adapters.system.clock import TimelyIds
from librarian.application.converse import root_of
from librarian.application.ports.conversations import TurnRecord
from librarian.application.ports.memory import AgentKey
from librarian.application.reconcile import Place, Reconcile
from librarian.domain.conversation import EMPTY, Conversation, TurnId, name_of_key, new_name
from librarian.domain.identity import LOCAL, owner_of
from librarian.domain.transcript import Message, Reading, Transcript, assistant, own_digests, user
from librarian.domain.turn import StopReason, Usage

AGENT = AgentKey("librarian", owner_of(LOCAL))
ROOT = root_of(AGENT)
WORDS = "The library keeps what was said, and the reader need not say it twice. "
AT_ONCE = 20
"""Runs to one reading of the clock, which is coarse."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/reconcile.py", description=__doc__)
    parser.add_argument("--turns", type=int, default=100, help="100, of two messages each; another message is new")
    parser.add_argument("--bytes", type=int, default=200_000, help="200000, all together")
    parser.add_argument("--runs", type=int, default=100, help=f"100, of {AT_ONCE} each")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="librarian-bench-") as folder:
        asyncio.run(_measure(folder, asked.turns, asked.bytes, asked.runs))


async def _measure(folder: str, turns: int, size: int, runs: int) -> None:
    chat = _chat(turns, size)
    database = Database(f"sqlite:///{folder}/librarian.db")
    store = SqlConversations(database=database)
    reconcile = Reconcile(conversations=store, ids=TimelyIds())
    edited = [*chat[:-3], user("I meant something else."), assistant("Oh."), chat[-1]]
    cut = chat[40:]
    await _talked(store, chat, None)
    await _talked(store, chat, "my chat")
    total = sum(len(message.text.encode()) for message in chat)
    print(f"{len(chat)} messages, {total} bytes; CPU of one request, us\n")
    print(f"{'what':<44} {'median':>8} {'best':>8}")

    forms = [b"ut%d:%b" % (len(message.text), message.text.encode()) for message in chat]

    async def hashed() -> None:
        digest = bytes(ROOT)
        for form in forms:
            digest = sha256(digest + form).digest()

    async def read(spoken: list[Message]) -> None:
        Reading(Transcript(spoken), ROOT)

    async def planned(spoken: list[Message], key: str | None = None) -> None:
        reading = Reading(Transcript(spoken), ROOT)
        (await reconcile(reading, AGENT, Place(key))).plan(reading)

    await _print("SHA-256 alone, the yardstick", hashed, runs)
    await _print("digests", lambda: read(chat), runs)
    await _print("goes on: Continue", lambda: planned(chat), runs)
    await _print("goes on under its key: Continue", lambda: planned(chat, "my chat"), runs)
    await _print("edited near its end: Rebuild", lambda: planned(edited), runs)
    await _print("never seen: Rebuild", lambda: planned([user("Hello?"), *chat[1:]]), runs)
    await _print("its first 40 messages cut: Rebuild", lambda: planned(cut, "my chat"), max(runs // 10, 1))
    await database.aclose()


async def _print(what: str, request: Callable[[], Awaitable[None]], runs: int) -> None:
    await request()
    spent_us = []
    for _ in range(runs):
        began_s = time.process_time()
        for _ in range(AT_ONCE):
            await request()
        spent_us.append((time.process_time() - began_s) / AT_ONCE * 1e6)
    print(f"{what:<44} {median(spent_us):>8.0f} {min(spent_us):>8.0f}")


def _chat(turns: int, size: int) -> list[Message]:
    """It ends with what is new."""
    each = max(size // (2 * turns), 1)
    said = (WORDS * (each // len(WORDS) + 1))[: max(each - 8, 0)].strip()
    spoken = [(user, assistant)[number % 2](f"{number:06d}. {said}") for number in range(2 * turns)]
    return [*spoken, user("And now?")]


async def _talked(store: SqlConversations, chat: Sequence[Message], key: str | None) -> None:
    """Turn by turn."""
    conversation = Conversation(name_of_key(ROOT, key) if key else new_name(ROOT, "0" * 24), key=key)
    for at in range(0, len(chat) - 1, 2):
        reply = chat[at + 1]
        turn = TurnRecord(
            id=TurnId(f"turn_{key}_{at}"),
            conversation=conversation,
            parent=conversation.head,
            owner=AGENT.owner,
            template=AGENT.template,
            model="librarian",
            mode="auto",
            digest=Reading(Transcript(chat[: at + 1]), ROOT).after(reply),
            seed=(),
            heard=(chat[at],),
            reply=reply,
            reason=StopReason.END_OF_TURN,
            context=EMPTY,
            usage=Usage(1, 1),
            at_s=time.time(),
            said=own_digests((reply,))[0] if key else None,
        )
        await store.settle(turn)
        conversation = await store.named(conversation.id, AGENT.owner.id, AGENT.template) or conversation


if __name__ == "__main__":
    main()
