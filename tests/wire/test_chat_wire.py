"""What clients send, read as the domain would have it, or refused in OpenAI's words."""

import json

import msgspec
import pytest

from librarian.domain.clients import LABELS
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import LOCAL, Purpose
from librarian.domain.tools import ToolChoice, ToolSpec, ToolUse
from librarian.domain.transcript import Image, OtherPart, Role, ToolCall
from librarian.entrypoints.http.openai.schema import schemas
from librarian.entrypoints.http.openai.wire import chat, completions

USER = {"role": "user", "content": "Hello?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
LOOK = {"name": "look", "description": "Look at it.", "parameters": {"type": "object"}, "strict": True}


def read(*messages, **more):
    body = {"model": "librarian", "messages": list(messages or [USER])} | more
    return chat.to_domain(chat.decode(json.dumps(body).encode()), LOCAL)


def said(message):
    return read(message, USER).transcript.messages[0] if message["role"] == "assistant" else _all(read(message))[0]


def _all(ask):
    return ask.transcript.overlay + ask.transcript.messages


def refused(body, decode=chat):
    with pytest.raises(InvalidRequest) as refusal:
        decode.to_domain(decode.decode(body if isinstance(body, bytes) else json.dumps(body).encode()), LOCAL)
    return refusal.value


@pytest.mark.parametrize(
    ("role", "expected"),
    [("developer", Role.SYSTEM), ("system", Role.SYSTEM), ("user", Role.USER), ("assistant", Role.ASSISTANT)],
)
def test_every_role_is_known(role, expected):
    assert expected is said({"role": role, "content": "x"}).role


def test_content_may_be_parts():
    message = said({"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": ", two"}]})

    assert ("One, two", ()) == (message.text, message.parts)


def test_parts_that_are_no_text_are_kept_beside_it():
    audio = {"data": "UklGRg==", "format": "wav"}
    message = said(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "image_url", "image_url": "https://example.org/a.png"},
                {"type": "input_audio", "input_audio": audio},
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        }
    )

    text, image, plain, sound, file = message.parts
    assert ("See", "See") == (message.text, text)
    assert Image("data:image/png;base64,AA==", "low") == image
    assert Image("https://example.org/a.png") == plain
    assert isinstance(sound, OtherPart)
    assert {"type": "input_audio", "input_audio": audio} == json.loads(sound.content)
    assert {"type": "file", "file": {"file_id": "file-1"}} == json.loads(file.content)


@pytest.mark.parametrize("role", ["user", "system", "developer"])
@pytest.mark.parametrize("content", ["", []])
def test_an_empty_text_is_a_text(role, content):
    assert "" == said({"role": role, "content": content}).text


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": []}, {"content": ""}])
def test_a_turn_of_calls_needs_no_content(content):
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "Seen."}

    _, spoken, answered = read(USER, {"role": "assistant", "tool_calls": [CALL]} | content, answer).transcript.messages

    assert ("", (ToolCall("call_1", "look", '{"at": "it"}'),)) == (spoken.text, spoken.calls)
    assert "call_1" == answered.answers


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": []}, {"content": ""}])
@pytest.mark.parametrize("more", [{}, {"tool_calls": None}, {"tool_calls": []}, {"refusal": None}])
def test_an_assistant_may_have_said_nothing(content, more):
    message = said({"role": "assistant"} | content | more)

    assert ("", (), ()) == (message.text, message.parts, message.calls)


def test_an_answer_of_ours_comes_back_as_sdks_dump_it():
    dumped = {"role": "assistant", "content": "Hi.", "refusal": None, "annotations": [], "audio": None}

    assert "Hi." == said(dumped | {"function_call": None, "tool_calls": None}).text


def test_a_refusal_is_what_the_assistant_said():
    assert "No." == said({"role": "assistant", "content": None, "refusal": "No."}).text
    assert "No." == said({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}).text


@pytest.mark.parametrize("tool", [{"type": "function", "function": LOOK}, {"type": "function"} | LOOK])
def test_tools_may_come_in_chats_form_or_flat(tool):
    spec = read(tools=[tool]).tools.specs[0]

    assert ToolSpec("look", "Look at it.", '{"type": "object"}', strict=True) == spec


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice(ToolUse.AUTO)),
        ("none", ToolChoice(ToolUse.NONE)),
        ("required", ToolChoice(ToolUse.REQUIRED)),
        ({"type": "function", "function": {"name": "look"}}, ToolChoice(ToolUse.AUTO, "look")),
        ({"type": "function", "name": "look"}, ToolChoice(ToolUse.AUTO, "look")),
    ],
)
def test_the_client_chooses_among_its_tools(choice, expected):
    tools = read(tools=[{"type": "function", "function": LOOK}], tool_choice=choice, parallel_tool_calls=False).tools

    assert (expected, False) == (tools.choice, tools.parallel)


def test_sampling_passes_through_as_it_came():
    wishes = {
        "temperature": 0.5,
        "top_p": 1,
        "seed": 12,
        "stop": ["\n", "END"],
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
        "prediction": {"type": "content", "content": "x"},
        "top_k": 40,
        "prompt_cache_key": "chat-1",
    }

    passed = read(**wishes, store=True, metadata={"a": "b"}, unheard_of=[1]).sampling.passed

    assert wishes == {name: json.loads(raw) for name, raw in passed.items()}


def test_the_smaller_limit_counts_and_both_pass():
    sampling = read(max_tokens=20, max_completion_tokens=10).sampling

    assert (10, {"max_tokens": b"20", "max_completion_tokens": b"10"}) == (sampling.max_tokens, sampling.passed)


@pytest.mark.parametrize(
    ("wanted", "structured"),
    [
        (None, False),
        ({"type": "text"}, False),
        ({"type": "json_object"}, True),
        ({"type": "json_schema", "json_schema": {"name": "form", "schema": {"type": "object"}}}, True),
        ({"type": "json_schema", "json_schema": {"name": "form"}}, True),
    ],
)
def test_a_response_format_shows_what_is_wanted(wanted, structured):
    assert structured is read(response_format=wanted).structured


def test_every_optional_field_may_be_null():
    optional = {field.name: None for field in msgspec.structs.fields(chat.ChatRequest) if not field.required}

    ask = read(USER | dict.fromkeys(("name", "tool_calls", "tool_call_id", "refusal", "function_call")), **optional)

    assert ({}, True) == (ask.sampling.passed, ask.whole)


@pytest.mark.parametrize(
    ("metadata", "labels"),
    [
        (None, {}),
        ({}, {}),
        ({"session_id": "s", "other": "x"}, {"session_id": "s"}),
        ({f"{number:064}": "x" * 512 for number in range(16)}, {}),
        ({"conversation_id": "a", "session_id": "b", "chat_id": "c"}, dict(zip(LABELS, "abc", strict=True))),
    ],
)
def test_metadata_may_name_a_conversation(metadata, labels):
    assert labels == chat.decode(json.dumps(ask(metadata=metadata)).encode()).labels


def test_without_metadata_no_conversation_is_named():
    assert {} == chat.decode(json.dumps(ask()).encode()).labels


TOOL = {"type": "function", "function": LOOK}


def allowed(mode, *names, kind="function"):
    tools = [{"type": kind, "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("flat", [False, True])
def test_some_tools_may_be_allowed(mode, flat):
    choice = allowed(mode, "find")
    if flat:
        choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "find"}]}

    tools = read(tools=[TOOL, {"type": "function", "name": "find"}], tool_choice=choice).tools

    assert ["find"] == [spec.name for spec in tools.specs]
    assert ToolChoice(ToolUse(mode)) == tools.choice


def test_many_messages_tools_and_levels_are_read():
    tools = [{"type": "function", "name": f"f{number}"} for number in range(512)]
    deep = json.loads('{"not":' * 61 + "{}" + "}" * 61)

    many = read(*[USER] * 4096, tools=tools, response_format=form(deep))

    assert (4096, 512) == (len(many.transcript.messages), len(many.tools.specs))


@pytest.mark.parametrize("sent", [{"moderation": {"model": "m"}}, {"audio": {"voice": "v"}}, {"audio": None}])
def test_what_nobody_can_do_is_named(sent):
    request = chat.decode(json.dumps(ask(**sent)).encode())

    assert tuple(name for name in sent if sent[name]) == chat.ignored(request)
    assert {} == chat.to_domain(request, LOCAL).sampling.passed


def ask(*messages, **more):
    return {"model": "m", "messages": list(messages or [USER])} | more


REFUSED = {
    "no model": ({"messages": [USER]}, "model"),
    "no model's name": (ask(model=""), "model"),
    "null for a model": (ask(model=None), "model"),
    "no messages": ({"model": "m"}, "messages"),
    "empty messages": ({"model": "m", "messages": []}, "messages"),
    "messages of the wrong type": ({"model": "m", "messages": "Hello?"}, "messages"),
    "a message of the wrong type": (ask("Hello?"), "messages.[0]"),
    "no role": (ask({"content": "x"}), "messages.[0].role"),
    "unknown role": (ask(USER, {"role": "wizard", "content": "x"}), "messages.[1].role"),
    "the role of functions": (ask({"role": "function", "name": "f", "content": "x"}), "messages.[0].role"),
    "no content": (ask({"role": "user"}), "messages.[0].content"),
    "null content": (ask({"role": "system", "content": None}), "messages.[0].content"),
    "content of the wrong type": (ask({"role": "user", "content": 5}), "messages.[0].content"),
    "an unknown part": (ask({"role": "user", "content": [{"type": "smell"}]}), "messages.[0].content.[0].type"),
    "a part with no type": (ask({"role": "user", "content": [{"text": "x"}]}), "messages.[0].content.[0].type"),
    "a text with no text": (ask({"role": "user", "content": [{"type": "text"}]}), "messages.[0].content.[0].text"),
    "an image with no address": (
        ask({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
        "messages.[0].content.[0].image_url.url",
    ),
    "a sound with no data": (
        ask({"role": "user", "content": [{"type": "input_audio"}]}),
        "messages.[0].content.[0].input_audio",
    ),
    "a refusal of the user": (
        ask({"role": "user", "content": [{"type": "refusal", "refusal": "No."}]}),
        "messages.[0].content.[0].type",
    ),
    "a tool message that names no call": (ask({"role": "tool", "content": "x"}), "messages.[0].tool_call_id"),
    "a tool message with no call": (
        ask(USER, {"role": "tool", "content": "x", "tool_call_id": "call_1"}),
        "messages.[1].tool_call_id",
    ),
    "a call with no answer": (
        ask({"role": "assistant", "content": None, "tool_calls": [CALL]}, USER),
        "messages.[1].role",
    ),
    "a call with no id": (
        ask({"role": "assistant", "tool_calls": [{"function": CALL["function"]}]}),
        "messages.[0].tool_calls.[0].id",
    ),
    "a call of nothing": (
        ask({"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"arguments": "{}"}}]}),
        "messages.[0].tool_calls.[0].function.name",
    ),
    "arguments that are no string": (
        ask({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]}),
        "messages.[0].tool_calls.[0].function.arguments",
    ),
    "a custom call": (
        ask({"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]}),
        "messages.[0].tool_calls.[0].type",
    ),
    "a message with a function call": (
        ask({"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": ""}}),
        "messages.[0].function_call",
    ),
    "functions": (ask(functions=[{"name": "f"}]), "functions"),
    "a function call": (ask(function_call="auto"), "function_call"),
    "a custom tool": (ask(tools=[{"type": "custom", "name": "f"}]), "tools.[0].type"),
    "a tool with no name": (ask(tools=[{"type": "function", "function": {}}]), "tools.[0].function.name"),
    "a flat tool with no name": (ask(tools=[{"type": "function"}]), "tools.[0].function.name"),
    "parameters that are no schema": (
        ask(tools=[{"type": "function", "function": {"name": "f", "parameters": []}}]),
        "tools.[0].function.parameters",
    ),
    "parameters of an unknown type": (
        ask(tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "dict"}}}]),
        "tools.[0].function.parameters",
    ),
    "an unknown choice": (ask(tool_choice="perhaps"), "tool_choice"),
    "no allowed tools": (ask(tool_choice={"type": "allowed_tools"}), "tool_choice.allowed_tools"),
    "allowed tools without a mode": (
        ask(tool_choice={"type": "allowed_tools", "allowed_tools": {}}),
        "tool_choice.allowed_tools.mode",
    ),
    "allowed tools that must not be called": (
        ask(tools=[TOOL], tool_choice=allowed("none", "look")),
        "tool_choice.allowed_tools.mode",
    ),
    "an allowed tool that is not there": (
        ask(tools=[TOOL], tool_choice=allowed("auto", "leap")),
        "tool_choice.allowed_tools.tools",
    ),
    "an allowed tool of another kind": (
        ask(tools=[TOOL], tool_choice=allowed("auto", "look", kind="mcp")),
        "tool_choice.allowed_tools.tools.[0].type",
    ),
    "a custom choice": (ask(tool_choice={"type": "custom", "custom": {"name": "f"}}), "tool_choice.type"),
    "too many tools": (ask(tools=[TOOL] * 513), "tools"),
    "too many messages": (ask(*[USER] * 4097), "messages"),
    "a choice of nothing": (ask(tool_choice={"type": "function"}), "tool_choice.function.name"),
    "n of 0": (ask(n=0), "n"),
    "n of 17": (ask(n=17), "n"),
    "a temperature too high": (ask(temperature=2.1), "temperature"),
    "a temperature too low": (ask(temperature=-0.1), "temperature"),
    "a temperature in words": (ask(temperature="hot"), "temperature"),
    "top_p too high": (ask(top_p=1.5), "top_p"),
    "a penalty too high": (ask(presence_penalty=3), "presence_penalty"),
    "a penalty too low": (ask(frequency_penalty=-3), "frequency_penalty"),
    "negative max_tokens": (ask(max_tokens=-1), "max_tokens"),
    "no tokens": (ask(max_completion_tokens=0), "max_completion_tokens"),
    "half a token": (ask(max_tokens=1.5), "max_tokens"),
    "a stream in words": (ask(stream="yes"), "stream"),
    "stream options of the wrong type": (ask(stream_options=True), "stream_options"),
    "a seed in words": (ask(seed="x"), "seed"),
    "a stop of numbers": (ask(stop=[1]), "stop.[0]"),
    "a response format in words": (ask(response_format="json"), "response_format"),
    "an unknown response format": (ask(response_format={"type": "xml"}), "response_format.type"),
    "a response format with no type": (ask(response_format={}), "response_format.type"),
    "a json_schema with nothing": (ask(response_format={"type": "json_schema"}), "response_format.json_schema"),
    "a json_schema with no name": (
        ask(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
        "response_format.json_schema.name",
    ),
    "a schema that is no object": (ask(response_format=form([])), "response_format.json_schema.schema"),
    "a schema in words": (ask(response_format=form("object")), "response_format.json_schema.schema"),
    "a schema of no known type": (ask(response_format=form({"type": "dict"})), "response_format.json_schema.schema"),
    "a schema nested too deep": (
        ask(response_format=form({"not": json.loads('{"not":' * 64 + "{}" + "}" * 64)})),
        "response_format",
    ),
    "sound for an answer": (ask(modalities=["text", "audio"]), "modalities"),
    "metadata of the wrong type": (ask(metadata=[]), "metadata"),
    "metadata that is no text": (ask(metadata={"chat_id": 5}), "metadata"),
    "too much metadata": (ask(metadata={str(number): "" for number in range(17)}), "metadata"),
    "a key of metadata too long": (ask(metadata={"k" * 65: ""}), "metadata"),
    "metadata too long": (ask(metadata={"k": "v" * 513}), "metadata.k"),
    "a store in words": (ask(store="yes"), "store"),
    "a user of the wrong type": (ask(user=5), "user"),
    "NUL": (ask({"role": "user", "content": "a\0b"}), "messages.[0].content"),
    "NUL in what is only passed on": (ask(prediction={"content": "\0"}), "prediction.content"),
    "a lone surrogate": (ask({"role": "user", "content": "a\ud800b"}), "messages.[0].content"),
    "a lone low surrogate": (ask(USER, USER | {"name": "\udc00"}), "messages.[1].name"),
    "a lone surrogate at the end": (ask(stop="\ud800"), "stop"),
    "what is passed on nested too deep": (ask(prediction=json.loads("[" * 65 + "]" * 65)), "prediction"),
    "no bottom": (b"[" * 100_000, None),
    "no bottom in a field nobody reads": (b'{"x":' + b"[" * 100_000, None),
    "no JSON": (b"Hello?", None),
    "nothing": (b"", None),
    "half of it": (b'{"model": "m", "messages": [', None),
    "more than it": (json.dumps(ask()).encode() + b"}", None),
    "no number": (b'{"temperature": NaN, "model": "m", "messages": []}', None),
    "a number without end": (b'{"model":"m","messages":[{"role":"user","content":""}],"top_p":1e999}', "top_p"),
    "a list": (b"[]", None),
    "null": (b"null", None),
    "no UTF-8": (b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}', None),
    "no UTF-8 in a field nobody reads": (b'{"x": "\xc3(", "model": "m", "messages": []}', None),
    "a surrogate in bytes": (b'{"model": "m", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}', None),
}


@pytest.mark.parametrize(("body", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_refused_by_name(body, param):
    refusal = refused(body)

    assert param == refusal.param
    assert str(refusal)


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800", "\\", "😀", "\u2028", "a\\\\u0000"])
def test_text_that_only_looks_unsuitable_is_read(text):
    assert text == said({"role": "user", "content": text}).text
    assert text == chat.to_domain(
        chat.decode(json.dumps(ask({"role": "user", "content": text}), ensure_ascii=False).encode()), LOCAL
    ).transcript.messages[0].text  # fmt: skip


def test_brackets_in_strings_are_no_depth():
    assert read(tools=[{"type": "function", "function": LOOK | {"parameters": {"x": ["[{" * 99, '"\\']}}}]).tools.specs


def test_a_prompt_is_one_message_of_the_user():
    asks = completions.to_domain(completions.decode(b'{"model": "m", "prompt": ["a", "b"], "max_tokens": 5}'), LOCAL)

    assert [["a"], ["b"]] == [[message.text for message in ask.transcript.messages] for ask in asks]
    assert {Purpose.CHAT} == {ask.purpose for ask in asks}
    assert [5, 5] == [ask.sampling.max_tokens for ask in asks]


def test_a_suffix_makes_a_task():
    (ask,) = completions.to_domain(completions.decode(b'{"model": "m", "prompt": "def f(", "suffix": "pass"}'), LOCAL)

    assert Purpose.TASK is ask.purpose
    assert completions.FILL_IN == ask.transcript.overlay[0].text
    assert "def f(" in ask.transcript.messages[0].text
    assert "pass" in ask.transcript.messages[0].text


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [None]}, "prompt.[0]"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 5}, "temperature"),
    ],
)
def test_completions_refuse_what_they_cannot_do(more, param):
    assert param == refused({"model": "m", "prompt": "a"} | more, completions).param


def test_a_missing_prompt_is_named():
    assert "prompt" == refused({"model": "m"}, completions).param


def test_what_is_read_is_published():
    published = schemas()

    assert ["messages", "model"] == sorted(published["ChatRequest"]["required"])
    assert {"prompt", "suffix"} <= published["CompletionRequest"]["properties"].keys()
