"""The command line as a person has it: real processes, a real terminal, the built-in model."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest

from tests.scripted.server import Gate

pty = pytest.importorskip("pty", reason="there are no terminals to be had here")
pytestmark = pytest.mark.e2e

LIBRARIAN = (sys.executable, "-m", "librarian")
PATIENCE_S = 30
MEANT_FOR_OTHERS = (
    "LIBRARIAN_",
    "OPENAI_",
    "LETTA_",
    "FORCE_COLOR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)


# Where Ctrl-C is typed is where the signal comes from.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Serving:
    """`librarian serve` on a port of its own choosing, and what it says."""

    def __init__(self, env, folder, *arguments):
        self._process = subprocess.Popen(
            [*LIBRARIAN, "serve", "--port", "0", *arguments], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
        )
        self._lines = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()
        self.greeting = ""

    @property
    def url(self):
        return re.search(r"^listens +(\S+)", self.greeting, re.MULTILINE).group(1)

    @property
    def port(self):
        return self.url.rpartition(":")[2]

    def __enter__(self):
        try:
            while not re.search(r"^print\(", self.greeting, re.MULTILINE):
                line = self._lines.get(timeout=PATIENCE_S)
                assert line, f"it ended: {self.greeting}"
                self.greeting += line
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._reader.join(PATIENCE_S)
            self._process.stderr.close()

    def kill(self):
        """As a power cut would."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    @property
    def ended_with(self):
        return self._process.returncode

    def _read(self):
        for line in self._process.stderr:
            self._lines.put(line)
        self._lines.put("")


class Terminal:
    """A command at a terminal, with a person before it."""

    def __init__(self, env, folder, *arguments):
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *LIBRARIAN, *arguments],
            cwd=folder,
            env=env | {"TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._seen = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        os.close(self._ours)

    def type(self, keys):
        os.write(self._ours, keys.encode())

    def wait_for(self, text, within_s=PATIENCE_S):
        """Look at what was shown since the last wait, until the text is there."""
        while text not in self.shown:
            piece = self._seen.get(timeout=within_s)
            assert piece, f"it ended: {self.shown}"
            self.shown += piece
        self.shown = self.shown.partition(text)[2]

    def interrupt(self, until):
        """Again and again: an interrupt just before `input` begins to wait goes unheard by Python itself."""
        for _ in range(PATIENCE_S):
            self.type("\x03")
            with suppress(Empty):
                self.wait_for(until, within_s=1)
                return
        pytest.fail("no interrupt was heard")

    def ends_with(self):
        return self._process.wait(PATIENCE_S)

    def _read(self):
        try:
            while piece := os.read(self._ours, 4096):
                self._seen.put(piece.decode(errors="replace"))
        except OSError:  # how Linux says that nobody holds the other end any more
            pass
        self._seen.put("")


@pytest.fixture
def env(tmp_path):
    """A machine with nothing on it but this house; no proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(MEANT_FOR_OTHERS)}
    return kept | {
        "HOME": str(tmp_path),
        "LIBRARIAN_DATA_DIR": str(tmp_path / "data"),
        "LIBRARIAN_UPSTREAM__DISCOVER": "false",
        "LIBRARIAN_PORT": str(_free_port()),
    }


@pytest.fixture
def folder(tmp_path):
    """Where commands are given: no `.env`, no `config`."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def librarian(env, folder):
    def librarian(*arguments, said="", **chosen):
        done = subprocess.run(
            [*LIBRARIAN, *arguments],
            cwd=folder,
            env=env | chosen,
            input=said,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    return librarian


def _free_port():
    with socket.socket() as lent:
        lent.bind(("127.0.0.1", 0))
        return lent.getsockname()[1]


# -- serve


def test_it_says_what_it_found_and_stops_when_told(env, folder):
    with Serving(env, folder) as serving:
        greeting = serving.greeting

    assert re.search(r"^model +.*offline", greeting, re.MULTILINE)
    assert env["LIBRARIAN_DATA_DIR"] in greeting
    assert "\x1b" not in greeting
    assert serving.ended_with in {0, -signal.SIGTERM}


@pytest.mark.parametrize("key", ["", "lib_1922"], ids=["open", "with a key"])
def test_the_first_requests_work_as_they_are_printed(env, folder, key):
    env |= {"LIBRARIAN_API_KEY": key}
    with Serving(env, folder) as serving:
        shell, python = serving.greeting[serving.greeting.index("curl ") :].split("# or, in Python\n")
        commands = [[sys.executable, "-c", python]]
        if shutil.which("curl") and shutil.which("sh"):
            commands.insert(0, ["sh", "-c", shell.replace("curl ", "curl --fail --silent ", 1)])
        answers = [
            subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
            for command in commands
        ]

    assert all(answer.strip() for answer in answers)
    assert key not in serving.greeting or not key


def test_an_address_that_is_taken_is_said_in_a_line(librarian):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = librarian("serve", "--port", port)

    assert 1 == done.returncode
    assert re.search(rf"^librarian: .*{port}", done.stderr, re.MULTILINE)
    assert "curl" not in done.stderr


def test_other_machines_are_not_let_in_without_a_key(librarian):
    done = librarian("serve", "--host", "0.0.0.0")  # noqa: S104 - refused

    assert 2 == done.returncode
    assert "librarian: LIBRARIAN_HOST=0.0.0.0 lets other machines in" in done.stderr


# -- chat


def test_what_one_chat_was_told_another_knows_after_a_power_cut(env, folder, librarian):
    with Serving(env, folder) as serving:
        told = librarian("chat", "--url", serving.url, said="Remember that my cat is called Bertrand.\n")
        serving.kill()

    with Serving(env, folder) as serving:
        asked = librarian("chat", said="What is my cat called?\n", LIBRARIAN_PORT=serving.port)

    assert (0, 0) == (told.returncode, asked.returncode)
    assert serving.url in asked.stderr
    assert "Bertrand" in asked.stdout


def test_without_a_server_the_house_answers_in_the_same_process(librarian):
    told = librarian("chat", said="Remember that my cat is called Bertrand.\n/new\nWhat is my cat called?\n")
    asked = librarian("chat", said="What is my cat called?\n")

    assert (0, 0) == (told.returncode, asked.returncode)
    assert "in this process" in asked.stderr
    assert "Bertrand" in told.stdout
    assert "Bertrand" in asked.stdout


def test_the_server_and_a_chat_share_a_key(env, folder, librarian):
    env |= {"LIBRARIAN_API_KEY": "lib_1922"}
    with Serving(env, folder) as serving:
        known = librarian("chat", said="Hello.\n", LIBRARIAN_PORT=serving.port)
        unknown = librarian("chat", "--url", serving.url, "--key", "lib_1066", said="Hello.\n")

    assert 0 == known.returncode
    assert known.stdout.strip()
    assert (1, "") == (unknown.returncode, unknown.stdout)
    assert re.search(r"^librarian: The API key is ", unknown.stderr, re.MULTILINE)


@pytest.mark.parametrize("through_a_server", [False, True], ids=["in this process", "through a server"])
def test_an_answer_is_stopped_at_the_keyboard_and_the_chat_goes_on(env, folder, scripted_model, through_a_server):
    gate = Gate()
    scripted_model.say("Once upon a time", gate, " there was.")
    env |= {"LIBRARIAN_UPSTREAM__BASE_URL": scripted_model.base_url}

    def talk(*arguments):
        with Terminal(env, folder, "chat", *arguments) as terminal:
            terminal.wait_for("> ")
            terminal.type("Tell me a tale.\n")
            terminal.wait_for("Once upon a time")
            terminal.type("\x03")
            terminal.wait_for("stopped")
            terminal.wait_for("> ")
            assert scripted_model.requests[0].hung_up.wait(PATIENCE_S)
            terminal.type("Another one.\n")
            terminal.wait_for("echo: Another one.")
            terminal.wait_for("> ")
            terminal.interrupt(until="> ")
            terminal.type("\x04")
            return terminal.ends_with()

    if through_a_server:
        with Serving(env, folder) as serving:
            ended = talk("--url", serving.url)
    else:
        ended = talk()

    assert 0 == ended
    texts = [message["content"] for message in scripted_model.requests[1].messages if message["role"] != "system"]
    assert ["Tell me a tale.", "Once upon a time", "Another one."] == texts


def test_a_model_sends_no_orders_to_the_terminal(librarian, scripted_model):
    scripted_model.say("\x1b]0;owned\x07", "\x1b[2J", "plain")

    done = librarian("chat", said="Hello.\n", LIBRARIAN_UPSTREAM__BASE_URL=scripted_model.base_url)

    assert (0, r"\x1b]0;owned\x07\x1b[2Jplain" + "\n") == (done.returncode, done.stdout)


# -- doctor


def test_a_new_house_is_well(librarian):
    done = librarian("doctor")

    assert 0 == done.returncode
    assert "offline" in done.stdout
    assert "trouble" not in done.stdout


def test_a_house_that_serves_is_well(env, folder, librarian):
    with Serving(env, folder) as serving:
        done = librarian("doctor", LIBRARIAN_PORT=serving.port)

    assert 0 == done.returncode


def test_trouble_is_named_and_secrets_are_not(librarian):
    done = librarian(
        "doctor",
        "--json",
        LIBRARIAN_API_KEY="lib_hidden",
        LIBRARIAN_HOTS="127.0.0.1",
        LIBRARIAN_DEBUG="true",
        LIBRARIAN_UPSTREAM__API_KEY="sk-hidden",
        LIBRARIAN_UPSTREAM__BASE_URL=f"http://127.0.0.1:{_free_port()}/v1",
    )

    assert 1 == done.returncode
    told = json.loads(done.stdout)
    trouble = [finding for finding in told["findings"] if finding["mark"] == "trouble"]
    assert ["LIBRARIAN_HOTS"] == told["unknown"]
    assert {"settings"} < {finding["part"] for finding in trouble}
    assert "debug" == told["configuration"]["LIBRARIAN_LOG_LEVEL"]
    assert "hidden" not in done.stdout + done.stderr


def test_data_that_is_no_data_is_trouble(librarian, tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")

    done = librarian("doctor")

    assert 1 == done.returncode
    assert re.search("^trouble ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["serve", "chat", "doctor"])
def test_wrong_settings_end_every_command_with_two(librarian, command):
    done = librarian(command, LIBRARIAN_PORT="eighty", LIBRARIAN_UPSTREAM__MODLE="llama")

    assert (2, "") == (done.returncode, done.stdout)
    said = re.findall(r"^librarian: (LIBRARIAN_\w+): [A-Z]", done.stderr, re.MULTILINE)
    assert ["LIBRARIAN_PORT", "LIBRARIAN_UPSTREAM__MODLE"] == sorted(said)


# -- librarian


def test_it_is_called_by_either_name(librarian):
    by_module = librarian()
    installed = Path(sys.executable).with_name("librarian")
    by_name = subprocess.run([installed], capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    assert (0, 0) == (by_module.returncode, by_name.returncode)
    for told in (by_module.stdout, by_name.stdout):
        assert all(command in told for command in ("serve", "chat", "doctor"))
