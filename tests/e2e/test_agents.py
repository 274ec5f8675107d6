"""`librarian agents` and /librarian/agents, on a house of its own."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest

from librarian.container import House
from librarian.settings import Settings
from tests.unit.edge_house import request

AGENTS = "/librarian/agents"


@pytest.fixture
def cli(tmp_path):
    house = {"LIBRARIAN_DATA_DIR": str(tmp_path / "data"), "LIBRARIAN_UPSTREAM__DISCOVER": "false"}
    plain = {"TERM": "dumb", "COLUMNS": "200", "NO_COLOR": "1"}

    def run(*arguments, said=""):
        done = subprocess.run(
            [sys.executable, "-m", "librarian", *arguments],
            cwd=tmp_path,
            env=os.environ | house | plain,
            input=said,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    return run


class Done(NamedTuple):
    exit_code: int
    output: str


def test_the_command_line(cli):
    assert "done: " in cli("bootstrap").output
    assert "Nothing was changed." in cli("bootstrap").output
    ada = cli("agents", "create", "--person", "Ada").output.split()[0]
    listed = json.loads(cli("agents", "list", "--json").output)
    assert ["self:local", "user:Ada"] == [agent["subject"] for agent in listed]
    assert "paused" in cli("agents", "pause", ada).output
    assert "paused" in cli("agents", "show", ada).output
    assert "active" in cli("agents", "pause", ada, "--off").output
    assert "Likes tea." in cli("agents", "blocks", ada, "--set", "human", said="Likes tea.").output
    assert "Likes tea." in cli("agents", "blocks", ada).output
    assert "By the sea." in cli("agents", "passages", ada, "--add", "By the sea.", "--tag", "birth").output
    assert "birth" in cli("agents", "passages", ada).output
    assert "is deleted" in cli("agents", "passages", ada, "--delete", "1").output
    assert "Nothing." in cli("agents", "passages", ada).output
    assert "its memory is kept" in cli("agents", "retire", ada).output
    refused = cli("agents", "pause", ada)
    assert 1 == refused.exit_code
    assert "retired" in refused.output


def test_what_is_not_there_is_said_in_a_line(cli):
    answer = cli("agents", "show", "agent-1")

    assert 1 == answer.exit_code
    assert "librarian: There is no agent `agent-1`.\n" == answer.output


@pytest.fixture
async def door(tmp_path):
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path, upstream={"discover": False}))
    yield house.front_door()
    await house.lifetime().aclose()


async def test_over_http(door):
    made = await request(door, path=AGENTS, body={"person": "Ada"})
    at = f"{AGENTS}/{made.json['id']}"
    assert (201, "Ada", "active") == (made.status, made.json["person"], made.json["state"])
    assert 200 == (await request(door, path=AGENTS, body={"person": "Ada"})).status
    assert [made.json] == (await request(door, "GET", AGENTS)).json["data"]
    assert "paused" == (await request(door, "PATCH", at, body={"state": "paused"})).json["state"]
    hello = {"model": "librarian", "messages": [{"role": "user", "content": "Hello."}], "user": "Ada"}
    refused = await request(door, body=hello)
    assert (403, "agent_paused") == (refused.status, refused.error["code"])
    assert "active" == (await request(door, "PATCH", at, body={"state": "active"})).json["state"]
    edited = await request(door, "PUT", f"{at}/blocks/human", body={"value": "Likes tea."})
    assert "Likes tea." == edited.json["value"]
    assert 400 == (await request(door, "PUT", f"{at}/blocks/human", body={"value": "x" * 30_000})).status
    assert 201 == (await request(door, path=f"{at}/passages", body={"text": "By the sea.", "tags": ["birth"]})).status
    (passage,) = (await request(door, "GET", f"{at}/passages")).json["data"]
    assert ["birth"] == passage["tags"]
    assert (await request(door, "DELETE", f"{at}/passages/{passage['number']}")).json["deleted"]
    assert 404 == (await request(door, "DELETE", f"{at}/passages/{passage['number']}")).status
    assert "retired" == (await request(door, "DELETE", at)).json["state"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"{AGENTS}/agent-1", b"", 404),
        ("POST", AGENTS, {"template": "nobody"}, 400),
        ("POST", AGENTS, {"person": "", "more": 1}, 400),
        ("POST", AGENTS, b"{", 400),
        ("PATCH", f"{AGENTS}/agent-1", {"state": "retired"}, 400),
        ("PUT", AGENTS, {"person": "Ada"}, 405),
        ("GET", f"{AGENTS}/{'x' * 65}", b"", 400),
        ("DELETE", f"{AGENTS}/agent-1/passages/x", b"", 400),
    ],
)
async def test_what_is_wrong_is_refused_in_the_envelope(door, method, path, body, status):
    answer = await request(door, method, path, body=body)

    assert status == answer.status
    assert {"message", "type", "param", "code"} == answer.error.keys()


async def test_no_page_of_another_origin_and_nothing_but_json(door):
    far = await request(door, "GET", AGENTS, headers={"host": "librarian.example"})
    origin = await request(door, "GET", AGENTS, more=[("origin", "https://example.com")])
    form = await request(
        door, path=AGENTS, body=b"person=Ada", headers={"host": "127.0.0.1", "content-type": "text/plain"}
    )

    assert [403, 403, 415] == [far.status, origin.status, form.status]


async def test_with_a_key_only_with_it(tmp_path):
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path, api_key="lib_1", upstream={"discover": False}))
    door = house.front_door()
    stranger = await request(door, "GET", AGENTS)
    known = await request(door, "GET", AGENTS, more=[("authorization", "Bearer lib_1")])
    await house.lifetime().aclose()

    assert [401, 200] == [stranger.status, known.status]


async def test_a_large_body_is_refused(tmp_path):
    chosen = {"data_dir": tmp_path, "http": {"body_limit_bytes": 1024}, "upstream": {"discover": False}}
    house = House(settings=Settings(_env_file=None, **chosen))
    answer = await request(house.front_door(), path=AGENTS, body=b" " * 2000)
    await house.lifetime().aclose()

    assert 413 == answer.status
