"""Open WebUI: a server of its own, asked as its page asks it, told to say who is speaking in each of its ways."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from scene import BASE_URL, FOLLOW_UP, QUESTION, scene

PATIENCE_S = 240
HEADERS = {
    "X-OpenWebUI-Chat-Id": "{{CHAT_ID}}",
    "X-OpenWebUI-Message-Id": "{{MESSAGE_ID}}",
    "X-OpenWebUI-User-Message-Id": "{{USER_MESSAGE_ID}}",
    "X-OpenWebUI-User-Message-Parent-Id": "{{USER_MESSAGE_PARENT_ID}}",
    "X-OpenWebUI-User-Id": "{{USER_ID}}",
    "X-OpenWebUI-Task": "{{TASK}}",
    "X-Librarian-Parent": "{{USER_MESSAGE_PARENT_ID}}",
    "X-Librarian-Message": "{{MESSAGE_ID}}",
}
FORWARD = {"ENABLE_FORWARD_USER_INFO_HEADERS": "true"}
SIGNED = FORWARD | {"FORWARD_USER_INFO_HEADER_JWT_SECRET": "a secret of thirty-two bytes, or more"}
ALONE = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "ENABLE_AUTOCOMPLETE_GENERATION": "true",
    "ENABLE_OLLAMA_API": "false",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "true",
    "OPENAI_API_BASE_URLS": BASE_URL,
    "OPENAI_API_KEYS": "none",
    "RAG_EMBEDDING_ENGINE": "openai",
    "RAG_OPENAI_API_BASE_URL": BASE_URL,
    "RAG_OPENAI_API_KEY": "none",
    "SCARF_NO_ANALYTICS": "true",
    "WEBUI_SECRET_KEY": "made-up",
}


class Page:
    """What a page in a browser does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        signed_up = self.post("/api/v1/auths/signup", name="Ada", email="ada@example.org", password="made up, too")  # noqa: S106
        self._token = signed_up["token"]
        self._get("/api/models")

    def post(self, path: str, **body: object) -> dict:
        return self._ask(Request(self._url + path, json.dumps(body).encode()))  # noqa: S310 - on loopback

    def _get(self, path: str) -> dict:
        return self._ask(Request(self._url + path))  # noqa: S310

    def _ask(self, request: Request) -> dict:
        request.add_header("content-type", "application/json")
        request.add_header("authorization", f"Bearer {self._token}")
        with urlopen(request, timeout=60) as reply:  # noqa: S310
            raw = reply.read()
        return json.loads(raw) if raw.startswith(b"{") else {}


class Chat:
    """A chat of the page: its messages, as a tree."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._id = ""

    def ask(self, *messages: dict, parent: str | None = None, asked: str = "", stream: bool = True) -> str:
        """The last message, after all those before it. Returns the id of the answer."""
        answer, asked = str(uuid4()), asked or str(uuid4())
        said = self._page.post(
            "/api/chat/completions",
            model="librarian",
            stream=stream,
            messages=messages,
            id=answer,
            session_id="session",
            parent_id=parent,
            **({"chat_id": self._id} if self._id else {}),
            user_message={"id": asked, "parentId": parent, "role": "user", "content": messages[-1]["content"]},
            background_tasks={"title_generation": True, "tags_generation": True, "follow_up_generation": True},
        )
        self._id = self._id or said["chat_id"]
        time.sleep(4)  # the answer and the jobs that follow it are asked for in the background
        return answer


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


@contextmanager
def running(**chosen: str) -> Iterator[Page]:
    with TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = (str(Path(sys.executable).with_name("open-webui")), "serve", "--host=127.0.0.1", f"--port={port}")
        environment = os.environ | ALONE | chosen | {"DATA_DIR": folder, "HOME": folder}
        with (Path(folder) / "log").open("w") as log:
            server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}", server)
            yield Page(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen) -> None:
    until = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < until:
        try:
            with urlopen(f"{url}/health", timeout=5):  # noqa: S310
                return
        except (URLError, OSError):
            time.sleep(1)
    sys.exit("Open WebUI does not start.")


def first_turn(page: Page, name: str) -> None:
    scene(name)
    Chat(page).ask(user(QUESTION))


def everything(page: Page) -> None:
    chat = Chat(page)
    scene("chat")
    asked = str(uuid4())
    first = chat.ask(user(QUESTION), asked=asked)
    scene("follow-up")
    told = (user(QUESTION), assistant("Bertrand, of course."))
    chat.ask(*told, user(FOLLOW_UP), parent=first)
    scene("edit")
    chat.ask(*told, user("And what does it eat?"), parent=first)
    scene("whole")
    chat.ask(*told, user("In a word?"), parent=first, stream=False)
    jobs = {
        "queries": {"messages": told, "type": "web_search"},
        "emoji": {"prompt": "I am glad."},
        "auto": {"prompt": "My cat is", "type": "general"},
        "image_prompt": {"messages": told},
        "moa": {"prompt": QUESTION, "responses": ["Bertrand.", "Bertrand, of course."]},
    }
    for name, body in jobs.items():
        scene(f"job-{name}")
        page.post(f"/api/v1/tasks/{name}/completions", model="librarian", **body)
    scene("retry")
    chat.ask(*told, user(FOLLOW_UP), parent=first)


if __name__ == "__main__":
    with running(**FORWARD, OPENAI_API_CONFIGS=json.dumps({"0": {"headers": HEADERS}})) as page:
        everything(page)
    with running(**FORWARD) as page:
        first_turn(page, "forwarded")
    with running(**SIGNED) as page:
        first_turn(page, "signed")
    with running() as page:
        first_turn(page, "silent")
