"""The command line, in premises made by hand."""

import asyncio
import json
import re
import signal
import socket
import unicodedata
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from librarian.application.diagnose import Diagnosis
from librarian.application.ports.health import Finding
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.errors import StoreUnavailable, UnknownModel
from librarian.domain.transcript import Role
from librarian.domain.turn import Reasoned, StopReason, TextSpoken, TurnBegan, TurnEnded, Usage
from librarian.entrypoints.cli.correspondents import frames
from librarian.entrypoints.cli.doctor import DAY_S, clock, mark
from librarian.entrypoints.cli.main import make_cli
from librarian.entrypoints.cli.terminal import one_line, printable

INTERRUPT = object()
"""In a script: the person presses Ctrl-C."""


class ScriptedHouse:
    """Says what it was told to say, one line a turn, and keeps what it was asked."""

    def __init__(self, lines=(), findings=()):
        self.lines = list(lines)
        self.findings = findings
        self.asks = []

    async def converse(self, ask):
        self.asks.append(ask)
        if ask.model == "nobody":
            raise UnknownModel(ask.model)
        yield TurnBegan(ConversationId("conv_1"), TurnId("turn_1"), "Start", None)
        yield Reasoned(("Hmm.",))
        for said in self.lines.pop(0):
            if said is INTERRUPT:
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(60)
            if isinstance(said, Exception):
                raise said
            yield TextSpoken(tuple(said.split("|")))
        yield TurnEnded(StopReason.END_OF_TURN, Usage(1, 1))

    async def diagnose(self):
        return Diagnosis(tuple(self.findings))

    async def upstream(self):
        return "a scripted model"


@dataclass
class ScriptedPremises:
    """Premises with a scripted house in them, that keep what was done there."""

    house: ScriptedHouse = field(default_factory=ScriptedHouse)
    base_url: str = ""
    api_key: str | None = None
    data: str = "a folder"
    notices: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    configuration: dict[str, str] = field(default_factory=lambda: {"LIBRARIAN_HOST": "127.0.0.1"})
    done: list[str] = field(default_factory=list)
    overrides: dict[str, object] = field(default_factory=dict)
    fails: Exception | None = None

    def serve(self, ready):
        if self.fails is not None:
            raise self.fails
        ready("http://127.0.0.1:8123", "a scripted model")
        self.done.append("served")
        raise KeyboardInterrupt

    @asynccontextmanager
    async def opened(self):
        if self.fails is not None:
            raise self.fails
        self.done.append("opened")
        yield self.house
        self.done.append("closed")


@pytest.fixture
def house():
    return ScriptedHouse()


@pytest.fixture
def premises(house):
    with socket.socket() as taken:  # bound, and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        yield ScriptedPremises(house, f"http://127.0.0.1:{taken.getsockname()[1]}")


@pytest.fixture
def run(premises):
    def premises_of(overrides):
        premises.overrides = overrides
        return premises

    return runner_of(premises_of)


def runner_of(premises_of):
    def run(*arguments, said="", env=None):
        plain = {"FORCE_COLOR": None, "TERM": "dumb", "COLUMNS": "100", "HTTP_PROXY": "http://127.0.0.1:9"}
        return CliRunner(env=plain | (env or {})).invoke(make_cli(premises_of), arguments, input=said)

    return run


def heard(ask):
    return [(message.role, message.text) for message in ask.transcript.messages]


# -- librarian


def test_alone_it_says_what_it_can_do(run):
    result = run()

    assert 0 == result.exit_code
    assert ["serve", "chat", "doctor"] == re.findall(r"(?:│|^) +(serve|chat|doctor) ", result.stdout, re.MULTILINE)


def test_it_says_which_version_it_is(run):
    result = run("--version")

    assert 0 == result.exit_code
    assert re.fullmatch(r"librarian \d+\.\d+\.\d+\S*\n", result.stdout)


@pytest.mark.parametrize("command", ["serve", "chat", "doctor"])
def test_wrong_settings_end_it_with_a_sentence_each(command):
    def premises_of(_):
        raise ValueError("LIBRARIAN_PORT: A number\nis wanted.", "LIBRARIAN_HOST: \x1b[2J")

    result = runner_of(premises_of)(command)

    assert 2 == result.exit_code
    said = result.stderr.splitlines()
    assert ["librarian: LIBRARIAN_PORT: A number is wanted.", r"librarian: LIBRARIAN_HOST: \x1b[2J"] == said
    assert "" == result.stdout


@pytest.mark.parametrize("arguments", [["sreve"], ["serve", "--prot", "1"], ["serve", "--port", "eighty"]])
def test_what_cannot_be_asked_ends_it_with_two(run, arguments):
    assert 2 == run(*arguments).exit_code


# -- serve


def test_serving_greets_on_standard_error(run, premises):
    premises.notices = ("LIBRARIAN_DEBUG is now called LIBRARIAN_LOG_LEVEL.",)
    premises.unknown = ("LIBRARIAN_HOTS",)

    result = run("serve")

    assert (0, "", ["served"]) == (result.exit_code, result.stdout, premises.done)
    for told in (
        "http://127.0.0.1:8123 (open to this machine only)",
        "a scripted model",
        "a folder",
        *premises.notices,
        "LIBRARIAN_HOTS means nothing here.",
        "curl http://127.0.0.1:8123/v1/chat/completions",
        'base_url="http://127.0.0.1:8123/v1"',
    ):
        assert told in result.stderr
    assert "\x1b" not in result.stderr
    assert "Authorization" not in result.stderr


def test_the_first_request_names_the_key_and_does_not_show_it(run, premises):
    premises.api_key = "lib_hidden"

    said = run("serve").stderr

    assert "hidden" not in said
    assert '-H "Authorization: Bearer $LIBRARIAN_API_KEY"' in said
    assert 'api_key=os.environ["LIBRARIAN_API_KEY"]' in said


@pytest.mark.parametrize("key", [None, "lib_1"])
def test_the_first_requests_can_be_copied(run, premises, key):
    premises.api_key = key
    said = run("serve", env={"COLUMNS": "20"}).stderr
    shell, python = said[said.index("curl") :].split("# or, in Python\n")

    compile(python, "first_request.py", "exec")
    body = re.search(r"-d '(.+)'\n", shell).group(1)
    assert "librarian" == json.loads(body)["model"]


def test_a_terminal_gets_colours(run):
    assert "\x1b[" in run("serve", env={"FORCE_COLOR": "1", "TERM": "xterm"}).stderr


def test_only_what_was_given_is_overridden(run, premises, tmp_path):
    run("serve")
    assert {} == premises.overrides
    run("serve", "--port", "0", "--model", "llama")
    assert {"port": 0, "upstream": {"model": "llama"}} == premises.overrides
    given = [
        "--host",
        "::1",
        "--data-dir",
        str(tmp_path),
        "--upstream",
        "http://127.0.0.1:9/v1",
        "--log-level",
        "debug",
    ]
    run("serve", *given)
    assert {
        "host": "::1",
        "data_dir": Path(tmp_path),
        "log_level": "debug",
        "upstream": {"base_url": "http://127.0.0.1:9/v1"},
    } == premises.overrides


@pytest.mark.parametrize("failure", [OSError("The address is taken."), StoreUnavailable()])
def test_what_cannot_be_served_is_said_in_a_line(run, premises, failure):
    premises.fails = failure

    result = run("serve")

    assert (1, f"librarian: {failure}\n") == (result.exit_code, result.stderr)


# -- chat, in this process


def test_a_chat_is_answered_as_it_goes(run, house, premises):
    house.lines = [["Good |day", ", Ada."], ["Ada."]]

    result = run("chat", said="I am Ada.\n\nWho am I?\n")

    assert (0, "Good day, Ada.\nAda.\n") == (result.exit_code, result.stdout)
    assert [(Role.USER, "I am Ada.")] == heard(house.asks[0])
    assert [(Role.USER, "I am Ada."), (Role.ASSISTANT, "Good day, Ada."), (Role.USER, "Who am I?")] == heard(
        house.asks[1]
    )
    assert ["opened", "closed"] == premises.done
    assert "a scripted model, in this process" in result.stderr


def test_another_chat_begins_without_the_first(run, house):
    house.lines = [["Good day."], ["Good day."]]

    result = run("chat", said="I am Ada.\n/new\nWho am I?\n/quit\nNobody hears this.\n")

    assert 0 == result.exit_code
    assert [[(Role.USER, "I am Ada.")], [(Role.USER, "Who am I?")]] == [heard(ask) for ask in house.asks]


def test_the_name_asked_for_is_the_one_given(run, house):
    house.lines = [["Aye."]]

    run("chat", "--model", "librarian-worker", said="Hello.\n")

    assert ["librarian-worker"] == [ask.model for ask in house.asks]


def test_a_refusal_is_one_line_and_the_chat_goes_on(run, house):
    result = run("chat", "--model", "nobody", said="Hello.\nHello?\n")

    assert (0, "") == (result.exit_code, result.stdout)
    assert 2 == result.stderr.count("librarian: The model `nobody` does not exist")
    assert [[(Role.USER, "Hello.")], [(Role.USER, "Hello?")]] == [heard(ask) for ask in house.asks]


def test_a_turn_that_fails_midway_can_be_said_again(run, house):
    house.lines = [["Once", StoreUnavailable()], ["Once upon a time."]]

    result = run("chat", said="A tale!\nA tale!\n")

    assert "Once\nOnce upon a time.\n" == result.stdout
    assert "librarian: The store cannot be reached just now." in result.stderr
    assert heard(house.asks[0]) == heard(house.asks[1])


def test_silence_is_said_to_be_silence(run, house):
    house.lines = [[""], []]

    result = run("chat", said="Hello.\nHello?\n")

    assert 0 == result.exit_code
    assert 2 == result.stderr.count("Nothing was said.")
    assert [(Role.USER, "Hello?")] == heard(house.asks[1])


def test_an_interrupt_stops_the_answer_and_not_the_chat(run, house, premises):
    house.lines = [["Once upon", INTERRUPT], ["There."]]

    result = run("chat", said="A tale!\nGo on.\n")

    assert (0, "Once upon\nThere.\n") == (result.exit_code, result.stdout)
    assert "stopped" in result.stderr
    assert [(Role.USER, "A tale!"), (Role.ASSISTANT, "Once upon"), (Role.USER, "Go on.")] == heard(house.asks[1])
    assert ["opened", "closed"] == premises.done


def test_an_answer_stopped_before_its_first_word_leaves_no_trace(run, house):
    house.lines = [[INTERRUPT], ["There."]]

    result = run("chat", said="A tale!\nAnother.\n")

    assert "There.\n" == result.stdout
    assert [(Role.USER, "Another.")] == heard(house.asks[1])


def test_a_house_that_cannot_be_opened_is_one_line(run, premises):
    premises.fails = OSError("The folder belongs to somebody else.")

    result = run("chat", said="Hello.\n")

    assert (1, "librarian: The folder belongs to somebody else.\n") == (result.exit_code, result.stderr)


def test_bytes_that_are_no_text_are_replaced(run, house):
    house.lines = [["Pardon?"]]

    result = run("chat", said=b"caf\xe9\n")

    assert 0 == result.exit_code
    assert [(Role.USER, "caf�")] == heard(house.asks[0])


def test_an_answer_sends_no_orders_to_the_terminal(run, house):
    orders = "\x1b]0;title\x07|\x9b2J|\x1b[31m|\u202egnihton|\ud800|\x00|\r|\x08"
    house.lines = [[orders, "plain\ttext\nand :smile: [red]more[/red]\n"]]

    said = run("chat", said="Hello.\n").stdout

    assert r"\x1b]0;title\x07\x9b2J\x1b[31m\u202egnihton\ud800\x00\x08plain" in said
    assert "plain\ttext\nand :smile: [red]more[/red]\n" in said


@given(st.text(alphabet=st.characters()))
def test_nothing_that_is_printable_is_an_order(text):
    shown = printable(text)

    assert [] == [c for c in shown if unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t"]
    assert "\n" not in one_line(text)
    plain = "".join(c for c in text if unicodedata.category(c)[0] in "LNPSZM")
    assert plain == printable(plain)


# -- chat, with a server


class ScriptedGateway(ThreadingHTTPServer):
    """Answers like the gateway; keeps what it was asked. A reply is bytes of a stream, or a status and a body."""

    def __init__(self, *, service="librarian"):
        super().__init__(("127.0.0.1", 0), _Desk)
        self.service = json.dumps({"service": service, "version": None}).encode()
        self.models = (200, b'{"object": "list", "data": []}')
        self.replies = []
        self.asked = []
        self.keys = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Desk(BaseHTTPRequestHandler):
    server: ScriptedGateway

    def do_GET(self):
        self.server.keys.append((self.path, self.headers.get("Authorization")))
        self._reply(*((200, self.server.service) if self.path == "/" else self.server.models))

    def do_POST(self):
        self.server.keys.append((self.path, self.headers.get("Authorization")))
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        reply = self.server.replies.pop(0)
        self._reply(*(reply if isinstance(reply, tuple) else (200, reply)))

    def _reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(server):
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server():
    with serving(ScriptedGateway()) as server:
        yield server


def chunks(*texts, done=True):
    spoken = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
    spoken += [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    spoken += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {}}]
    data = [json.dumps(chunk, ensure_ascii=False) for chunk in spoken] + ["[DONE]"] * done
    return ": ping\n\n".join(f"data: {line}\n\n" for line in data).encode()


def test_a_server_that_runs_is_talked_to(run, premises, house, server):
    premises.base_url = server.url
    server.replies = [chunks("Good day,", " Ada.\u2028"), chunks("Ada.")]

    result = run("chat", said="I am Ada.\nWho am I?\n")

    assert (0, "Good day, Ada.\u2028\nAda.\n") == (result.exit_code, result.stdout)
    assert {"model": "librarian", "stream": True, "messages": [{"role": "user", "content": "I am Ada."}]} == (
        server.asked[0]
    )
    assert ["user", "assistant", "user"] == [message["role"] for message in server.asked[1]["messages"]]
    assert [] == house.asks
    assert [] == premises.done


def test_the_configured_key_goes_to_the_configured_server(run, premises, server):
    premises.base_url, premises.api_key = server.url, "lib_1"
    server.replies = [chunks("Good day.")]

    run("chat", said="Hello.\n")

    assert [
        ("/", None),
        ("/v1/models", "Bearer lib_1"),
        ("/v1/chat/completions", "Bearer lib_1"),
    ] == server.keys


def test_the_configured_key_goes_to_no_other_server(run, premises, server):
    premises.api_key = "lib_1"
    server.replies = [chunks("Good day.")] * 2

    run("chat", "--url", server.url, said="Hello.\n")
    run("chat", "--url", f"{server.url}/v1/", "--key", "sk-2", said="Hello.\n")

    paths = ("/v1/models", "/v1/chat/completions")
    assert [*((path, None) for path in paths), *((path, "Bearer sk-2") for path in paths)] == server.keys


def test_a_stranger_at_the_configured_address_is_told_nothing(run, premises, house):
    premises.api_key = "lib_1"
    house.lines = [["Good day."]]
    with serving(ScriptedGateway(service="a stranger")) as stranger:
        premises.base_url = stranger.url
        result = run("chat", said="Hello.\n")

    assert "Good day.\n" == result.stdout
    assert [("/", None)] == stranger.keys
    assert [] == stranger.asked


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((401, b'{"error": {"message": "The API key\\nis missing."}}'), "The API key is missing."),
        ((404, b"<html>"), "The server says 404"),
    ],
)
def test_a_server_that_refuses_ends_the_chat_at_once(run, server, models, said):
    server.models = models

    result = run("chat", "--url", server.url, said="Hello.\n")

    assert 1 == result.exit_code
    assert result.stderr.startswith(f"librarian: {said}")


def test_a_server_that_is_not_there_is_one_line(run, premises):
    result = run("chat", "--url", premises.base_url, said="Hello.\n")

    assert 1 == result.exit_code
    assert re.fullmatch(r"librarian: http://127.0.0.1:\d+ cannot be reached: .+\n", result.stderr)


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1", "127.0.0.1:8000", "http://[", "http://:80", "http://a:99999"])
def test_what_is_no_address_is_one_line(run, url):
    result = run("chat", "--url", url, said="Hello.\n")

    assert 1 == result.exit_code
    assert re.fullmatch(r"librarian: .*is no address of a server: .+\n", result.stderr)


@pytest.mark.parametrize(
    ("reply", "shown", "said"),
    [
        ((429, b'{"error": {"message": "Every agent is engaged."}}'), "", "Every agent is engaged."),
        ((503, b""), "", "The server says 503"),
        (chunks("Once", done=False), "Once\n", "The server broke off"),
        (b'data: {"error": {"message": "The agent \\u001b[2Jbroke off."}}\n\n', "", r"The agent \x1b[2Jbroke off."),
        (b"data: <html>\n\n", "", "The server sent what"),
        (b'data: {"choices": "\xff"}\n\n', "", "The server sent what"),
    ],
)
def test_a_turn_that_fails_on_the_server_can_be_said_again(run, server, reply, shown, said):
    server.replies = [reply, chunks("There.")]

    result = run("chat", "--url", server.url, said="A tale!\nA tale!\n")

    assert (0, f"{shown}There.\n") == (result.exit_code, result.stdout)
    assert f"librarian: {said}" in result.stderr
    assert server.asked[0] == server.asked[1]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab\u2028\x85 :", min_size=1), max_size=4), st.sampled_from(["\n", "\r\n"]), st.data())
def test_events_are_read_however_they_are_cut(events, end, data):
    whole = "".join(f": ping{end}{end}event: x{end}data: {event}{end}{end}" for event in events).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))

    async def pieces():
        for begin, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            yield whole[begin:stop]

    async def read():
        return [frame.decode() async for frame in frames(pieces())]

    assert events == asyncio.run(read())


# -- doctor


def well(part="store"):
    return Finding(part, well=True, detail="It is well.")


def test_a_house_that_is_well(run, house, premises):
    house.findings = [well(), Finding("model", well=False, detail="The offline one [red]speaks[/red].", needed=False)]

    result = run("doctor")

    assert 0 == result.exit_code
    lines = [line.split() for line in result.stdout.splitlines() if line]
    assert [["ok", "settings"], ["ok", "store"], ["note", "model"], ["ok", "clock"]] == [
        line[:2] for line in lines[-4:]
    ]
    assert ["LIBRARIAN_HOST", "127.0.0.1"] in lines
    assert "[red]speaks[/red]." in result.stdout
    assert ["opened", "closed"] == premises.done


def test_a_part_that_is_not_well_is_trouble(run, house):
    house.findings = [well(), Finding("upstream", well=False, detail="Nobody\nanswers. \x1b[2J")]

    result = run("doctor")

    assert 1 == result.exit_code
    assert r"trouble  upstream  Nobody answers. \x1b[2J" in result.stdout


def test_a_name_that_means_nothing_is_trouble(run, premises):
    premises.unknown = ("LIBRARIAN_HOTS", "LIBRARIAN_XYZ")

    result = run("doctor")

    assert 1 == result.exit_code
    assert "trouble  settings  LIBRARIAN_HOTS means nothing here. Is it LIBRARIAN_HOST?\n" in result.stdout
    assert "trouble  settings  LIBRARIAN_XYZ means nothing here.\n" in result.stdout


def test_a_name_of_the_original_is_a_note(run, premises):
    premises.notices = ("LIBRARIAN_DEBUG is now called LIBRARIAN_LOG_LEVEL.",)

    result = run("doctor")

    assert 0 == result.exit_code
    assert "note  settings  LIBRARIAN_DEBUG is now called LIBRARIAN_LOG_LEVEL.\n" in result.stdout


@pytest.mark.parametrize("failure", [OSError("It is read-only."), StoreUnavailable("It is read-only.")])
def test_a_house_that_cannot_be_opened_is_trouble(run, premises, failure):
    premises.fails = failure

    result = run("doctor")

    assert 1 == result.exit_code
    assert re.search(r"^trouble +house +It cannot be opened: It is read-only\.$", result.stdout, re.MULTILINE)


def test_a_program_can_read_it(run, house, premises):
    premises.unknown = ("LIBRARIAN_HOTS",)
    house.findings = [Finding("store", well=True, detail="It is \x1b[31mwell.")]

    result = run("doctor", "--json")

    assert 1 == result.exit_code
    told = json.loads(result.stdout)
    assert (False, {"LIBRARIAN_HOST": "127.0.0.1"}, ["LIBRARIAN_HOTS"]) == (
        told["well"],
        told["configuration"],
        told["unknown"],
    )
    assert ["trouble", "ok", "ok"] == [finding["mark"] for finding in told["findings"]]
    assert "\x1b" not in result.stdout


def test_a_terminal_gets_a_table(run, house):
    house.findings = [Finding("store", well=False, detail="It is not well, and there is much to say about it. " * 5)]

    result = run("doctor", env={"FORCE_COLOR": "1", "TERM": "xterm"})

    assert "\x1b[1;31mtrouble\x1b[0m" in result.stdout
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in result.stdout.splitlines()) <= 100


@pytest.mark.parametrize(
    ("now_s", "marked"),
    [(0.0, "trouble"), (1e9 - 1, "ok"), (1e9, "ok"), (1e9 + 365 * DAY_S, "ok"), (1e10, "trouble")],
)
def test_a_clock_that_is_far_off_is_trouble(now_s, marked):
    assert marked == mark(clock(now_s, installed_s=1e9))
