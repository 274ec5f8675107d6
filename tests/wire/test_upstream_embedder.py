"""An embedding model's server on loopback: what it is asked, what it answers, and what can go wrong with it."""

import json
import struct
from base64 import b64encode

import pytest

from librarian.adapters.upstream import listing
from librarian.adapters.upstream.embedder import ChosenEmbedder, UpstreamEmbedder, nowhere
from librarian.application.ports.embedder import Vectors
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import InvalidRequest, LibrarianError, UnknownModel, UpstreamBusy, UpstreamRefused
from tests.scripted.server import vector

KEY = "sekret-key-0123456789"


@pytest.fixture
async def upstream(scripted_model):
    embedder = UpstreamEmbedder(base_url=scripted_model.base_url, api_key=KEY, first_event_s=5)
    yield embedder
    await embedder.aclose()


def data(*vectors, usage=None):
    listed = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    return {"object": "list", "data": listed, "model": "m"} | ({"usage": usage} if usage else {})


def complaint(message, **more):
    return {"error": {"message": message, **more}}


async def refused(embedder, texts=("a",)):
    with pytest.raises(LibrarianError) as error:
        await embedder.embed(texts, "m", None)
    assert KEY not in str(error.value)
    return error.value


async def test_a_vector_for_each_text(upstream, scripted_model):
    assert Vectors([vector("a"), vector("b")], 2) == await upstream.embed(["a", "b"], "m", None)
    assert [{"model": "m", "input": ["a", "b"], "encoding_format": "float"}] == scripted_model.embedded


async def test_tokens_and_dimensions_are_passed_on(upstream, scripted_model):
    await upstream.embed([[1, 2], [3]], "m", 8)

    asked = {"model": "m", "input": [[1, 2], [3]], "encoding_format": "float", "dimensions": 8}
    assert [asked] == scripted_model.embedded


async def test_vectors_out_of_order_and_in_base64(upstream, scripted_model):
    packed = b64encode(struct.pack("<2f", 0.5, -2)).decode()
    answer = data([1.0], packed)
    scripted_model.embeddings.append((200, answer | {"data": answer["data"][::-1]}))

    assert Vectors([[1.0], (0.5, -2.0)], None) == await upstream.embed(["a", "b"], "m", None)


async def test_vectors_without_numbers_of_their_own(upstream, scripted_model):
    scripted_model.embeddings.append((200, {"data": [{"embedding": [1]}, {"embedding": [2]}], "usage": {}}))

    assert Vectors([[1.0], [2.0]], None) == await upstream.embed(["a", "b"], "m", None)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "The model `m` does not exist"),
        (404, "model 'm' not found, try pulling it first"),
        (403, "You are not allowed to generate embeddings from this model"),
        (501, "This server does not support embeddings"),
        (400, "The model does not support Embeddings API"),
        (500, "this model does not support embeddings"),
        (405, "Method Not Allowed"),
        (404, "Not Found"),
    ],
)
async def test_no_model_that_embeds(upstream, scripted_model, status, message):
    scripted_model.embeddings.append((status, complaint(message)))

    assert isinstance(await refused(upstream), UnknownModel)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, complaint("The input is bad.", param="input", code="bad"), InvalidRequest),
        (401, complaint(f"Wrong key {KEY}."), UpstreamRefused),
        (429, complaint("Slowly."), UpstreamBusy),
        (500, complaint("Oh dear."), UpstreamRefused),
        (200, data([1.0], [2.0]), UpstreamRefused),
        (200, {"data": "none"}, UpstreamRefused),
        (200, data("no base64!"), UpstreamRefused),
    ],
)
async def test_what_else_goes_wrong(upstream, scripted_model, status, said, kind):
    scripted_model.embeddings.append((status, said))

    assert isinstance(await refused(upstream), kind)


async def test_what_is_too_long_is_the_input(upstream, scripted_model):
    scripted_model.embeddings.append((400, complaint("This model's maximum context length is 8192 tokens.")))

    error = await refused(upstream)

    assert ("input", "context_length_exceeded") == (error.param, error.code)


async def test_what_is_no_unicode(upstream):
    assert "input" == (await refused(upstream, ["\ud800"])).param


async def test_the_default_is_listed_first(scripted_model):
    names = ("a", "nomic-embed-text", "BAAI/bge-m3", "b")
    scripted_model.listed = {"data": [{"id": name, "created": 3} for name in names]}
    listed = (ModelCard("nomic-embed-text", None, 3), ModelCard("BAAI/bge-m3", None, 3))

    for configured, expected in (
        (None, listed),
        ("BAAI/bge-m3", listed[::-1]),
        ("b", (ModelCard("b"), *listed)),
    ):
        embedder = UpstreamEmbedder(base_url=scripted_model.base_url, model=configured)
        assert expected == tuple(await embedder.models())
        await embedder.aclose()


async def test_a_server_that_lists_nothing(upstream, scripted_model):
    scripted_model.listed = None

    assert () == tuple(await upstream.models())


async def test_a_list_that_is_refused(upstream, scripted_model):
    scripted_model.listing_status = 401

    with pytest.raises(UpstreamRefused):
        await upstream.models()


async def test_where_there_is_no_server_nothing_embeds():
    embedder = ChosenEmbedder(place=nowhere, at=UpstreamEmbedder)

    assert () == tuple(await embedder.models())
    assert isinstance(await refused(embedder), UnknownModel)
    await embedder.aclose()


async def test_the_server_that_was_chosen_embeds(scripted_model):
    async def place():
        return scripted_model.base_url

    embedder = ChosenEmbedder(place=place, at=UpstreamEmbedder)

    assert Vectors([vector("a")], 1) == await embedder.embed(["a"], "m", None)
    await embedder.aclose()


@pytest.mark.parametrize(
    "name", ["text-embedding-3-small", "bge-m3", "intfloat/e5-large", "thenlper/gte-base", "all-minilm"]
)
def test_models_that_embed_by_their_names(name):
    listed = json.dumps({"data": [{"id": name}]}).encode()

    assert (ModelCard(name),) == listing.embedders(listed)
    assert () == listing.to_domain(listed)


@pytest.mark.parametrize("name", ["qwen3", "claude-5", "gemma3-27b", "orge-7b"])
def test_models_that_speak_by_their_names(name):
    listed = json.dumps({"data": [{"id": name}]}).encode()

    assert () == listing.embedders(listed)
