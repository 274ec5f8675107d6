"""Every RecallIndex keeps to its port. Another one is added to INDEXES."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from librarian.adapters.recall.fts import HITS_LIMIT, FtsIndex
from librarian.adapters.recall.query import TERMS, match_of
from librarian.application.ports.recall import RecallIndex
from librarian.domain.conversation import ConversationId
from librarian.domain.errors import StoreUnavailable
from librarian.domain.identity import Owner, PrincipalId, Subject
from librarian.domain.recall import Entry, Search, Shelf
from librarian.domain.transcript import Role

ADA = Owner(PrincipalId("local"), Subject("user:ada")).id
BEN = Owner(PrincipalId("local"), Subject("user:ben")).id


def fts_in(folder, store="this one", **given_values):
    return FtsIndex(folder=folder / "recall", store=lambda: store, **given_values)


@asynccontextmanager
async def fts(folder) -> AsyncIterator[RecallIndex]:
    opened = fts_in(folder)
    yield opened
    await opened.aclose()


INDEXES = {"fts": fts}


@pytest.fixture(params=INDEXES)
async def index(request, tmp_path) -> AsyncIterator[RecallIndex]:
    async with INDEXES[request.param](tmp_path) as opened:
        yield opened


def said(number, text, role=Role.USER, at_s=None, conversation="conv_1"):
    at_s = float(number) if at_s is None else at_s
    return Entry(Shelf.SAID, number, text, at_s, role, ConversationId(conversation))


def put_by(number, text, *tags, at_s=None):
    return Entry(Shelf.PUT_BY, number, text, float(number) if at_s is None else at_s, tags=tags)


async def add(index, *entries, owner=ADA):
    for shelf in Shelf:
        mine = [entry for entry in entries if entry.shelf is shelf]
        if mine:
            await index.add(owner, shelf, mine, max(entry.number for entry in mine))


async def found(index, text, owner=ADA, **given_values):
    return [hit.entry.number for hit in await index.search(owner, Search(text, **given_values))]


async def test_nothing_is_indexed_at_first(index):
    assert 0 == await index.newest(ADA, Shelf.SAID)
    assert [] == await found(index, "cat")
    assert [] == await found(index, "")


async def test_an_entry_comes_back_whole(index):
    entries = (said(3, "My cat is called Bertrand."), put_by(4, "Ada keeps a cat.", "life", "cats"))
    await add(index, *entries)

    hits = await index.search(ADA, Search("Bertrand, the cat"))

    assert entries == tuple(hit.entry for hit in hits)
    assert hits[0].score > hits[1].score > 0


async def test_each_shelf_knows_how_far_it_reaches(index):
    await index.add(ADA, Shelf.SAID, [said(3, "My cat.")], 7)
    await index.add(ADA, Shelf.PUT_BY, [], 2)

    assert (7, 2) == (await index.newest(ADA, Shelf.SAID), await index.newest(ADA, Shelf.PUT_BY))
    assert 0 == await index.newest(BEN, Shelf.SAID)


async def test_adding_again_changes_nothing(index):
    entries = [said(1, "My cat."), said(1, "A cat, indeed.", Role.ASSISTANT), said(2, "My dog.")]
    await index.add(ADA, Shelf.SAID, entries, 9)

    await index.add(ADA, Shelf.SAID, entries[:2], 1)

    assert 9 == await index.newest(ADA, Shelf.SAID)
    assert [1, 1] == await found(index, "cat")


async def test_many_may_add_the_same_at_once(index):
    entries = [said(number, f"Cat {number}.") for number in range(1, 11)]

    await asyncio.gather(*(index.add(ADA, Shelf.SAID, entries, 10) for _ in range(8)))

    assert 10 == len(await found(index, "cat", limit=50))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("She was running home.", "who runs?"),
        ("We met in the café.", "CAFE"),
        ("Bertrand is a cat.", "What is Bertrand called?"),
        ("It is called snake_case.", "snake_case"),
        ("Он живёт в Москве.", "Москве"),
        ("東京 is large.", "東京"),
        ("He said “don't”.", "don't say that"),
    ],
)
async def test_words_are_found_in_other_forms(index, text, asked):
    await add(index, said(1, text), said(2, "Nothing of the kind."))

    assert [1] == await found(index, asked)


@pytest.mark.parametrize("asked", ["what is the", "?!", "🙂", "\x00", '"', "*", "  ' OR ", "-"])
async def test_where_there_is_no_word_to_look_for_nothing_is_found(index, asked):
    await add(index, said(1, "What is the OR of it? 🙂"))

    assert [] == await found(index, asked)


async def test_without_a_text_the_newest_come_first(index):
    await add(index, said(1, "One.", at_s=30.0), said(2, "Two.", at_s=10.0), put_by(3, "Three.", at_s=20.0))

    assert [1, 3, 2] == await found(index, "")
    assert [1, 3] == await found(index, " ", limit=2)


@pytest.mark.parametrize("text", ["cat", ""])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, {1, 2, 3, 4, 5}),
        ({"shelf": Shelf.SAID}, {1, 2}),
        ({"shelf": Shelf.PUT_BY}, {3, 4, 5}),
        ({"roles": (Role.ASSISTANT,)}, {2}),
        ({"roles": (Role.ASSISTANT, Role.USER)}, {1, 2}),
        ({"tags": ("life",)}, {3, 4}),
        ({"tags": ("life", "food")}, {3, 4, 5}),
        ({"tags": ("life", "food"), "all_tags": True}, {4}),
        ({"tags": ("life", "life"), "all_tags": True}, {3, 4}),
        ({"since_s": 2.0}, {2, 3, 4, 5}),
        ({"until_s": 2.0}, {1}),
        ({"since_s": 2.0, "until_s": 3.0}, {2}),
        ({"without": ConversationId("conv_2")}, {1, 3, 4, 5}),
        ({"limit": 0}, set()),
        ({"limit": -1}, set()),
    ],
)
async def test_a_search_keeps_to_what_is_wanted(index, text, wanted, expected):
    await add(
        index,
        said(1, "The cat."),
        said(2, "A cat.", Role.ASSISTANT, conversation="conv_2"),
        put_by(3, "Cat three.", "life"),
        put_by(4, "Cat four.", "food", "life"),
        put_by(5, "Cat five.", "food"),
    )

    assert expected == set(await found(index, text, **({"limit": 9} | wanted)))


async def test_no_more_than_a_few_hundred_are_found(index):
    await add(index, *(said(number, "A cat.") for number in range(1, HITS_LIMIT + 10)))

    assert HITS_LIMIT == len(await found(index, "cat", limit=10**9))
    assert HITS_LIMIT == len(await found(index, "", limit=10**9))


async def test_nobody_finds_what_is_somebody_elses(index):
    await add(index, said(1, "My cat is called Bertrand."), put_by(2, "Ada keeps a cat."), owner=ADA)

    assert [] == await found(index, "cat Bertrand", owner=BEN)
    assert [] == await found(index, "", owner=BEN)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters()))
async def test_nothing_that_is_asked_breaks_a_search(index, text):
    await add(index, said(1, "My cat is called Bertrand."))

    assert len(await found(index, text)) <= 1


def test_the_longest_words_are_looked_for_if_there_are_many():
    words = [f"word{'x' * length}" for length in range(40)]

    assert [f'"{word}"' for word in reversed(words[-TERMS:])] == match_of(" ".join(words)).split(" OR ")


async def test_an_index_outlives_the_house(tmp_path):
    async with fts(tmp_path) as index:
        await add(index, said(1, "My cat."))

    async with fts(tmp_path) as index:
        assert 1 == await index.newest(ADA, Shelf.SAID)
        assert [1] == await found(index, "cat")


async def test_a_file_that_cannot_be_read_is_begun_anew(tmp_path):
    async with fts(tmp_path) as index:
        await add(index, *(said(number, f"Cat number {number}.") for number in range(1, 500)))
    for file in (tmp_path / "recall").iterdir():
        file.write_bytes(b"What is this?")

    async with fts(tmp_path) as index:
        assert 0 == await index.newest(ADA, Shelf.SAID)
        await add(index, said(1, "Cat."))
        assert [1] == await found(index, "cat")


async def test_a_file_that_turns_out_to_be_broken_is_begun_anew(tmp_path):
    async with fts(tmp_path) as index:
        await add(index, *(said(number, f"Cat number {number}.") for number in range(1, 500)))
        with closing(sqlite3.connect(tmp_path / "recall" / f"{ADA.hex()}.db")) as file, file:
            file.execute("UPDATE words_data SET block = x'00ff' WHERE id > 10")

        assert [] == await found(index, "cat")
        assert 0 == await index.newest(ADA, Shelf.SAID)
        await add(index, said(1, "Cat."))
        assert [1] == await found(index, "cat")


async def test_what_was_indexed_of_another_store_is_forgotten(tmp_path):
    async with fts(tmp_path) as index:
        await add(index, said(1, "My cat."))
    other = fts_in(tmp_path, store="another one")

    assert 0 == await other.newest(ADA, Shelf.SAID)
    assert [] == await found(other, "cat")
    await other.aclose()


async def test_a_file_of_another_release_is_begun_anew(tmp_path):
    async with fts(tmp_path) as index:
        await add(index, said(1, "My cat."))
    with closing(sqlite3.connect(tmp_path / "recall" / f"{ADA.hex()}.db")) as file:
        file.execute("PRAGMA user_version = 99")

    async with fts(tmp_path) as index:
        assert 0 == await index.newest(ADA, Shelf.SAID)


async def test_few_files_are_open_at_once(tmp_path):
    index = fts_in(tmp_path, files_open=3)
    owners = [Owner(PrincipalId("local"), Subject(f"user:{number}")).id for number in range(20)]

    await asyncio.gather(*(add(index, said(1, f"Cat {owner.hex()}."), owner=owner) for owner in owners))
    everyone = await asyncio.gather(*(found(index, "cat", owner=owner) for owner in owners))

    assert [[1]] * 20 == everyone
    assert 3 >= len(list((tmp_path / "recall").glob("*-wal")))
    await index.aclose()


async def test_a_closed_index_says_so(tmp_path):
    async with fts(tmp_path) as index:
        pass

    with pytest.raises(StoreUnavailable):
        await found(index, "cat")


async def test_a_folder_that_cannot_be_made_is_an_error_of_the_house(tmp_path):
    (tmp_path / "recall").write_text("a file, not a folder")
    async with fts(tmp_path) as index:
        with pytest.raises(StoreUnavailable):
            await found(index, "cat")


async def test_what_is_forgotten_is_gone_and_only_of_that_owner(index):
    await add(index, said(1, "Her cat is called Bertrand."))
    await add(index, said(1, "His cat is called Ludwig."), owner=BEN)
    await index.forget(ADA)

    assert 0 == await index.newest(ADA, Shelf.SAID)
    assert () == tuple(await index.search(ADA, Search("cat")))
    assert 1 == len(await index.search(BEN, Search("cat")))
