"""Counting tokens: as tiktoken does it, on any machine, and in linear time."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from random import Random
from threading import Barrier

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st

from librarian.adapters.tokens.counter import TiktokenCounter, encoding_name

# What tiktoken pins, and the names under which it looks for the files before it would fetch them.
PINNED = {
    "cl100k_base": (
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    ),
    "o200k_base": (
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "fb374d419588a4632f3f557e76b4b70aebbca790",
    ),
}
MODELS = {"cl100k_base": "gpt-4", "o200k_base": "gpt-4o"}

encodings = pytest.mark.parametrize("encoding", sorted(PINNED))

prose = st.text(alphabet="aAéßłя我のक\u093e't s.,;!?-_()[]{}/\\'’ \n\r\t0123456789²½🙂，。<|>")
texts = st.one_of(st.text(), prose, st.builds(lambda text, times: (text + "a ") * times, prose, st.integers(1, 2_000)))


@pytest.fixture(scope="module")
def counter():
    return TiktokenCounter()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """tiktoken's own encodings, from a cache folder made of the packaged files."""
    cache = tmp_path_factory.mktemp("tiktoken")
    for encoding, (_, name) in PINNED.items():
        (cache / name).write_bytes(ranks_of(encoding))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return {encoding: tiktoken.get_encoding(encoding) for encoding in PINNED}


def ranks_of(encoding):
    return (files("librarian.adapters.tokens") / "data" / f"{encoding}.tiktoken").read_bytes()


@encodings
def test_the_packaged_ranks_are_the_pinned_ones(encoding):
    sha256, _ = PINNED[encoding]

    assert sha256 == hashlib.sha256(ranks_of(encoding)).hexdigest()


@encodings
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("<|endoftext|>", 7),
    ],
)
def test_known_counts(counter, encoding, text, tokens):
    assert tokens == counter.count(text, MODELS[encoding])


@encodings
@given(text=texts)
@example(text="it's " * 3_000)
@example(text="don't1" * 3_000)
@example(text="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" * 500)
@example(text="我" * 3_990 + "。" * 20 + "你好，" * 3_000)
@example(text="x" * 3_999 + "'s " + "y" * 3_999 + "\u3000\n\n  z" * 1_000)
@example(text="\ud800 is half a character")
def test_the_count_is_tiktokens_own(counter, originals, encoding, text):
    assert len(originals[encoding].encode_ordinary(text)) == counter.count(text, MODELS[encoding])


@encodings
@pytest.mark.parametrize(
    "letters", ["a", "abcdefghijklmnopqrstuvwxyz", "我你他的是不了在有人", " ", "-=", "0123456789"]
)
def test_a_text_without_partings_is_off_by_two_tokens_a_cut_at_most(counter, originals, encoding, letters):
    text = "".join(Random(1922).choices(letters, k=200_000))  # noqa: S311 - the same examples every time
    cuts = len(text) // 8_000

    exact = len(originals[encoding].encode_ordinary(text))

    assert abs(exact - counter.count(text, MODELS[encoding])) <= 2 * cuts


@encodings
@pytest.mark.parametrize("character", ["a", " ", "我"])
def test_time_is_linear_in_the_length_of_one_word(counter, encoding, character):
    def seconds(length):
        counter.count("warm", MODELS[encoding])
        began = time.thread_time()
        counter.count(character * length, MODELS[encoding])
        return time.thread_time() - began

    short = min(seconds(50_000) for _ in range(3))
    long = min(seconds(200_000) for _ in range(3))

    assert long < 8 * short


def test_a_million_spaces_are_counted(counter):
    assert counter.count(" " * 1_000_000, "gpt-4o") > 0


@pytest.mark.usefixtures("socket_disabled")
def test_nothing_is_fetched_and_the_environment_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    counter = TiktokenCounter()

    assert counter.count("hello world", "gpt-4") == counter.count("hello world", "gpt-4o") == 2
    assert [] == list(tmp_path.iterdir())


def test_an_encoding_is_loaded_at_its_first_use():
    counter = TiktokenCounter()
    before = counter.loaded("gpt-4o")
    counter.count("hello", "gpt-4o")

    assert (before, counter.loaded("gpt-4o"), counter.loaded("gpt-4")) == (False, True, False)


def test_threads_that_begin_together_agree():
    counter = TiktokenCounter()
    together = Barrier(8)
    texts = [f"{number} bottles of beer on the wall, " * 20 for number in range(50)]

    def count(_):
        together.wait()
        return [counter.count(text, "gpt-4") for text in texts]

    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(count, range(8)))

    assert [counts[0]] * 8 == counts


@pytest.mark.parametrize("bound", [{"cached_texts": 2}, {"cached_chars": 12}])
def test_counts_stay_right_when_the_cache_forgets(counter, bound):
    small = TiktokenCounter(**bound)
    texts = ["one", "two two", "three three three", "one", "two two", "three three three"]

    assert [counter.count(text, "gpt-4") for text in texts] == [small.count(text, "gpt-4") for text in texts]


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo-16k", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo:house::1", "cl100k_base"),
        ("ft:gpt-4:house::1", "cl100k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("ft:gpt-4o:house::1", "o200k_base"),
        ("qwen3:8b", "o200k_base"),
        ("offline", "o200k_base"),
    ],
)
def test_the_encoding_of_a_model(model, encoding):
    assert encoding == encoding_name(model)
