"""Cutting what is said at stop sequences."""

from hypothesis import given
from hypothesis import strategies as st

from librarian.domain.stops import Stops

LETTERS = st.text(alphabet="ab", max_size=12)


def cut(pieces, sequences):
    stops = Stops(sequences)
    said = "".join(stops.feed(piece) for piece in pieces)
    return said + ("" if stops.stopped else stops.rest()), stops.stopped


@given(st.lists(LETTERS, max_size=6), st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=3))
def test_text_is_cut_at_the_first_sequence_however_it_comes(pieces, sequences):
    text = "".join(pieces)
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in sequences if stop in text]

    said, stopped = cut(pieces, sequences)

    assert ((text[: min(found)[1]], True) if found else (text, False)) == (said, stopped)


def test_nothing_is_held_back_that_cannot_be_a_beginning():
    stops = Stops(["END"])

    assert ["Hello ", "world ", "E-"] == [stops.feed("Hello "), stops.feed("world E"), stops.feed("-")]


def test_no_sequences_cut_nothing():
    assert ("a\nb", False) == cut(["a\n", "b"], [""])
