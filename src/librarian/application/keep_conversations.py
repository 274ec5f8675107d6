"""Conversations that clients have the house keep: begin and label them, put in messages, show and forget them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from librarian.application.keep_answers import Whoever
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.conversations import ConversationStore
from librarian.application.ports.lines import ConversationCard, Lines, Waiting
from librarian.application.ports.recall import RecallIndex
from librarian.domain.conversation import ConversationId, PastTurn, named_by_us, new_name
from librarian.domain.errors import NotPermitted, UnknownConversation
from librarian.domain.identity import may_see, subject_of
from librarian.domain.transcript import Digest, Message


class KeepConversations:
    """One thing with those of chats: a chat is gone on with here, and the other way round.

    Every method raises UnknownConversation for one that is not there, or somebody else's, and StoreUnavailable.
    """

    def __init__(
        self, *, lines: Lines, conversations: ConversationStore, index: RecallIndex, clock: Clock, ids: Ids
    ) -> None:
        self._lines = lines
        self._conversations = conversations
        self._index = index
        self._clock = clock
        self._ids = ids

    async def begin(
        self, asker: Whoever, metadata: Mapping[str, str], messages: Sequence[Message] = ()
    ) -> ConversationCard:
        """Raises NotPermitted where the key may not have memory for whom it names."""
        owner = subject_of(asker.principal, asker.person)
        if owner is None:
            raise NotPermitted("Conversations are kept for a person whom this key may speak for, and it names none.")
        card = ConversationCard(
            id=new_name(Digest(owner.id), self._ids.new()),
            owner=owner,
            created_s=self._clock.now_s(),
            metadata=metadata,
            waiting=self._waiting(messages),
        )
        await self._lines.begin(card)
        return card

    async def show(self, name: str, asker: Whoever) -> ConversationCard:
        own = named_by_us(name)
        card = await self._lines.find(own) if own is not None else None
        if card is None or not may_see(asker.principal, asker.person, card.owner):
            raise UnknownConversation(name)
        return card

    async def label(self, name: str, asker: Whoever, metadata: Mapping[str, str]) -> ConversationCard:
        card = await self.show(name, asker)
        await self._lines.label(card.id, metadata)
        return replace(card, metadata=metadata)

    async def holds(self, name: str, asker: Whoever) -> tuple[Sequence[PastTurn], Sequence[Waiting]]:
        """Its turns, oldest first, and what waits after them."""
        card = await self.show(name, asker)
        return await self._turns(card), card.waiting

    async def put(self, name: str, asker: Whoever, messages: Sequence[Message]) -> Sequence[Waiting]:
        card = await self.show(name, asker)
        waiting = self._waiting(messages)
        await self._lines.put(card.id, waiting)
        return waiting

    async def rewrite(self, name: str, asker: Whoever, waiting: Sequence[Waiting]) -> ConversationCard:
        """All that it holds from now on."""
        card = await self.show(name, asker)
        await self._lines.rewrite(card.id, waiting)
        return replace(card, head=None, waiting=waiting)

    async def delete(self, name: str, asker: Whoever) -> ConversationId:
        """With all that was said in it, for good."""
        card = await self.show(name, asker)
        await self._lines.delete(card.id)
        await self._index.forget(card.owner.id)
        return card.id

    async def _turns(self, card: ConversationCard) -> Sequence[PastTurn]:
        past = await self._conversations.past(card.head, card.owner.id) if card.head is not None else None
        return past[1] if past is not None else ()

    def _waiting(self, messages: Sequence[Message]) -> Sequence[Waiting]:
        return tuple(Waiting(self._ids.new(), message) for message in messages)
