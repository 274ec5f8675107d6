"""What the librarian keeps."""

from pytest_bdd import given, parsers, then, when

from librarian.domain.errors import UpstreamRefused
from librarian.domain.identity import LOCAL, owner_of
from librarian.domain.memory import PATTERN_TAG
from librarian.domain.recall import Search, Shelf
from librarian.domain.turn import StopReason
from tests.fakes.overheard import called, ended


@given("a language model that knows no tools")
def without_tools(world):
    world.model.knows_tools = False


@given(parsers.parse('a language model that notes "{fact}" and then breaks off'))
def notes_and_breaks_off(world, fact):
    call = called("memory_insert", f'{{"label": "human", "new_string": "{fact}"}}')
    world.model.acts.append([call, ended(StopReason.TOOL_CALLS)])
    world.model.acts.append([UpstreamRefused("The model broke off.", heard=True)])


@when(parsers.parse("{person:w} tells {number:d} chats at once a fact each to remember"))
def tells_at_once(world, person, number):
    facts = [f"Remember that Ada keeps item {n * n} in locker {n}." for n in range(number)]
    answers = world.run(world.at_once(person, facts))
    assert [None] * number == [answer.refused for answer in answers]


@then(parsers.parse("the librarian has noted all {number:d} facts"))
def noted_all(world, number):
    noted = world.blocks("Ada")
    assert [] == [n for n in range(number) if f"item {n * n} in locker {n}." not in noted]


@then(parsers.parse('the librarian has noted "{fact}"'))
def noted(world, fact):
    assert fact in world.blocks("Ada")


@then("the librarian has nothing noted")
def nothing_noted(world):
    world.restart()  # by then, what had to be taken back has been
    assert "" == world.blocks("Ada")


@then("nothing of Ada's was shown to the librarian")
def nothing_shown(world):
    prompt = world.model.prompts[-1]
    assert "Bertrand" not in prompt.system
    assert not any("Bertrand" in message.text for message in prompt.messages)


@then(parsers.parse('the archive holds "{text}" as a pattern'))
def archive_holds(world, text):
    search = Search("", Shelf.PUT_BY, tags=(PATTERN_TAG,))
    hits = world.run(world.house.remember().search(owner_of(LOCAL, person="Ada"), search))
    assert any(text in hit.entry.text for hit in hits)
