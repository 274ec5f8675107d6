"""What `librarian doctor` says of a Letta server, in plain sentences."""

from email.utils import formatdate

import httpx
import pytest

from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.health import LettaHealth
from librarian.adapters.system.clock import SystemClock
from tests.wire.test_letta_client import Letta

BASE = "http://letta.test"


@pytest.fixture
def letta():
    server = Letta()
    answers(server, version="0.16.8", date=SystemClock().now_s())
    return server


def answers(server, *, version, date):
    dated = {"date": formatdate(date, usegmt=True)}
    server.on("GET", "/v1/health/", httpx.Response(200, headers=dated, json={"version": version, "status": "ok"}))
    server.on("GET", "/v1/models/", httpx.Response(200, json=[{"handle": "openai/a"}, {"handle": "openai/b"}]))
    server.on("GET", "/v1/models/embedding", httpx.Response(200, json=[{"handle": "openai/b"}]))


async def found(server, **handles):
    client = LettaClient(BASE, transport=server)
    finding = await LettaHealth(client=client, base_url=BASE, clock=SystemClock(), **handles).check()
    await client.aclose()
    return finding


async def test_all_is_well(letta):
    finding = await found(letta, model="openai/a", embedding="openai/b")

    assert (True, f"0.16.8 at {BASE}: 1 models, 1 for embeddings") == (finding.well, finding.detail)


@pytest.mark.parametrize("version", ["0.16.6", "0.8.17", ""])
async def test_one_that_is_too_old_is_refused_with_the_reason(letta, version):
    answers(letta, version=version, date=0)
    finding = await found(letta)

    assert (False, True) == (finding.well, finding.needed)
    assert "0.16.7 or later is needed" in finding.detail
    assert "cannot branch conversations" in finding.detail


async def test_a_clock_that_is_off_is_a_note(letta):
    answers(letta, version="0.16.8", date=SystemClock().now_s() - 3600)
    finding = await found(letta)

    assert (False, False) == (finding.well, finding.needed)
    assert "behind this machine's" in finding.detail


async def test_a_model_that_is_missing_is_named_with_what_there_is(letta):
    finding = await found(letta, model="openai/z")

    assert (False, True) == (finding.well, finding.needed)
    assert "The model `openai/z` is not on the Letta server. There are: openai/a." == finding.detail


async def test_an_embedding_model_that_is_missing_is_a_note(letta):
    finding = await found(letta, embedding="openai/z")

    assert (False, False) == (finding.well, finding.needed)
    assert "There are: openai/b." in finding.detail


async def test_a_refused_key_is_said_plainly(letta):
    letta.on("GET", "/v1/models/", httpx.Response(401, json={"detail": "Unauthorized"}))
    finding = await found(letta)

    assert not finding.well
    assert "refuses the key" in finding.detail
