"""Which server on this machine is a language model's."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from librarian.adapters.upstream.discovery import find_local
from tests.scripted.server import ScriptedServer


@pytest.fixture
def servers():
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedServer()) for _ in range(2)]


def listed(*names):
    return {"object": "list", "data": [{"id": name} for name in names]}


async def found(*places, **how):
    server = await find_local(places={f"place {n}": port for n, port in enumerate(places)}, patience_s=2, **how)
    return server and (server.name, server.base_url, [card.name for card in server.models])


async def test_a_server_that_lists_a_model(servers):
    assert ("place 0", servers[0].base_url, ["scripted"]) == await found(servers[0].port)


async def test_the_first_of_several(servers):
    assert "place 0" == (await found(servers[1].port, servers[0].port))[0]


@pytest.mark.parametrize("models", [listed(), listed("nomic-embed-text"), "nonsense", None])
async def test_a_server_without_a_model_that_speaks(servers, models):
    servers[0].listed = models

    assert "place 1" == (await found(servers[0].port, servers[1].port))[0]


async def test_not_our_own_port(servers):
    assert await found(servers[0].port, own_port=servers[0].port) is None


async def test_not_another_gateway_by_its_header(servers):
    servers[0].headers["server"] = "librarian"

    assert await found(servers[0].port) is None


async def test_not_another_gateway_by_its_greeting(servers):
    servers[0].service = {"service": "librarian"}
    servers[1].service = {"service": "something else"}

    assert "place 1" == (await found(servers[0].port, servers[1].port))[0]


async def test_nobody_there():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        assert await found(unused.getsockname()[1]) is None


async def test_a_server_that_is_silent_is_not_waited_for(servers):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        places = {"silent": silent.getsockname()[1], "here": servers[0].port}

        async with asyncio.timeout(5):
            server = await find_local(places=places, patience_s=0.3)

    assert "here" == server.name
