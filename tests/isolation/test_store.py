"""What a store of conversations keeps apart by itself, whatever it is asked."""

import pytest

from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.adapters.sql.lines import SqlLines
from librarian.application.ports.lines import ConversationCard
from librarian.domain.conversation import Conversation
from librarian.domain.errors import UnknownConversation
from librarian.domain.identity import Owner, PrincipalId
from tests.contract.test_conversation_store import ADA, BEN, STORES, new_conversation, record, settled

ANN = Owner(PrincipalId("another"), ADA.subject)


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    async with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("other", [{"owner": BEN}, {"owner": ANN}, {"template": "another"}], ids=str)
async def test_a_turn_is_never_recorded_in_a_conversation_of_anothers(store, other):
    """Whose name fits by chance, or because somebody tried long enough."""
    theirs = await settled(store, new_conversation())
    mine = record(Conversation(theirs.id), **other)
    with pytest.raises(UnknownConversation):
        await store.settle(mine)

    assert await store.at((mine.digest,), theirs.id) is None
    assert await store.at((theirs.known.digest,), theirs.id) == theirs


async def test_nor_in_one_that_is_begun_and_has_no_turn_yet(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/librarian.db")
    conversations, lines = SqlConversations(database=database), SqlLines(database=database)
    name = new_conversation().id
    await lines.begin(ConversationCard(id=name, owner=ADA, created_s=1.0, metadata={}))
    with pytest.raises(UnknownConversation):
        await conversations.settle(record(Conversation(name), owner=BEN))
    card = await lines.find(name)
    assert card is not None
    assert (ADA, None) == (card.owner, card.head)
    await settled(conversations, Conversation(name), owner=ADA)
    await database.aclose()


async def test_of_two_first_turns_of_ones_own_both_are_recorded(store):
    first = await settled(store, new_conversation())
    second = await settled(store, Conversation(first.id))

    assert first.head == second.head
    assert first.known != second.known
