"""Which conversation a request goes on with, through the whole application on a real store."""

import asyncio
import sqlite3
from contextlib import aclosing

import pytest
from dependency_injector import providers

from librarian.application.converse import Ask
from librarian.application.ports.memory import AgentKey
from librarian.container import House
from librarian.domain.errors import UnknownConversation, UpstreamRefused
from librarian.domain.identity import LOCAL, Memory, Principal, PrincipalId, Purpose, owner_of
from librarian.domain.memory import Append, Author, Provenance
from librarian.domain.mode import Mode
from librarian.domain.prompt import DEFAULT_BLOCKS, MANNER, READ_ONLY, WITHOUT_MEMORY
from librarian.domain.transcript import Message, Role, Transcript, assistant, user
from librarian.domain.turn import Collected, TextSpoken, TurnBegan
from librarian.settings import Settings
from tests.fakes.numbered import Numbered

pytestmark = pytest.mark.integration


class Talk:
    """A chat as a client keeps it. Each answer is added to it."""

    def __init__(self, house, **how):
        self.house = house
        self.how = how
        self.messages = []

    async def say(self, text, **more):
        """The TurnBegan; the answer stands last in `messages`."""
        self.messages.append(user(text))
        return await self.send(**more)

    async def send(self, **more):
        began, reply = await taken(self.house, *self.messages, **self.how, **more)
        self.messages.append(reply)
        return began

    def copied(self, **how):
        """Another client's, with all that was said so far."""
        copy = Talk(self.house, **how)
        copy.messages = list(self.messages)
        return copy


async def taken(house, *spoken, **more):
    said = Collected()
    began = None
    ask = Ask(**{"model": "librarian", "transcript": Transcript(spoken)} | more)
    async with aclosing(house.converse()(ask)) as events:
        async for event in events:
            match event:
                case TurnBegan():
                    began = event
                case TextSpoken(fragments):
                    said.speak(fragments)
    return began, said.message


@pytest.fixture
def model():
    return Numbered()


@pytest.fixture
async def house(tmp_path, model):
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path))
    house.model.override(providers.Object(model))
    async with house.lifetime():
        yield house


def shown(model):
    """What the model was shown last, but for what it was told."""
    return list(model.prompts[-1].messages)


def rows(house):
    """How many there are in each table."""
    with sqlite3.connect(house.database().path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables}  # noqa: S608


# A key confines the search, and nothing else


async def test_a_chat_goes_on_under_its_key(house, model):
    talk = Talk(house, conversation="my chat")
    first = await talk.say("Hello.")
    second = await talk.say("Go on.")

    assert ("Start", "Continue") == (first.plan, second.plan)
    assert first.conversation == second.conversation
    assert talk.messages[:-1] == shown(model)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"conversation": "my chat"}, {}),
        ({}, {"conversation": "my chat"}),
        ({"conversation": "my chat"}, {"conversation": "another"}),
    ],
    ids=["the key is left out", "a key comes to it", "another key"],
)
async def test_a_chat_is_not_found_under_another_key(house, model, one, other):
    talk = Talk(house, **one)
    first = await talk.say("Hello.")
    copy = talk.copied(**other)
    cloned = await copy.say("Go on elsewhere.")
    again = await talk.say("Go on here.")
    further = await copy.say("Further.")

    assert ("Rebuild", "Continue", "Continue") == (cloned.plan, again.plan, further.plan)
    assert first.conversation == again.conversation != cloned.conversation == further.conversation
    assert copy.messages[:-1] == shown(model)


async def test_the_same_key_is_another_conversation_for_everybody_else(house):
    how = [{}, {"person": "Ada"}, {"person": "Ben"}, {"principal": Principal(PrincipalId("other"))}]

    begun = [await Talk(house, conversation="my chat", **who).say("Hello.") for who in how]

    assert 4 == len({began.conversation for began in begun})
    assert {"Start"} == {began.plan for began in begun}


async def test_a_first_message_that_is_said_again_is_a_new_first_branch_of_its_key(house, model):
    talk = Talk(house, conversation="my chat")
    first = await talk.say("Hello.")
    await talk.say("Go on.")
    edited = talk.copied(conversation="my chat")
    edited.messages.clear()

    anew = await edited.say("Good day.")
    on = await edited.say("Go on.")

    assert ("Start", "Continue") == (anew.plan, on.plan)
    assert first.conversation == anew.conversation == on.conversation
    assert edited.messages[:-1] == shown(model)


async def test_without_a_key_a_first_message_is_always_a_new_conversation(house):
    begun = [await Talk(house).say("Hello.") for _ in range(3)]

    assert 3 == len({began.conversation for began in begun})


async def test_twins_that_were_answered_alike_go_on_apart(house, model):
    twins = [Talk(house), Talk(house)]
    begun = []
    for twin in twins:
        twin.messages = [user("Hello."), assistant("Hello yourself.")]
        begun.append(await twin.say("How are you?"))
        model.prompts.clear()  # so that all are answered alike
    on = [await twin.say(text) for twin, text in zip(twins, ["One way.", "Another way."], strict=True)]

    assert {"Rebuild"} == {began.plan for began in begun}
    assert {"Continue"} == {began.plan for began in on}
    assert 2 == len({began.conversation for began in on})


# The house's own names


@pytest.mark.parametrize("key", [None, "my chat"])
async def test_the_houses_own_name_names_the_conversation(house, key):
    talk = Talk(house, **({"conversation": key} if key else {}))
    first = await talk.say("Hello.")

    on = await talk.copied(conversation=first.conversation).say("Go on.")

    assert ("Continue", first.conversation) == (on.plan, on.conversation)


async def test_another_history_under_the_houses_own_name_stays_in_it(house, model):
    first = await Talk(house).say("Hello.")
    stranger = Talk(house, conversation=first.conversation)
    stranger.messages = [user("Good day."), assistant("Indeed?")]

    on = await stranger.say("Yes.")
    further = await stranger.say("And so on.")

    assert ("Rebuild", "Continue") == (on.plan, further.plan)
    assert {first.conversation} == {on.conversation, further.conversation}
    assert stranger.messages[:-1] == shown(model)


@pytest.mark.parametrize("where", ["before the first word", "in the middle"])
async def test_a_name_whose_first_turn_came_to_nothing_can_be_gone_on_with(house, model, where):
    model.trouble = UpstreamRefused("No.", heard=True)
    talk = Talk(house)
    ask = Ask(model="librarian", transcript=Transcript([user("Hello.")]))
    async with aclosing(house.converse()(ask)) as events:
        began = await anext(events)
        if where == "in the middle":
            with pytest.raises(UpstreamRefused):
                await anext(events)
    model.trouble = None

    talk.how = {"conversation": began.conversation}
    first = await talk.say("Hello.")
    second = await talk.say("Go on.")
    third = await talk.copied().say("And without its name.")

    assert ["Start", "Continue", "Continue"] == [each.plan for each in (first, second, third)]
    assert {began.conversation} == {each.conversation for each in (first, second, third)}


def changed(name):
    """The last digit of its seal."""
    return name[:-1] + ("0" if name[-1] != "0" else "1")


@pytest.mark.parametrize("memory", [Memory.ON, Memory.READ])
async def test_foreign_forged_and_unknown_names_are_refused_in_the_same_words(house, model, memory):
    mine = (await Talk(house, person="Ada").say("Hello.")).conversation
    theirs = (await Talk(house, person="Ben").say("Hello.")).conversation
    other = Principal(PrincipalId("other"))
    foreign = (await Talk(house, principal=other, person="Ada").say("Hello.")).conversation
    before, asked = rows(house), len(model.prompts)

    words = set()
    for name in (theirs, foreign, changed(mine), f"conv_{'0' * 24}", f"conv_{'0' * 32}", mine[:-8]):
        for spoken in ([user("Hello.")], [user("Hello."), assistant("Answer 2."), user("Go on.")]):
            with pytest.raises(UnknownConversation) as refused:
                await taken(house, *spoken, person="Ada", conversation=name, memory=memory)
            words.add(str(refused.value).replace(name, "it"))

    assert 1 == len(words)
    assert (before, asked) == (rows(house), len(model.prompts))


# The client names the message that it goes on from


async def test_a_reply_that_reads_differently_now_is_known_by_its_name(house, model):
    """The client shows an answer in its own way: cut, or without what it thinks is reasoning."""
    talk = Talk(house, conversation="my chat")
    first = await talk.say("Hello.", reply_name="msg_1")
    talk.messages[-1] = assistant("Answer")

    on = await talk.say("Go on.", goes_on_from="msg_1", reply_name="msg_2")
    further = await talk.say("Further.", goes_on_from="msg_2")

    assert ["Rebuild", "Continue"] == [on.plan, further.plan]
    assert {first.conversation} == {on.conversation, further.conversation}
    assert talk.messages[:-1] == shown(model)
    assert 3 == len(await path_of(house, further))


async def test_a_name_that_nobody_gave_is_no_hindrance(house):
    talk = Talk(house, conversation="my chat")
    await talk.say("Hello.", reply_name="msg_1")

    assert "Continue" == (await talk.say("Go on.", goes_on_from="msg_9")).plan


async def path_of(house, began):
    """The turns from the newest of a conversation to its root."""
    with sqlite3.connect(house.database().path) as connection:
        (number,) = connection.execute("SELECT number FROM turn WHERE id = ?", (began.turn,)).fetchone()
    return await house.conversations().path(number, 100)


# A chat whose beginning is no longer sent

LOST = "The gate's code is 4711."
KEPT = "The gate is painted green."


async def long_talk(house, **how):
    talk = Talk(house, **how)
    for text in (LOST, KEPT, "How is the weather?"):
        await talk.say(text)
    return talk


async def test_a_window_stays_in_its_conversation_and_is_shown_as_sent(house, model):
    talk = await long_talk(house, conversation="my chat")
    first = talk.copied(conversation="my chat")
    del talk.messages[:2]

    on = await talk.say("What is the gate's code?")
    del talk.messages[:2]
    further = await talk.say("And its colour?")

    assert ("Rebuild", "Rebuild") == (on.plan, further.plan)
    assert talk.messages[:-1] == shown(model)
    assert on.conversation == further.conversation == (await first.say("Whole.")).conversation


async def test_what_was_cut_off_is_recalled_and_what_is_shown_is_not(house, model):
    talk = await long_talk(house, conversation="my chat")
    del talk.messages[:2]

    await talk.say("What is the code of the gate, and how is the gate painted?")

    assert "4711" in model.prompts[-1].system
    assert "painted green" not in model.prompts[-1].system


async def test_what_was_cut_off_is_recalled_while_the_window_stands_still(house, model):
    """Many clients cut a chat once in a while; in between it goes on as any other."""
    talk = await long_talk(house, conversation="my chat")
    del talk.messages[:2]
    await talk.say("Go on.")
    again = talk.copied(conversation="my chat")

    on = await talk.say("What is the code of the gate, and how is the gate painted?")
    told = model.prompts[-1].system
    other = await again.say("The gate's code and its paint, please.")

    assert ("Continue", "Branch") == (on.plan, other.plan)
    for system in (told, model.prompts[-1].system):
        assert "4711" in system
        assert "painted green" not in system


async def test_what_another_branch_said_is_not_recalled_beside_a_window(house, model):
    talk = await long_talk(house, conversation="my chat")
    left = talk.copied(conversation="my chat")
    await left.say("The gate's keeper is called Bertrand.")
    del talk.messages[:2]
    await talk.say("Go on.")

    await talk.say("Who is the keeper of the gate, and what is its code?")

    assert "4711" in model.prompts[-1].system
    assert "Bertrand" not in model.prompts[-1].system


async def test_a_window_goes_on_from_the_turn_it_ends_in(house):
    talk = await long_talk(house, conversation="my chat")
    del talk.messages[:3]  # in the middle of a turn

    on = await talk.say("Go on.")

    assert 4 == len(await path_of(house, on))


async def test_no_overlap_at_all_is_a_new_first_branch(house, model):
    first = await Talk(house, conversation="my chat").say("Hello.")
    other = Talk(house, conversation="my chat")
    other.messages = [user("Something else."), assistant("Quite.")]

    on = await other.say("Go on.")

    assert ("Rebuild", first.conversation) == (on.plan, on.conversation)
    assert 1 == len(await path_of(house, on))
    assert other.messages[:-1] == shown(model)


async def test_without_a_key_a_window_is_a_new_conversation(house):
    talk = await long_talk(house)
    first = await talk.copied().say("Whole.")
    del talk.messages[:2]

    on = await talk.say("Go on.")

    assert "Rebuild" == on.plan
    assert first.conversation != on.conversation


async def test_an_edit_deep_in_a_chat_stays_in_its_conversation(house, model):
    talk = await long_talk(house)
    first = await talk.copied().say("Whole.")
    talk.messages[3] = assistant("Somebody wrote this here.")

    on = await talk.say("Go on.")

    assert ("Rebuild", first.conversation) == (on.plan, on.conversation)
    assert 2 == len(await path_of(house, on))  # the turn that is shared, and this one
    assert talk.messages[:-1] == shown(model)


# Edits, regenerates, prefill


async def test_an_edit_branches_and_both_branches_go_on(house, model):
    talk = Talk(house)
    await talk.say("Hello.")
    edited = talk.copied()
    await talk.say("One way.")

    other = await edited.say("Another way.")
    on = await talk.say("Further.")
    further = await edited.say("Further.")

    assert ["Branch", "Continue", "Continue"] == [each.plan for each in (other, on, further)]
    assert 1 == len({each.conversation for each in (other, on, further)})
    assert edited.messages[:-1] == shown(model)


async def test_a_regenerate_is_answered_anew(house, model):
    talk = Talk(house)
    await talk.say("Hello.")
    again = talk.copied()
    await talk.say("Go on.")

    other = await again.say("Go on.")

    assert "Branch" == other.plan
    assert again.messages[:-1] == shown(model)
    assert talk.messages[-1] != again.messages[-1]


async def test_a_reply_that_the_client_began_is_carried_on_and_gone_on_from(house, model):
    talk = Talk(house)
    first = await talk.say("Hello.")
    talk.messages += [user("Count."), assistant("One, ")]
    begun = await talk.send()
    assert talk.messages[:-1] == shown(model)
    *before, began, said = talk.messages
    talk.messages = [*before, assistant(began.text + said.text)]

    on = await talk.say("And now?")

    assert ["Continue", "Continue"] == [begun.plan, on.plan]
    assert {first.conversation} == {begun.conversation, on.conversation}
    assert talk.messages[:-1] == shown(model)


async def test_the_clients_system_message_is_no_part_of_the_chat(house, model):
    talk = Talk(house)
    first = await talk.say("Hello.")
    talk.messages.insert(0, Message(Role.SYSTEM, "It is noon."))
    second = await talk.say("Go on.")
    talk.messages[0] = Message(Role.SYSTEM, "It is night.")

    third = await talk.say("And on.")

    assert ["Continue"] * 2 == [second.plan, third.plan]
    assert 1 == len({each.conversation for each in (first, second, third)})
    assert talk.messages[1:-1] == shown(model)
    assert "It is night." in model.prompts[-1].system


# What is no chat

PLAIN = {
    "a task": ({"purpose": Purpose.TASK}, "Task"),
    "without memory": ({"purpose": Purpose.STATELESS, "memory": Memory.OFF}, "Stateless"),
    "reading memory": ({"memory": Memory.READ}, "Read"),
    "a person the key may not speak for": (
        {"principal": Principal(PrincipalId("local"), asserts_subject=False), "person": "Ada"},
        "Stateless",
    ),
    "nobody named where somebody must be": (
        {"principal": Principal(PrincipalId("local"), requires_subject=True)},
        "Stateless",
    ),
}


@pytest.mark.parametrize(("how", "plan"), PLAIN.values(), ids=PLAIN.keys())
async def test_it_leaves_nothing_behind_and_takes_no_seat(house, model, how, plan):
    known = Talk(house)
    await known.say("Hello.")
    before = rows(house)
    gate = model.hold()
    asking = asyncio.ensure_future(known.copied(**how).say("Remember me."))
    await model.asked.wait()
    seats = house.pool().taken, house.pool().waiting
    gate.set()
    began = await asking

    assert (plan, None) == (began.plan, began.conversation)
    assert (0, 0) == seats
    assert before == rows(house)
    assert () == tuple(model.prompts[-1].tools)


@pytest.mark.parametrize(("how", "plan"), PLAIN.values(), ids=PLAIN.keys())
async def test_the_chat_itself_goes_on_beside_it(house, how, plan):
    talk = Talk(house)
    await talk.say("Hello.")
    await talk.copied(**how).say("A title, please.")

    assert "Continue" == (await talk.say("Go on.")).plan


async def test_a_task_is_the_clients_messages_and_nothing_else(house, model):
    await Talk(house).say(LOST)

    spoken = Message(Role.SYSTEM, "Make titles."), user("The gate's code?")
    await taken(house, *spoken, purpose=Purpose.TASK, mode=Mode.PERSONA)

    assert "Make titles." == model.prompts[-1].system
    assert [user("The gate's code?")] == shown(model)


async def test_without_memory_the_manner_is_kept(house, model):
    await Talk(house).say(LOST)
    await noted(house, "Ada likes tea.")

    await Talk(house, purpose=Purpose.STATELESS, mode=Mode.PERSONA).say("The gate's code?")

    assert MANNER[Mode.PERSONA] in model.prompts[-1].system
    assert WITHOUT_MEMORY in model.prompts[-1].system
    assert "4711" not in model.prompts[-1].system
    assert "Ada likes tea." not in model.prompts[-1].system


async def test_memory_that_is_only_read_is_shown(house, model):
    await Talk(house).say(LOST)
    await noted(house, "Ada likes tea.")

    await Talk(house, memory=Memory.READ, mode=Mode.PERSONA).say("The gate's code?")

    assert MANNER[Mode.PERSONA] in model.prompts[-1].system
    assert READ_ONLY in model.prompts[-1].system
    assert "4711" in model.prompts[-1].system
    assert "Ada likes tea." in model.prompts[-1].system


async def test_of_memory_that_is_only_read_a_chat_is_not_told_what_it_shows(house, model):
    talk = Talk(house)
    await talk.say(LOST)

    await talk.copied(memory=Memory.READ).say("The gate's code?")

    assert "4711" not in model.prompts[-1].system


async def noted(house, fact):
    memory = house.memory()
    agent = await memory.agent(AgentKey("librarian", owner_of(LOCAL)), DEFAULT_BLOCKS)
    await memory.edit(agent, Append("human", fact), Provenance(Author.PERSON, house.clock().now_s()))
