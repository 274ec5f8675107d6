"""What can be asked for."""

from pytest_bdd import given, parsers, then, when

from librarian.domain.catalog import ModelCard


@given(parsers.parse('the upstream lists the models "{one}" and "{other}"'))
def lists(world, one, other):
    world.model.cards = (ModelCard(one), ModelCard(other))


@when(parsers.parse("{person:w} looks at the catalog"), target_fixture="names")
def looks(world, person):
    return [entry.name for entry in world.run(world.house.models()()).entries()]


@then(parsers.re(r"it holds (?P<listed>.*)"))
def holds(names, listed):
    assert {name.strip().strip('"') for name in listed.split(",")} <= set(names)


@then(parsers.parse('the answer was spoken by the model "{name}"'))
def spoken_by(world, name):
    assert name == world.model.prompts[-1].model
