"""Vectors over HTTP: what may be asked, in which forms they come, and OpenAI's own client reading them."""

import json
import struct
from base64 import b64decode

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.application.embed import Embed, Wanted
from librarian.application.engine.counting import Counting
from librarian.application.ports.embedder import Vectors
from librarian.domain.catalog import SHIPPED, Catalog, CatalogEntry, ModelCard
from librarian.domain.errors import UnknownModel, UpstreamBusy
from librarian.entrypoints.http.openai.embeddings import written
from tests.unit.edge_house import Fixtures, ScriptedConverse, front_door, request

PATH = "/v1/embeddings"
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


async def embeddings(sent, **more):
    fixtures = Fixtures(ScriptedConverse(), **more)
    return await request(front_door(fixtures), path=PATH, body=sent), fixtures


def asking(what="Hello.", **more):
    return {"model": "nomic", "input": what} | more


@pytest.mark.parametrize(
    ("sent", "texts"),
    [
        ("Hello.", ["Hello."]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (["x"] * 2048, ["x"] * 2048),
        ([7] * 8192, [[7] * 8192]),
    ],
)
async def test_texts_and_tokens(sent, texts):
    answer, fixtures = await embeddings(asking(sent, dimensions=2, user="ada", unheard_of=1))

    assert [Wanted(texts, "nomic", 2)] == fixtures.wanted
    assert {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": [0.25, -1.5]} for at in range(len(texts))],
        "model": "nomic",
        "usage": {"prompt_tokens": 2 * len(texts), "total_tokens": 2 * len(texts)},
    } == answer.json


async def test_base64_is_float32_the_small_end_first():
    answer, _ = await embeddings(asking(encoding_format="base64"))

    packed = answer.json["data"][0]["embedding"]
    assert (0.25, -1.5) == struct.unpack("<2f", b64decode(packed, validate=True))


@pytest.mark.parametrize("absent", [{}, {"encoding_format": None, "dimensions": None, "user": None}])
async def test_null_is_as_good_as_none(absent):
    answer, fixtures = await embeddings(asking(**absent))

    assert (200, [Wanted(["Hello."], "nomic")]) == (answer.status, fixtures.wanted)


@pytest.mark.parametrize(
    ("sent", "param", "code"),
    [
        ({"input": "a"}, "model", "missing_required_parameter"),
        ({"model": "m"}, "input", "missing_required_parameter"),
        (asking(""), "input", "invalid_value"),
        (asking(["a", ""]), "input.[1]", "invalid_value"),
        (asking([]), "input", "array_below_min_length"),
        (asking([[]]), "input.[0]", "array_below_min_length"),
        (asking([1, "a"]), "input", "invalid_type"),
        (asking(["a", [1]]), "input", "invalid_type"),
        (asking([1.5]), "input.[0]", "invalid_type"),
        (asking([-1]), "input.[0]", "integer_below_min_value"),
        (asking(None), "input", "invalid_type"),
        (asking(["a"] * 2049), "input", "array_above_max_length"),
        (asking([1] * 8193), "input", "array_above_max_length"),
        (asking([[1] * 8193]), "input.[0]", "array_above_max_length"),
        (asking(dimensions=0), "dimensions", "integer_below_min_value"),
        (asking(dimensions="8"), "dimensions", "invalid_type"),
        (asking(encoding_format="hex"), "encoding_format", "invalid_value"),
        (asking("a\0b"), "input", "invalid_value"),
        (asking(user=5), "user", "invalid_type"),
    ],
)
async def test_what_is_wrong_is_named(sent, param, code):
    answer, fixtures = await embeddings(sent)

    assert (400, "invalid_request_error", param, code) == (
        answer.status,
        *(answer.error[name] for name in ("type", "param", "code")),
    )
    assert [] == fixtures.wanted


async def test_no_such_model():
    answer, _ = await embeddings(asking(), trouble=UnknownModel("nomic"))

    assert (404, "model", "model_not_found") == (answer.status, answer.error["param"], answer.error["code"])


async def test_a_busy_model_is_asked_again():
    answer, _ = await embeddings(asking(), trouble=UpstreamBusy(3))

    assert (429, "true", "3") == (answer.status, answer.headers["x-should-retry"], answer.headers["retry-after"])


@given(values=st.lists(st.lists(FLOATS, min_size=1, max_size=8), min_size=1, max_size=5), tokens=st.integers(0, 10**9))
def test_openais_client_reads_what_was_meant(values, tokens):
    """It asks for base64 unless it is told otherwise."""
    asked = []

    def answer(sent):
        asked.append(json.loads(sent.content))
        packed = asked[-1]["encoding_format"] == "base64"
        return httpx2.Response(200, content=written(Vectors(values, tokens), "m", packed=packed))

    with openai.OpenAI(
        api_key="none",
        base_url="http://127.0.0.1/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    ) as client:
        read = client.embeddings.create(model="m", input=["a"] * len(values))
        plain = client.embeddings.create(model="m", input=["a"] * len(values), encoding_format="float")

    assert ["base64", "float"] == [each["encoding_format"] for each in asked]
    assert values == [one.embedding for one in read.data] == [one.embedding for one in plain.data]
    assert (tokens, tokens) == (read.usage.prompt_tokens, read.usage.total_tokens)


NAMED = (*SHIPPED, CatalogEntry("mine", model="large-embed"), CatalogEntry("poet", model="qwen3"))
CATALOG = Catalog(
    NAMED, {"ada-002": "librarian"}, [ModelCard("qwen3")], [ModelCard("small-embed"), ModelCard("large-embed")]
)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("librarian", "small-embed"),
        ("ada-002", "small-embed"),
        ("poet", "small-embed"),
        ("mine", "large-embed"),
        ("large-embed", "large-embed"),
        ("qwen3", "qwen3"),
    ],
)
def test_which_model_a_name_stands_for(name, model):
    assert model == CATALOG.embedder(name)


@pytest.mark.parametrize(("catalog", "name"), [(CATALOG, "nobody"), (Catalog(SHIPPED, {}, []), "librarian")])
def test_names_that_no_model_answers_to(catalog, name):
    with pytest.raises(UnknownModel):
        catalog.embedder(name)


def test_models_that_embed_are_offered_and_do_not_speak():
    assert ["small-embed", "large-embed"] == [entry.name for entry in CATALOG.offered()][-2:]
    assert "small-embed" == CATALOG.find("small-embed").name
    with pytest.raises(UnknownModel):
        CATALOG.resolve("small-embed")


class Counted:
    """An Embedder whose server does not count."""

    def __init__(self, error=None):
        self._error = error

    async def embed(self, texts, model, dimensions):
        if self._error is not None:
            raise self._error
        return Vectors([[1.0]] * len(texts), None)

    async def embedder(self, name):
        return f"{name}-embed"


class Letters:
    def count(self, text, model):
        return len(text)

    def loaded(self, model):
        return True


@pytest.mark.parametrize(("texts", "tokens"), [(["ab", "c"], 3), ([[1, 2], [3, 4, 5]], 5)])
async def test_what_nobody_counted_is_counted_here(texts, tokens):
    embed = Embed(embedder=Counted(), models=Counted(), counting=Counting(Letters()))

    assert tokens == (await embed(Wanted(texts, "m"))).tokens


async def test_an_unknown_model_is_named_as_it_was_asked_for():
    embed = Embed(embedder=Counted(UnknownModel("m-embed")), models=Counted(), counting=Counting(Letters()))

    with pytest.raises(UnknownModel, match="`m`"):
        await embed(Wanted(["a"], "m"))
