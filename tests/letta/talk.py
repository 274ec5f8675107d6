"""Talking with a house whose agents live in Letta, and looking at what the model was shown."""

from contextlib import aclosing

from librarian.application.converse import Ask
from librarian.container import House
from librarian.domain.transcript import Transcript
from librarian.domain.turn import collected
from librarian.settings import Settings
from tests.letta.spoken import text_of


def opened(letta, data_dir, *, at=None, **choices):
    """`at`: another address of the same server's; `choices` are of the settings for Letta."""
    chosen = {"base_url": at or letta.base_url, "embedding": letta.model.embedding, **choices}
    return House(settings=Settings(_env_file=None, data_dir=data_dir, letta=chosen))


def ask(*spoken, person="Ada", **more):
    return Ask(**{"model": "librarian", "transcript": Transcript(spoken), "person": person, **more})


async def said(house, *spoken, **more):
    return await collected(house.converse()(ask(*spoken, **more)))


async def taken(house, *spoken, **more):
    async with aclosing(house.converse()(ask(*spoken, **more))) as events:
        return [event async for event in events]


def shown(request):
    """What the model was shown but for the system message: role and text."""
    return [(message["role"], text_of(message)) for message in request.messages if message["role"] != "system"]


def spoken_of(*messages):
    """The same of messages of a client."""
    return [(message.role.value, message.text) for message in messages]
