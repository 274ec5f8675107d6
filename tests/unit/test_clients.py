"""Who is asking, where and what for: every rule, and every refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.domain.clients import ANYBODY, CLIENTS, Identified, Said, identify
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import (
    LOCAL,
    LONGEST_BYTES,
    Memory,
    Principal,
    PrincipalId,
    Purpose,
    owner_of,
    subject_of,
)
from librarian.domain.transcript import Message, Role, ToolCall, assistant, user

OPENAI = b"OpenAI/Python 3.51.0"
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
AT_HOME = Message(Role.SYSTEM, "You are a voice assistant for Home Assistant.\nAnswer in plain text.")


def said(headers=(), **more):
    return identify(Said(headers={name.lower().encode(): value for name, value in dict(headers).items()}, **more))


def refused(headers=(), **more):
    with pytest.raises(InvalidRequest) as refusal:
        said(headers, **more)
    return refusal.value


def at_home(**more):
    told = {"headers": {"User-Agent": b"AsyncOpenAI/Python 2.21.0"}, "user": ULID, "messages": (AT_HOME, user("Hi."))}
    return said(**told | more)


def test_of_most_requests_nothing_is_known():
    assert Identified(client="unknown") == said()


@pytest.mark.parametrize(
    ("agent", "client"),
    [
        (b"", "unknown"),
        (b"curl/8.9.1", "unknown"),
        (b"OpenAI/Python 3.51.0", "openai-python"),
        (b"AsyncOpenAI/Python 2.21.0", "openai-python"),
        (b"OpenAI/JS 6.49.0", "openai-node"),
        (b"opencode/1.18.0", "opencode"),
        (b"x" * 10_000, "unknown"),
        (b"\xff\x00", "unknown"),
    ],
)
def test_a_client_is_known_by_its_name_for_itself(agent, client):
    assert client == said({"User-Agent": agent}).client


def test_headers_say_more_than_the_name():
    assert "open-webui" == said({"User-Agent": OPENAI, "X-OpenWebUI-Chat-Id": b"c"}).client


@pytest.mark.parametrize(
    ("headers", "more", "person", "person_by"),
    [
        ({}, {}, None, ""),
        ({}, {"user": ""}, None, ""),
        ({}, {"user": "ada"}, "ada", "user"),
        ({}, {"safety_identifier": "s", "user": "ada"}, "s", "safety_identifier"),
        ({}, {"safety_identifier": "s", "user": "ada", "forwarded": "f"}, "f", "x-openwebui-user-jwt"),
        ({}, {"safety_identifier": "", "user": "ada"}, "ada", "user"),
        ({"X-OpenWebUI-User-Id": b"w"}, {"user": "ada"}, "w", "x-openwebui-user-id"),
        ({"X-OpenWebUI-User-Id": b"w"}, {"safety_identifier": "s"}, "w", "x-openwebui-user-id"),
        ({"X-OpenWebUI-User-Id": b"w"}, {"forwarded": "f"}, "f", "x-openwebui-user-jwt"),
        ({"X-OpenWebUI-User-Id": b""}, {"user": "ada"}, "ada", "user"),
        ({"X-OpenWebUI-User-Email": b"ada@example.org"}, {}, None, ""),
        ({"X-OpenWebUI-User-Id": "Zoë".encode()}, {}, "Zoë", "x-openwebui-user-id"),
    ],
)
def test_a_person_is_named_in_one_of_several_places(headers, more, person, person_by):
    found = said(headers, **more)

    assert (person, person_by) == (found.person, found.person_by)


@pytest.mark.parametrize(
    ("headers", "more", "conversation", "conversation_by"),
    [
        ({}, {"place": "p"}, "p", "query"),
        ({"X-Librarian-Conversation": b" h "}, {}, "h", "x-librarian-conversation"),
        ({"X-Librarian-Conversation": b"p"}, {"place": "p"}, "p", "x-librarian-conversation"),
        ({"X-Librarian-Conversation": b""}, {"place": "p"}, "p", "query"),
        ({"X-OpenWebUI-Chat-Id": b"w"}, {"place": "p"}, "p", "query"),
        (
            {"X-OpenWebUI-Chat-Id": b"w", "X-Librarian-Conversation": b"h"},
            {"metadata": {"chat_id": "m"}},
            "h",
            "x-librarian-conversation",
        ),
        ({"X-OpenWebUI-Chat-Id": b"w"}, {"metadata": {"chat_id": "m"}}, "w", "x-openwebui-chat-id"),
        ({"X-OpenWebUI-Chat-Id": b""}, {"metadata": {"chat_id": "m"}}, "m", "metadata.chat_id"),
        ({"X-OpenCode-Session": b"o", "X-Session-Affinity": b"a"}, {}, "o", "x-opencode-session"),
        ({"X-Session-Affinity": b"a", "X-Session-Id": b"s"}, {}, "a", "x-session-affinity"),
        ({"X-Claude-Code-Session-Id": b"s"}, {}, "s", "x-claude-code-session-id"),
        ({"Session-Id": b"s", "Thread-Id": b"t"}, {}, "t", "thread-id"),
        ({"Session-Id": b"s"}, {}, "s", "session-id"),
        ({"X-Session-Id": b"s"}, {}, "s", "x-session-id"),
        ({"X-Conversation-Id": b"s"}, {}, "s", "x-conversation-id"),
        ({"X-Chat-Id": b"s"}, {}, "s", "x-chat-id"),
        ({}, {"metadata": {"chat_id": "c", "session_id": "s"}}, "s", "metadata.session_id"),
        ({}, {"metadata": {"conversation_id": "", "session_id": "s"}}, "s", "metadata.session_id"),
        ({}, {"metadata": {"thread": "t"}}, None, ""),
        ({}, {"prompt_cache_key": "k"}, None, ""),
        ({"User-Agent": b"codex_cli_rs/0.90.0"}, {"prompt_cache_key": "k"}, "k", "prompt_cache_key"),
    ],
)
def test_a_conversation_is_named_in_one_of_several_places(headers, more, conversation, conversation_by):
    found = said(headers, **more)

    assert (conversation, conversation_by) == (found.conversation, found.conversation_by)


def test_the_address_and_the_header_may_not_name_two_conversations():
    assert "X-Librarian-Conversation" == refused({"X-Librarian-Conversation": b"a"}, place="b").param


def test_what_home_assistant_calls_a_user_is_a_conversation():
    found = at_home()

    assert ("home-assistant", None, ULID, "user") == (
        found.client,
        found.person,
        found.conversation,
        found.conversation_by,
    )


@pytest.mark.parametrize(
    "otherwise",
    [
        {"headers": {"User-Agent": OPENAI}},
        {"user": "ada"},
        {"user": ULID.lower()},
        {"messages": (user("Hi."),)},
        {"messages": ()},
        {"messages": (Message(Role.SYSTEM, "You are kind."), user("Do you know Home Assistant?"))},
        {"streamed": True},
    ],
)
def test_unless_all_signs_say_so_a_user_is_a_person(otherwise):
    found = at_home(**otherwise)

    assert (found.person_by, None) == ("user", found.conversation)


def test_a_client_says_what_it_goes_on_from_and_what_it_will_call_the_answer():
    house = said({"X-Librarian-Parent": b"p", "X-Librarian-Message": b"m"})
    theirs = said({"X-OpenWebUI-User-Message-Parent-Id": b"p", "X-OpenWebUI-Message-Id": b"m"})
    both = said({"X-Librarian-Parent": b"p", "X-OpenWebUI-User-Message-Parent-Id": b"q"})

    assert ("p", "m") == (house.parent, house.message)
    assert ("p", "m") == (theirs.parent, theirs.message)
    assert "p" == both.parent


@pytest.mark.parametrize(
    ("asked", "memory", "purpose"),
    [
        (b"on", Memory.ON, Purpose.CHAT),
        (b"READ", Memory.READ, Purpose.CHAT),
        (b" off ", Memory.OFF, Purpose.STATELESS),
        (b"", Memory.ON, Purpose.CHAT),
    ],
)
def test_a_request_may_go_without_memory(asked, memory, purpose):
    found = said({"X-Librarian-Memory": asked})

    assert (memory, purpose) == (found.memory, found.purpose)


@pytest.mark.parametrize(
    ("headers", "purpose", "purpose_by"),
    [
        ({"X-OpenWebUI-Task": b"title_generation"}, Purpose.TASK, "x-openwebui-task"),
        ({"X-OpenWebUI-Task": b""}, Purpose.CHAT, ""),
        ({"X-Librarian-Purpose": b"task"}, Purpose.TASK, "x-librarian-purpose"),
        ({"X-Librarian-Purpose": b"Task"}, Purpose.TASK, "x-librarian-purpose"),
        ({"X-Librarian-Purpose": b""}, Purpose.CHAT, ""),
        ({"X-Librarian-Purpose": b"chat", "X-OpenWebUI-Task": b"x"}, Purpose.CHAT, "x-librarian-purpose"),
        ({"X-Librarian-Purpose": b"task", "X-Librarian-Memory": b"off"}, Purpose.TASK, "x-librarian-purpose"),
        ({"X-OpenWebUI-Task": b"x", "X-Librarian-Memory": b"off"}, Purpose.TASK, "x-openwebui-task"),
        ({"X-Librarian-Memory": b"off"}, Purpose.STATELESS, "x-librarian-memory"),
    ],
)
def test_headers_say_what_a_request_is_for(headers, purpose, purpose_by):
    found = said(headers)

    assert (purpose, purpose_by) == (found.purpose, found.purpose_by)


CHORES = [(profile, chore) for profile in CLIENTS for chore in profile.chores]


@pytest.mark.parametrize(("profile", "chore"), CHORES)
def test_a_job_of_the_clients_own_is_known_by_how_it_opens(profile, chore):
    job = user(f"{chore.opening} ...\n\nUSER: Hello.")

    for messages in [(job,), (Message(Role.SYSTEM, "You are kind."), job), (user(f"\n{job.text}"),)]:
        found = said({"User-Agent": OPENAI}, messages=messages)

        assert (profile.name, Purpose.TASK, f"template:{chore.name}") == (
            found.client,
            found.purpose,
            found.purpose_by,
        )


@pytest.mark.parametrize(("profile", "chore"), CHORES)
def test_a_chat_that_speaks_of_such_a_job_stays_a_chat(profile, chore):
    job = user(f"{chore.opening} ...")

    chats = [
        {"messages": (user(f"What does this do? {chore.opening}"),)},
        {"messages": (user("Hello."), assistant("Hello."), job)},
        {"messages": (job, assistant("", (ToolCall("1", "look", "{}"),)), Message(Role.TOOL, "x", answers="1"))},
        {"messages": (user("Hello."),) * 4 + (job,)},
    ]
    if not chore.may_stream:
        chats.append({"messages": (job,), "streamed": True})
    if not chore.may_have_tools:
        chats.append({"messages": (job,), "has_tools": True})

    assert [Purpose.CHAT] * len(chats) == [said(**chat).purpose for chat in chats]


def test_a_chat_is_what_the_client_says_is_one():
    job = user("### Task:\nGenerate a concise title summarizing the chat history.")

    assert Purpose.CHAT is said({"X-Librarian-Purpose": b"chat"}, messages=(job,)).purpose


BAD = {
    "a placeholder": "{{LIBRECHAT_BODY_CONVERSATIONID}}",
    "a control character": "a\x01b",
    "a line break": "a\nb",
    "delete": "a\x7f",
    "C1": "a\x85b",
    "a mark of direction": "a\u202eb",
    "an invisible tag": "a\U000e0041",
    "too long": "a" * (LONGEST_BYTES + 1),
    "too long in UTF-8": "é" * (LONGEST_BYTES // 2 + 1),
}
IN_HEADERS = (
    "X-Librarian-Conversation",
    "X-Librarian-Parent",
    "X-Librarian-Message",
    "X-OpenWebUI-User-Id",
    "X-OpenWebUI-Chat-Id",
    "X-OpenWebUI-User-Message-Parent-Id",
    "X-OpenWebUI-Message-Id",
    "X-OpenWebUI-Task",
    "X-Conversation-Id",
    "Session-Id",
)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("header", IN_HEADERS)
def test_what_can_be_no_name_is_refused_in_a_header(header, value):
    assert header == refused({header: value.encode()}).param


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize(
    ("told", "param"),
    [
        (lambda value: {"user": value}, "user"),
        (lambda value: {"safety_identifier": value}, "safety_identifier"),
        (lambda value: {"place": value}, "conversation"),
        (lambda value: {"forwarded": value}, "X-OpenWebUI-User-Jwt"),
        (lambda value: {"metadata": {"session_id": value}}, "metadata.session_id"),
        (
            lambda value: {"prompt_cache_key": value, "headers": {"User-Agent": b"codex_cli_rs/0.90.0"}},
            "prompt_cache_key",
        ),
    ],
)
def test_what_can_be_no_name_is_refused_elsewhere(told, param, value):
    assert param == refused(**told(value)).param


def test_a_refusal_says_which_placeholder_was_not_filled_in():
    assert "{{CHAT_ID}}" in str(refused({"X-Librarian-Conversation": b"{{CHAT_ID}}"}))


@pytest.mark.parametrize(
    ("value", "code"),
    [("{{A}}", "invalid_value"), ("a\0", "invalid_value"), ("a" * 257, "string_above_max_length")],
)
def test_a_refusal_has_a_code(value, code):
    assert code == refused(user=value).code


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Librarian-Memory", b"maybe"),
        ("X-Librarian-Purpose", b"stateless"),
        ("X-Librarian-Purpose", b"title_generation"),
        ("X-Librarian-Conversation", b"\xff"),
    ],
)
def test_what_the_house_does_not_understand_is_refused(header, value):
    refusal = refused({header: value})

    assert (header, "invalid_value") == (refusal.param, refusal.code)


@pytest.mark.parametrize("value", ["a", "a" * LONGEST_BYTES, "é" * (LONGEST_BYTES // 2), "日本語 – ok", "{a}"])
def test_names_are_kept_as_they_came(value):
    assert value == said(user=value).person


def test_no_two_clients_share_a_name_or_a_header():
    own = [
        header.lower()
        for profile in (*CLIENTS, ANYBODY)
        for headers in (
            profile.marks,
            profile.person,
            profile.conversation,
            profile.parent,
            profile.message,
            profile.task,
        )
        for header in headers
    ]

    assert len(own) == len(set(own))
    assert len(CLIENTS) == len({profile.name for profile in CLIENTS})


KNOWN = (*IN_HEADERS, "X-Librarian-Memory", "X-Librarian-Purpose", "Thread-Id", "X-Session-Id", "User-Agent")
TEXT = st.one_of(st.text(max_size=20), st.text(max_size=300), st.sampled_from([*BAD.values(), "on", "off", "task"]))
MESSAGE = st.builds(Message, st.sampled_from(Role), st.one_of(TEXT, st.sampled_from([c.opening for _, c in CHORES])))
SAID = st.builds(
    Said,
    headers=st.dictionaries(
        st.sampled_from([name.lower().encode() for name in KNOWN]),
        st.one_of(st.binary(max_size=300), TEXT.map(lambda text: text.encode(errors="replace"))),
    ),
    place=st.none() | TEXT,
    user=st.none() | TEXT,
    safety_identifier=st.none() | TEXT,
    metadata=st.dictionaries(st.sampled_from(["conversation_id", "session_id", "chat_id", "x"]), TEXT),
    prompt_cache_key=st.none() | TEXT,
    forwarded=st.none() | TEXT,
    messages=st.lists(MESSAGE, max_size=5),
    streamed=st.booleans(),
    has_tools=st.booleans(),
)


@given(SAID)
def test_whatever_is_said_is_a_name_or_a_refusal(anything):
    try:
        found = identify(anything)
    except InvalidRequest:
        return

    for name in (found.person, found.conversation, found.parent, found.message):
        assert name is None or 0 < len(name.encode()) <= LONGEST_BYTES
        assert name is None or not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in name)
        assert name is None or "{{" not in name


KEY = PrincipalId("library")


@pytest.mark.parametrize(
    ("principal", "person", "owner"),
    [
        (LOCAL, None, owner_of(LOCAL)),
        (LOCAL, "", owner_of(LOCAL)),
        (LOCAL, "ada", owner_of(LOCAL, person="ada")),
        (Principal(KEY, asserts_subject=False), None, owner_of(Principal(KEY))),
        (Principal(KEY, asserts_subject=False), "ada", None),
        (Principal(KEY, requires_subject=True), None, None),
        (Principal(KEY, requires_subject=True), "", None),
        (Principal(KEY, requires_subject=True), "ada", owner_of(Principal(KEY), person="ada")),
        (Principal(KEY, asserts_subject=False, requires_subject=True), "ada", None),
        (Principal(KEY, asserts_subject=False, requires_subject=True), None, None),
    ],
)
def test_whose_memory_it_is(principal, person, owner):
    assert owner == subject_of(principal, person)
