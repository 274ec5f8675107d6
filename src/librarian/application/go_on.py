"""Where the house holds the history: what a request goes on from, and its news -> a whole transcript."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from librarian.application.converse import Ask
from librarian.application.ports.answers import AnswerStore
from librarian.application.ports.conversations import ConversationStore
from librarian.application.ports.lines import Lines
from librarian.domain.conversation import PastTurn, TurnId, named_by_us
from librarian.domain.errors import UnknownAnswer, UnknownConversation
from librarian.domain.identity import Owner, subject_of
from librarian.domain.transcript import Message, Role, Transcript

RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class From:
    """`response`: that very point; `conversation`: wherever it stands. Never both."""

    response: str | None = None
    conversation: str | None = None


class GoOn:
    def __init__(self, *, conversations: ConversationStore, answers: AnswerStore, lines: Lines) -> None:
        self._conversations = conversations
        self._answers = answers
        self._lines = lines

    async def __call__(
        self, ask: Ask, news: Sequence[Message], point: From, instructions: Sequence[Message] = ()
    ) -> Ask:
        """`ask` with the stored path to the point, then `news`, as its transcript; `instructions` are of this request
        alone, system messages of the news stay.

        Raises UnknownAnswer and UnknownConversation for what is not there, or not this person's; InvalidRequest.
        """
        owner = subject_of(ask.principal, ask.person)
        if point.response is not None:
            return await self._after(ask, news, instructions, point.response, owner)
        if point.conversation is not None:
            return await self._in(ask, news, instructions, point.conversation, owner)
        return _told(ask, (), (), news, instructions)

    async def turn(self, turn: TurnId, ask: Ask) -> PastTurn | None:
        """One turn of the asker's own, without those before it."""
        owner = subject_of(ask.principal, ask.person)
        past = await self._conversations.past(turn, owner.id, most=1) if owner is not None else None
        return past[1][-1] if past is not None else None

    async def _after(
        self, ask: Ask, news: Sequence[Message], instructions: Sequence[Message], response: str, owner: Owner | None
    ) -> Ask:
        answer = await self._answers.find(response, RESPONSE)
        if answer is None or owner is None or answer.owner != owner or answer.turn is None:
            raise UnknownAnswer(response, param="previous_response_id")
        past = await self._conversations.past(answer.turn, owner.id)
        if past is None:
            raise UnknownAnswer(response, param="previous_response_id")
        conversation, turns = past
        said = [message for turn in turns for message in turn.messages]
        return replace(_told(ask, answer.told, said, news, instructions), conversation=conversation)

    async def _in(
        self, ask: Ask, news: Sequence[Message], instructions: Sequence[Message], called: str, owner: Owner | None
    ) -> Ask:
        name = named_by_us(called)
        card = await self._lines.find(name) if name is not None else None
        if card is None or owner is None or card.owner != owner:
            raise UnknownConversation(called)
        past = await self._conversations.past(card.head, owner.id) if card.head is not None else None
        said = [message for turn in (past[1] if past is not None else ()) for message in turn.messages]
        said += [waiting.message for waiting in card.waiting]
        return replace(
            _told(ask, card.told, said, news, instructions),
            conversation=card.id,
            line=True,
            names=[waiting.id for waiting in card.waiting],
            again=partial(self._in, ask, news, instructions, called, owner),
        )


def _told(
    ask: Ask,
    stay: Sequence[Message],
    said: Sequence[Message],
    news: Sequence[Message],
    instructions: Sequence[Message],
) -> Ask:
    at = next((at for at, message in enumerate(news) if message.role is not Role.SYSTEM), len(news))
    told = (*stay, *news[:at])
    return replace(ask, transcript=Transcript([*instructions, *told, *said, *news[at:]]), told=told)
