"""Identical first requests at once, and what became of each."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import aclosing

from librarian.application.converse import Ask
from librarian.container import House
from librarian.domain.transcript import Message, Transcript, user
from librarian.domain.turn import Collected, TextSpoken, TurnBegan
from tests.fakes.numbered import Numbered

PEOPLE = ("Ada", "Ben")


class Race:
    """Clients of two people, who all say the same as their first words. With a `key`, all name the same chat.

    `model` answers nobody as it did anybody else.
    """

    def __init__(self, house: House, model: Numbered, clients: int, key: str | None = None) -> None:
        self._house = house
        self._model = model
        self._who = [PEOPLE[number % len(PEOPLE)] for number in range(clients)]
        self._key = key

    async def begin(self, number: int) -> None:
        """All are answered, and each goes on from its own answer as if it were alone."""
        opening, key = user(f"Round {number} begins."), self._key and f"{self._key} {number}"
        self._model.prompts.clear()
        firsts = await asyncio.gather(*(self._taken(who, key, opening) for who in self._who))
        chats = [(opening, reply, user("And then?")) for _, reply in firsts]
        seconds = await asyncio.gather(
            *(self._taken(who, key, *chat) for who, chat in zip(self._who, chats, strict=True))
        )

        assert {"Start"} == {began.plan for began, _ in firsts}
        assert {"Continue"} == {began.plan for began, _ in seconds}
        assert [began.conversation for began, _ in firsts] == [began.conversation for began, _ in seconds]
        assert self._conversations_of(firsts) == len({began.conversation for began, _ in firsts})
        assert Counter([(opening,)] * len(firsts) + chats) == Counter(
            tuple(_bare(message) for message in prompt.messages) for prompt in self._model.prompts
        )
        for (began, reply), (first, _), chat in zip(seconds, firsts, chats, strict=True):
            path = await self._house.conversations().path(self._number(began.turn), 9)
            assert [(*chat[2:], reply), chat[:2]] == [tuple(turn.messages) for turn in path]
            assert self._number(first.turn) == path[-1].number

    async def go_on(self, number: int) -> None:
        """All go on alike from one answer that they share: one continues, the others branch, and nobody waits."""
        opening, key = user(f"Round {number} begins."), self._key and f"{self._key} {number}"
        who = self._who[0]
        first, reply = await self._taken(who, key, opening)
        chat = (opening, reply, user("And then?"))
        seconds = await asyncio.gather(*(self._taken(who, key, *chat) for _ in self._who))
        chats = [(*chat, reply, user("And now?")) for _, reply in seconds]
        thirds = await asyncio.gather(*(self._taken(who, key, *each) for each in chats))

        assert ["Branch"] * (len(seconds) - 1) + ["Continue"] == sorted(began.plan for began, _ in seconds)
        assert {"Continue"} == {began.plan for began, _ in thirds}
        assert {first.conversation} == {began.conversation for began, _ in (*seconds, *thirds)}
        shown = [tuple(map(_bare, prompt.messages)) for prompt in self._model.prompts[-len(thirds) :]]
        assert Counter(chats) == Counter(shown)

    def _conversations_of(self, firsts: list[tuple[TurnBegan, Message]]) -> int:
        """How many there must be: one for each person where they name one, else one for each client."""
        return len(set(self._who)) if self._key else len(firsts)

    def _number(self, turn: str) -> int:
        number: int
        (number,) = self._house.database().row("SELECT number FROM turn WHERE id = ?", (turn,))
        return number

    async def _taken(self, who: str, key: str | None, *spoken: Message) -> tuple[TurnBegan, Message]:
        ask = Ask(model="librarian", transcript=Transcript(spoken), person=who, conversation=key)
        said = Collected()
        began: TurnBegan | None = None
        async with aclosing(self._house.converse()(ask)) as events:
            async for event in events:
                match event:
                    case TurnBegan():
                        began = event
                    case TextSpoken(fragments):
                        said.speak(fragments)
        assert began is not None
        return began, said.message


def require_order(house: House, turns: int) -> None:
    """Every turn that was accepted is there, once, in a conversation of its own person's, each with one head."""
    with sqlite3.connect(house.database().path) as connection:

        def count(sql: str) -> int:
            number: int
            (number,) = connection.execute(sql).fetchone()
            return number

        joined = "turn t JOIN conversation c ON c.id = t.conversation"
        assert turns == count("SELECT count(DISTINCT id) FROM turn")
        assert 0 == count(f"SELECT count(*) FROM {joined} WHERE t.owner <> c.owner")  # noqa: S608
        assert 0 == count("SELECT count(*) FROM turn t JOIN turn a ON a.number = t.parent WHERE t.owner <> a.owner")
        assert 0 == count("SELECT count(*) FROM conversation WHERE head IS NULL")
        assert 0 == count(f"SELECT count(*) FROM {joined} WHERE t.number = c.head AND NOT t.on_path")  # noqa: S608
        forked = (
            "SELECT count(*) FROM (SELECT 1 FROM turn WHERE on_path GROUP BY conversation, parent HAVING count(*) > 1)"
        )
        assert 0 == count(forked)


def _bare(message: Message) -> Message:
    return Message(message.role, message.text)
