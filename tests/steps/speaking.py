"""What people say, and what the librarian was shown of it."""

from pytest_bdd import given, parsers, then, when

from librarian.domain.prompt import MANNER, Mode
from librarian.domain.transcript import Role, user
from librarian.domain.turn import TextSpoken
from tests.fakes.overheard import ended


@given(parsers.parse('{person:w} has told her librarian "{text}"'))
@given(parsers.parse('{person:w} has gone on with "{text}"'))
def told(world, person, text):
    world.tell(person, text)
    assert world.answer.refused is None


@given(parsers.parse('in another chat, {person:w} has told her librarian "{text}"'))
def told_elsewhere(world, person, text):
    world.tell(person, text, chat="another")


@given("the house was restarted")
def restarted(world):
    world.restart()


@given(parsers.parse('{person:w}\'s client says "{text}" before every chat'))
@when(parsers.parse('{person:w}\'s client says "{text}" before every chat'))
def client_says(world, person, text):
    world.system[person] = text


@given(parsers.parse("the language model can hold only {tokens:d} tokens at once"))
def small_window(world, tokens):
    world.settings["windows_tokens"] = {"*": tokens}


@given(parsers.parse('{person:w} has talked with her librarian for a long time, beginning with "{text}"'))
def talked_long(world, person, text):
    world.tell(person, text)
    for number in range(12):
        world.tell(person, f"Remark {number}: " + "the sea is wide and the road is long. " * 40)
        assert world.answer.refused is None


@when(parsers.parse('{person:w} asks "{text}", repeating all that went before'))
@when(parsers.parse('{person:w} asks "{text}"'))
def asks(world, person, text):
    world.tell(person, text)


@when(parsers.parse('{person:w} asks "{text}" of "{model}", repeating all that went before'))
@when(parsers.parse('{person:w} asks "{text}" of "{model}"'))
def asks_of(world, person, text, model):
    world.tell(person, text, model=model)


@when(parsers.parse('in a new chat, {person:w} asks "{text}" of "{model}"'))
def asks_anew_of(world, person, text, model):
    world.tell(person, text, chat="new", model=model)


@when(parsers.parse('in a new chat, {person:w} asks "{text}"'))
def asks_anew(world, person, text):
    world.tell(person, text, chat="new")


@when(parsers.parse('{person:w} changes that to "{text}"'))
def edits(world, person, text):
    del world.chat(person).messages[-2:]
    world.tell(person, text)


@when(parsers.parse('{person:w} listens to the answer to "{text}"'))
def listens(world, person, text):
    world.tell(person, text, stream=True)


@when(parsers.parse('{person:w} listens to the answer to "{text}", and wants to know what it took'))
def listens_and_counts(world, person, text):
    world.tell(person, text, stream=True, usage=True)


@given(parsers.re(r'a language model that says (?P<words>".*")(?P<breaks> and breaks off)?$'))
def model_says(world, words, breaks):
    from librarian.domain.errors import UpstreamRefused  # noqa: PLC0415

    pieces = [TextSpoken((word.strip().strip('"'),)) for word in words.split(",")]
    end = UpstreamRefused("The model broke off.", heard=True) if breaks else ended()
    world.model.acts.append([*pieces, end])


@given(parsers.parse('a language model that thinks "{thought}" and says "{words}"'))
def model_thinks(world, thought, words):
    from librarian.domain.turn import Reasoned  # noqa: PLC0415

    world.model.acts.append([Reasoned((thought,)), TextSpoken((words,)), ended()])


@then("the librarian was shown each message of the copy once, in order")
def copy_shown_once(world):
    shown_once(world, "copy")


@then("the librarian was shown each message of the chat once, in order")
def shown_once(world, name="first"):
    chat = world.chat("Ada", name).messages
    sent = chat[:-1] if chat[-1].role is Role.ASSISTANT else chat
    shown = [message for message in world.model.prompts[-1].messages if not _hidden(message, sent)]
    assert [(m.role, m.text) for m in sent] == [(m.role, m.text) for m in shown]


@given(parsers.parse('{person:w}\'s client calls the chat "{name}"'))
def names_the_chat(world, person, name):
    world.chat(person).name = name


@when(parsers.parse('{person:w}\'s client copies the chat and calls the copy "{name}"'))
def copies_the_chat(world, person, name):
    copy = world.chat(person, "copy")
    copy.messages = list(world.chat(person).messages)
    copy.name = name


@when(parsers.parse('in the copy, {person:w} asks "{text}"'))
def asks_in_the_copy(world, person, text):
    world.tell(person, text, chat="copy")


@when(parsers.parse("{person:w}'s client no longer sends how the chat began"))
def cuts_the_chat(world, person):
    del world.chat(person).messages[:2]


@when(parsers.parse('{person:w} asks "{text}" and wants {number:d} answers'))
def asks_for_several(world, person, text, number):
    world.tell(person, text, n=number)
    assert number == len(set(world.answer.choices))


@when(parsers.parse('{person:w} goes on from the second with "{text}"'))
def goes_on_from_the_second(world, person, text):
    chat = world.chat(person)
    chat.messages[-1] = chat.messages[-1]._replace(text=world.answer.choices[1])
    world.tell(person, text)


@then("the copy is a conversation of its own")
def copy_is_its_own(world):
    (copy,) = world.chat("Ada", "copy").conversations
    assert copy not in (None, *world.chat("Ada").conversations)


@then("it is the same conversation")
def same_conversation(world):
    first, *rest = world.chat("Ada").conversations
    assert first is not None
    assert {first} == {first, *rest}


@then(parsers.parse('nobody was shown "{one}" after "{other}"'))
def not_shown_after(world, one, other):
    shown = [m.text for m in world.model.prompts[-1].messages]
    assert other in shown
    assert one not in shown


@then(parsers.parse('the librarian was told "{text}"'))
def was_told(world, text):
    assert text in world.model.prompts[-1].system


@then(parsers.parse('the librarian was not told "{text}"'))
def was_not_told(world, text):
    assert text not in world.model.prompts[-1].system


@then(parsers.parse('the librarian was shown "{text}" last'))
def shown_last(world, text):
    assert user(text) == world.model.prompts[-1].messages[-1]


@then(parsers.parse("the librarian was told to answer as a {manner}"))
def told_manner(world, manner):
    assert MANNER[Mode(manner)] in world.model.prompts[-1].system


@then("the librarian was told to decide by itself")
def told_to_decide(world):
    assert MANNER[Mode.AUTO] in world.model.prompts[-1].system


@then(parsers.parse("{person:w} is answered"))
def answered(world, person):
    assert world.answer.refused is None
    assert world.answer.text


@then(parsers.parse('the answer speaks of "{text}"'))
def speaks_of(world, text):
    assert text in world.answer.text


@then(parsers.parse('the answer does not speak of "{text}"'))
def does_not_speak_of(world, text):
    assert world.answer.refused is None
    assert text not in world.answer.text


@then(parsers.parse('{person:w} heard "{text}" in more than one piece'))
def heard_pieces(world, person, text):
    assert text == world.answer.text
    assert len(world.answer.pieces) > 1


@then(parsers.parse('{person:w} heard "{text}"'))
def heard(world, person, text):
    assert text == world.answer.text


@then("the answer came to its end")
def came_to_its_end(world):
    assert "stop" == world.answer.finish


@then(parsers.parse("{person:w} is told how many tokens it took"))
def told_usage(world, person):
    assert world.answer.usage is not None
    assert world.answer.usage.input_tokens > 0
    assert world.answer.usage.output_tokens > 0


def _hidden(message, sent):
    """The house's own steps stand beside the transcript."""
    theirs = {call.id for m in sent for call in m.calls}
    if message.role is Role.TOOL:
        return message.answers not in theirs
    return bool(message.calls) and not {call.id for call in message.calls} <= theirs
