"""Who asks, on whose behalf, and what for."""

import asyncio

from pytest_bdd import parsers, then, when

from librarian.domain.identity import LOCAL, Memory, Principal, Purpose, owner_of
from librarian.domain.prompt import PERSONA
from librarian.domain.recall import Search
from librarian.domain.transcript import assistant, user

KEPT_TO_ITSELF = Principal(LOCAL.id, asserts_subject=False)
TITLE = "### Task:\nGenerate a concise title summarizing the chat history."


@when(parsers.parse('somebody whose key may not speak for others asks as Ada "{text}"'))
def asks_as_ada(world, text):
    world.tell("Ada", text, chat="foreign", principal=KEPT_TO_ITSELF)


@when(parsers.parse('without memory, {person:w} asks "{text}"'))
def asks_without_memory(world, person, text):
    world.tell(person, text, chat="without", purpose=Purpose.STATELESS, memory=Memory.OFF)


@when(parsers.parse('only reading memory, {person:w} asks "{text}"'))
def asks_reading_memory(world, person, text):
    world.tell(person, text, chat="reading", memory=Memory.READ)


@when(
    parsers.parse('{person:w} asks "{text}", and her client wants a title for the chat at once'), target_fixture="title"
)
def asks_while_a_title_is_made(world, person, text):
    chat = world.chat(person)
    chat.messages.append(user(text))
    world.chat(person, "title").messages = [user(f"{TITLE}\n\nUSER: {text}")]

    async def both():
        return await asyncio.gather(world.asked(person), world.asked(person, "title", purpose=Purpose.TASK))

    world.answer, title = world.run(both())
    chat.messages.append(assistant(world.answer.text, world.answer.calls))
    chat.conversations.append(world.answer.conversation)
    return title


@then("both are answered")
def both_answered(world, title):
    assert (None, None) == (world.answer.refused, title.refused)
    assert world.answer.text
    assert title.text


@then("the title has no conversation and was asked of nobody who remembers")
def title_is_no_chat(world, title):
    assert title.conversation is None
    (prompt,) = [prompt for prompt in world.model.prompts if TITLE in prompt.messages[-1].text]
    assert not any(told in prompt.system for told in (PERSONA, "<memory_blocks>", "<recalled>"))
    assert 1 == len(prompt.messages)


@then(parsers.parse('nothing of "{text}" is remembered of {person:w}'))
def nothing_remembered(world, text, person):
    hits = world.run(world.house.remember().search(owner_of(LOCAL, person=person), Search(text)))
    assert [] == [hit.entry.text for hit in hits if text in hit.entry.text]
    assert text not in world.blocks(person)
