"""The official client, its last two lines in environments of their own, against a server that is killed and started."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.gateway import Gateway
from tests.scripted.server import vector

ROOT = Path(__file__).parents[2]
SDKS = [ROOT / name / "bin" / "python" for name in (".venv-openai2", ".venv-openai3")]
pytestmark = pytest.mark.e2e

CLIENT = """\
import sys
from openai import OpenAI
base_url, how, text = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key="none", max_retries=0)
ask = dict(model="librarian", messages=[{"role": "user", "content": text}])
if how == "whole":
    print(client.chat.completions.create(**ask).choices[0].message.content)
else:
    for chunk in client.chat.completions.create(**ask, stream=True):
        print(chunk.choices[0].delta.content or "", end="")
"""


VECTORS = """\
import json, sys
from openai import NotFoundError, OpenAI
client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
read = [
    client.embeddings.create(model="librarian", input=["a", "b"]),
    client.embeddings.create(model="nomic-embed-text", input=[[1, 2]], encoding_format="float"),
]
try:
    client.embeddings.create(model="nobody", input="a")
except NotFoundError as error:
    refused = [error.code, error.param]
print(json.dumps([[[one.embedding for one in each.data], each.usage.total_tokens] for each in read] + [refused]))
"""


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.kill()


def said(python: Path, gateway: Gateway, how: str, text: str) -> str:
    run = subprocess.run(
        [python, "-c", CLIENT, gateway.base_url, how, text], capture_output=True, text=True, timeout=60, check=False
    )
    assert "" == run.stderr
    return run.stdout


@pytest.mark.parametrize("python", SDKS, ids=["2.x", "3.x"])
@pytest.mark.parametrize("how", ["whole", "stream"])
def test_it_remembers_across_chats_and_a_kill(gateway, python, how):
    assert python.exists(), "`make sdks` makes it"
    said(python, gateway, how, "Remember that my cat is called Bertrand.")
    gateway.kill()
    gateway.start()

    assert "Bertrand" in said(python, gateway, how, "What is my cat called?")


@pytest.mark.parametrize("python", SDKS, ids=["2.x", "3.x"])
def test_vectors_are_read(tmp_path, scripted_model, python):
    scripted_model.listed["data"].append({"id": "nomic-embed-text"})
    gateway = Gateway(tmp_path, UPSTREAM__BASE_URL=scripted_model.base_url)
    command = [python, "-c", VECTORS, gateway.base_url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    gateway.kill()

    assert "" == run.stderr
    packed, plain, refused = json.loads(run.stdout)
    assert [pytest.approx(vector("a")), pytest.approx(vector("b"))] == packed[0]
    assert [[vector("[1, 2]")], 1] == plain
    assert (2, ["model_not_found", "model"]) == (packed[1], refused)
    assert ["nomic-embed-text"] * 2 == [asked["model"] for asked in scripted_model.embedded]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_so_it_does_by_curl(gateway):
    def curl(text):
        body = json.dumps({"model": "librarian", "messages": [{"role": "user", "content": text}]})
        url = f"{gateway.base_url}/chat/completions"
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
            url,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    curl("Remember that my cat is called Bertrand.")
    gateway.kill()
    gateway.start()

    assert "Bertrand" in json.loads(curl("What is my cat called?"))["choices"][0]["message"]["content"]


def test_the_factory_serves_too(tmp_path):
    """`uvicorn --factory librarian.__main__:app`."""
    env = os.environ | {"LIBRARIAN_DATA_DIR": str(tmp_path), "LIBRARIAN_UPSTREAM__DISCOVER": "false"}
    command = [sys.executable, "-m", "uvicorn", "--factory", "librarian.__main__:app", "--port", "0"]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr if "running on" in line)
        url = line.split("running on")[1].split()[0].rstrip(',"')
        assert {"status": "ok"} == httpx.get(f"{url}/health/live", timeout=10).json()
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()
