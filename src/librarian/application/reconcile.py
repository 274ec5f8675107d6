"""Find the conversation that a transcript goes on with."""

from dataclasses import dataclass, replace

from librarian.application.ports.clock import Ids
from librarian.application.ports.conversations import ConversationStore
from librarian.application.ports.memory import AgentKey
from librarian.domain.conversation import (
    Conversation,
    ConversationId,
    Shared,
    is_sealed,
    name_of_key,
    named_by_us,
    new_name,
    window_on,
)
from librarian.domain.errors import UnknownConversation
from librarian.domain.transcript import Reading, own_digests

MOST_EARLIER = 64
"""Turns before the parent that are looked for, the deepest first."""
FEW_EARLIER = 4
"""Of those, looked for before all others: most edits are of what was said last."""
MOST_ALIKE = 4
"""Turns of one conversation that ended in the same words, each compared with a window."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the client says that it is: its name for the conversation, and for the reply that it goes on from.

    `whole`: its transcript is that of the house, so nothing of it has been left out.
    """

    conversation: str | None = None
    reply: str | None = None
    whole: bool = False


NOWHERE = Place()


class Reconcile:
    """A few look-ups, however long the chat is."""

    def __init__(self, *, conversations: ConversationStore, ids: Ids) -> None:
        self._conversations = conversations
        self._ids = ids

    async def __call__(self, reading: Reading, agent: AgentKey, place: Place = NOWHERE) -> Conversation:
        """One that begins has a name and no head. A name confines the search, and nothing else. Raises
        UnknownConversation for a name of the house's own that is not this owner's, and StoreUnavailable."""
        if place.conversation is None:
            return await self._by_transcript(reading)
        return await self._by_name(reading, agent, place, place.conversation)

    async def _by_transcript(self, reading: Reading) -> Conversation:
        if reading.parent is not None:
            known = await self._conversations.at((reading.parent,)) or await self._sharing(reading, None)
            if known is not None:
                return known
        return Conversation(new_name(reading.root, self._ids.new()))

    async def _by_name(self, reading: Reading, agent: AgentKey, place: Place, called: str) -> Conversation:
        own = named_by_us(called)
        name = own or name_of_key(reading.root, called)
        if reading.parent is not None and (known := await self._conversations.at((reading.parent,), name)) is not None:
            return known
        conversation = await self._conversations.named(name, agent.owner.id, agent.template)
        if conversation is None:
            if own is not None and not is_sealed(reading.root, own):
                raise UnknownConversation(called)
            return Conversation(name, key=None if own else called)
        if reading.parent is None:
            return conversation
        if place.reply is not None and (at := await self._conversations.referred(name, place.reply)) is not None:
            return replace(conversation, shared=Shared(at, reading.transcript.news_at))
        shared = await self._sharing(reading, name)
        if shared is not None or place.whole:
            return shared or conversation
        return await self._windowed(reading, conversation)

    async def _sharing(self, reading: Reading, within: ConversationId | None) -> Conversation | None:
        """By the deepest turn before the parent that is known."""
        earlier = reading.earlier(MOST_EARLIER)
        for some in (earlier[:FEW_EARLIER], earlier[FEW_EARLIER:]):
            found = await self._conversations.at([digest for digest, _ in some], within) if some else None
            if found is not None and found.known is not None:
                covers = next(covers for digest, covers in some if digest == found.known.digest)
                return replace(found, known=None, shared=Shared(found.known, covers))
        return None

    async def _windowed(self, reading: Reading, conversation: Conversation) -> Conversation:
        """By the reply before the news, where the transcript has lost its oldest messages."""
        history = reading.transcript.history
        said = own_digests(history[-1:])[0]
        for turn in await self._conversations.saying(conversation.id, said, MOST_ALIKE):
            shows = window_on(history, await self._conversations.path(turn.number, len(history)))
            if shows is not None:
                return replace(conversation, shared=Shared(turn, len(history), shows))
        return conversation
