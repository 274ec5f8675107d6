"""What is sent to a model's server, and what is made of what servers send: OpenAI's own, and the sloppy ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.adapters.upstream import listing, wire
from librarian.adapters.upstream.events import StepReader
from librarian.adapters.upstream.refusals import Refusals, retry_after_s
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import InvalidRequest, UpstreamBusy, UpstreamRefused
from librarian.domain.prompt import Prompt, Sampling
from librarian.domain.tools import ToolChoice, ToolSpec, ToolUse
from librarian.domain.transcript import Image, Message, OtherPart, Role, ToolCall, assistant, user
from librarian.domain.turn import Collected, Likelihood, Reasoned, StepEnded, StopReason, TextSpoken, ToolCalled, Usage
from tests.scripted import wire as sent

WEATHER = ToolSpec("get_weather", "The weather.", '{"type": "object"}', strict=True)


def body(prompt, model="m"):
    return json.loads(wire.from_domain(prompt, model))


def test_a_plain_prompt():
    prompt = Prompt(None, "Be brief.", (user("Hello."), assistant("Hi."), Message(Role.USER, "Tea?", name="ada")))

    assert {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Tea?", "name": "ada"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    } == body(prompt)


def test_a_prompt_that_nobody_reads_along():
    prompt = Prompt(None, "", (user("Hello."),), Sampling(passed={"stream_options": b"{}"}), whole=True)

    assert {"model": "m", "messages": [{"role": "user", "content": "Hello."}], "stream": False} == body(prompt)


def test_parts_of_a_message():
    audio = '{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}'
    parts = ("Look:", Image("data:image/png;base64,AA==", "low"), Image("https://x/y"), OtherPart("input_audio", audio))

    (message,) = body(Prompt(None, "", (Message(Role.USER, "Look:", parts),)))["messages"]

    assert [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
        json.loads(audio),
    ] == message["content"]


def test_calls_and_their_answers():
    calls = (ToolCall("call_1", "get_weather", '{"place": "Paris"}'), ToolCall("call_2", "get_time", ""))
    messages = (assistant("", calls), Message(Role.TOOL, "sunny", answers="call_1"), assistant("So:", calls[:1]))

    first, answer, second = body(Prompt(None, "", messages))["messages"]

    assert first["content"] is None
    assert {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"place": "Paris"}'},
    } == first["tool_calls"][0]
    assert "{}" == first["tool_calls"][1]["function"]["arguments"]
    assert {"role": "tool", "content": "sunny", "tool_call_id": "call_1"} == answer
    assert "So:" == second["content"]


@pytest.mark.parametrize(
    ("choice", "sent_as"),
    [
        (ToolChoice(), None),
        (ToolChoice(ToolUse.NONE), "none"),
        (ToolChoice(ToolUse.REQUIRED), "required"),
        (ToolChoice(name="get_weather"), {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
def test_tools(choice, sent_as):
    request = body(Prompt(None, "", (), tools=(WEATHER, ToolSpec("get_time")), choice=choice, parallel=False))

    function = {"name": "get_weather", "description": "The weather.", "parameters": {"type": "object"}, "strict": True}
    assert [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "get_time"}},
    ] == request["tools"]
    assert sent_as == request.get("tool_choice")
    assert request["parallel_tool_calls"] is False


def test_nothing_about_tools_where_there_are_none():
    request = body(Prompt(None, "", (), choice=ToolChoice(ToolUse.REQUIRED), parallel=True))

    assert {"model", "messages", "stream", "stream_options"} == request.keys()


@pytest.mark.parametrize(
    ("model", "passed", "expected"),
    [
        ("llama3", {}, {"max_tokens": 5}),
        ("openai/gpt-4o", {}, {"max_tokens": 5}),
        ("gpt-5-mini", {}, {"max_completion_tokens": 5}),
        ("openai/o3", {}, {"max_completion_tokens": 5}),
        ("llama3", {"max_completion_tokens": b"5"}, {"max_completion_tokens": 5}),
    ],
)
def test_a_bound_on_the_answer(model, passed, expected):
    request = body(Prompt(None, "", (), Sampling(5, passed)), model)

    assert expected == {name: request[name] for name in ("max_tokens", "max_completion_tokens") if name in request}


def test_sampling_is_passed_on_as_it_came_and_overrides_nothing():
    passed = {"temperature": b"0.30", "logit_bias": b'{"50256":-100}', "model": b'"other"', "stream": b"false"}

    request = wire.from_domain(Prompt(None, "", (), Sampling(passed=passed)), "m")

    assert b'"temperature":0.30' in request
    assert b'"logit_bias":{"50256":-100}' in request
    assert "m" == json.loads(request)["model"]
    assert json.loads(request)["stream"] is True


def reader():
    return StepReader(Refusals(["sekret-key"]))


def read(*reads):
    step = reader()
    return [event for data in reads for event in step.feed(data)] + step.close()


def read_whole(data):
    step = reader()
    return step.feed_whole(data) + step.close()


def gathered(events):
    """What came of it, however it was cut."""
    collected = Collected()
    for event in events:
        if isinstance(event, TextSpoken):
            collected.speak(event.fragments)
        elif isinstance(event, ToolCalled):
            collected.call(event)
    thought = "".join(fragment for event in events if isinstance(event, Reasoned) for fragment in event.fragments)
    calls = [(call.name, call.arguments) for call in collected.calls]
    return collected.text, thought, calls, events[-1]


def streamed(*deltas, finish="stop", end=sent.DONE):
    return b"".join([*(sent.chunk(delta) for delta in deltas), sent.chunk(finish=finish), end])


def piece(index=None, call_id=None, name=None, arguments=None):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    named = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return {"tool_calls": [named | {"function": function}]}


def test_one_event_a_read():
    step = reader()

    events = step.feed(b"".join(sent.chunk({"content": text}) for text in ("In", "deed", ".")))

    assert [TextSpoken(["In", "deed", "."])] == events


texts = st.text(st.characters(codec="utf-8"))
names = st.sampled_from(["get_weather", "get_time"])
deltas = st.lists(
    st.one_of(
        st.builds(lambda text: {"content": text}, texts),
        st.builds(lambda text: {"reasoning_content": text}, texts),
        st.builds(lambda text: {"reasoning": text}, texts),
    )
)
calls = st.lists(st.tuples(names, st.dictionaries(texts, texts).map(json.dumps)), max_size=3)
line_ends = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def streams(draw):
    """A stream, its bytes cut anywhere, and what was said in it."""
    said = draw(deltas)
    chunks = [sent.chunk(delta) for delta in said]
    called = draw(calls)
    for index, (name, arguments) in enumerate(called):
        chunks.append(sent.chunk(piece(index, f"call_{index}", name, "")))
        size = draw(st.integers(1, 7))
        chunks += [
            sent.chunk(piece(index, arguments=arguments[at : at + size])) for at in range(0, len(arguments), size)
        ]
    chunks += [sent.chunk(finish="stop"), sent.usage_chunk((3, 4)), sent.DONE]
    spaced = [b": ping\n\n" + chunk if draw(st.booleans()) else chunk for chunk in chunks]
    data = b"".join(spaced).replace(b"\n", draw(line_ends))
    if draw(st.booleans()):
        data = data.replace(b"data: ", b"data:")
    cuts = sorted(draw(st.lists(st.integers(0, len(data)))))
    reads = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    text = "".join(delta.get("content", "") for delta in said)
    thought = "".join(delta.get("reasoning_content", "") + delta.get("reasoning", "") for delta in said)
    return reads, (text, thought, called)


@given(streams())
def test_a_stream_says_the_same_wherever_it_is_cut(stream):
    reads, (text, thought, called) = stream

    events = read(*reads)

    reason = StopReason.TOOL_CALLS if called else StopReason.END_OF_TURN
    assert (text, thought, called, StepEnded(reason, Usage(3, 4))) == gathered(events)
    assert all(event.fragments for event in events if isinstance(event, TextSpoken | Reasoned))


@given(
    st.sampled_from(["", " \n"]),
    st.text(st.characters(codec="utf-8")).filter(lambda text: "</think>" not in text),
    st.text(st.characters(codec="utf-8")).map(str.strip),
    st.lists(st.integers(0, 40)),
)
def test_thoughts_at_the_start_are_not_speech_wherever_they_are_cut(space, thought, text, cuts):
    whole = f"{space}<think>{thought}</think>\n\n{text}"
    at = sorted({min(cut, len(whole)) for cut in cuts})
    parts = [whole[start:end] for start, end in zip([0, *at], [*at, len(whole)], strict=True)]

    heard = gathered(read(streamed(*({"content": part} for part in parts))))
    at_once = gathered(read_whole(sent.completion({"content": whole}, "stop", None)))

    assert (text, thought, []) == heard[:3] == at_once[:3]


@pytest.mark.parametrize("text", ["<th", "<", "  ", "\n<thin air>", "So <think>a</think>", "<b>x</b>", "</think>x"])
def test_what_only_looks_like_thoughts_is_speech(text):
    assert (text, "") == gathered(read(streamed(*({"content": letter} for letter in text))))[:2]


def test_thoughts_without_an_end():
    assert ("", "Hmm </th") == gathered(read(streamed({"content": "<think>Hmm"}, {"content": " </th"})))[:2]


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(0, "a", "f", '{"x":1}'), piece(0, "b", "g", "{}")],  # Ollama
        [piece(None, "a", "f", '{"x":1}'), piece(None, "b", "g", "{}")],
        [piece(None, None, "f", '{"x":1}'), piece(None, None, "g", "{}")],
        [piece(None, "", "f", '{"x":1}'), piece(None, "", "g", "{}")],
        [piece(0, None, "f", '{"x":'), piece(0, None, None, "1}"), piece(0, None, "g", "{}")],
        [piece(0, "a", "f", '{"x":'), piece(0, "a", "f", "1}"), piece(1, "b", "g", "{}")],
        [piece(0, None, "f", '{"x":'), piece(0, None, "f", "1}"), piece(0, None, "f", ""), piece(1, None, "g", "{}")],
        [piece(0, "a", "f", '{"x":1}'), piece(1, "a", "g", "{}")],
        [piece(7, "a", "f", '{"x":'), piece(9, "b", "g", "{}"), piece(7, None, None, "1}")],
        [piece(0, "a"), piece(0, None, "f", '{"x":1}'), piece(1, "b", "g")],
        [piece(0, "a", "f", {"x": 1}), piece(1, "b", "g", {})],
        [{"tool_calls": piece(0, "a", "f", '{"x":1}')["tool_calls"] + piece(1, "b", "g", "{}")["tool_calls"]}],
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_calls_of_careless_servers(pieces, at_once):
    data = streamed(*pieces, finish="tool_calls")
    events = read(data) if at_once else read(*(data[at : at + 1] for at in range(len(data))))

    called = [event for event in events if isinstance(event, ToolCalled)]
    _, _, calls, ended = gathered(events)
    assert [("f", {"x": 1}), ("g", {})] == [(name, json.loads(arguments)) for name, arguments in calls]
    ids = [event.id for event in called if event.id]
    assert 2 == len(set(ids)) == len(ids)
    assert {0, 1} == {event.index for event in called}
    assert StopReason.TOOL_CALLS is ended.reason


def test_an_id_is_made_where_there_is_none():
    events = read(streamed(piece(0, "", "f", "{}")))

    assert len("call_") + 24 == len(events[0].id)


def test_a_call_without_a_name_is_refused():
    with pytest.raises(UpstreamRefused):
        read(streamed(piece(0, "a", None, "{}")))


def test_a_call_of_the_old_kind():
    events = read(streamed({"function_call": {"name": "f", "arguments": "{}"}}, finish="function_call"))

    assert [("f", "{}")] == gathered(events)[2]
    assert StopReason.TOOL_CALLS is events[-1].reason


@pytest.mark.parametrize(
    ("finish", "called", "reason"),
    [
        ("stop", False, StopReason.END_OF_TURN),
        ("length", False, StopReason.LENGTH),
        ("content_filter", False, StopReason.CONTENT_FILTER),
        ("tool_calls", False, StopReason.END_OF_TURN),
        ("eos_token", False, StopReason.END_OF_TURN),
        (None, False, StopReason.END_OF_TURN),
        ("stop", True, StopReason.TOOL_CALLS),
        ("tool_calls", True, StopReason.TOOL_CALLS),
        ("length", True, StopReason.LENGTH),
        (None, True, StopReason.TOOL_CALLS),
    ],
)
def test_reasons_to_stop(finish, called, reason):
    call = sent.call(0, "call_1", "f", "{}")
    message = {"content": "So", "tool_calls": [call] if called else None}

    assert reason is read_whole(sent.completion(message, finish, None))[-1].reason
    assert reason is read(streamed(message, finish=finish))[-1].reason


DETAILS = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 4}, Usage(5, 4)),
        ({"prompt_tokens": 5.0, "completion_tokens": 4} | DETAILS, Usage(5, 4, 3, 2)),
        ({"prompt_tokens": 5, "completion_tokens": 4, "prompt_tokens_details": None}, Usage(5, 4)),
        ({"prompt_tokens": 5, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": None}}, Usage(5, 4)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"prompt_tokens": 5, "completion_tokens": 0}, None),
        ({"prompt_tokens": None}, None),
        (None, None),
    ],
)
def test_usage(usage, expected):
    choice = {"message": {"content": "So"}, "finish_reason": "stop"}

    assert expected == read_whole(json.dumps({"choices": [choice], "usage": usage}).encode())[-1].usage


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"choices":[{"delta":{"content":"So"}}]}\r\n\r\ndata: [DONE]\r\n\r\n',
        b'data:{"choices":[{"delta":{"content":"So"}}]}\n\ndata:[DONE]\n\n',
        b': ping\n\ndata: {"choices":\ndata: [{"delta":{"content":"So"}}]}\n\ndata: [DONE]\n\n',
        b'id: 1\nevent: message\nretry: 5\ndata: {"choices":[{"delta":{"content":"So"}}]}\n\ndata: [DONE]\n\n',
        b'data: {"choices":[{"delta":{"content":"So"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"So"},"finish_reason":"stop"}]}',
        b'data: {"choices":[{"delta":{"content":"So"}}]}\n\ndata: [DONE]',
        b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"So"}]}}]}\n\ndata: [DONE]\n\n',
        b'data: \n\ndata: {"choices":[{"delta":{"content":"So"}}]}\n\ndata: [DONE]\n\n',
        sent.chunk({"content": "S"}) + sent.chunk({"content": [{"type": "text", "text": "o"}]}, "stop"),
        b'data: {"choices":[{"delta":{"refusal":"So"}}]}\n\ndata: [DONE]\n\ndata: {never read\n\n',
        b'data: {"choices":[{"delta":{"content":"So"},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usa',
        b'\n\ndata:\n\ndata: {"choices":[]}\n\ndata: {"choices":[{"delta":{"content":"So"}}]}\n\ndata: [DONE]\n\n',
    ],
)
def test_streams_as_servers_write_them(data):
    assert ("So", "", [], StepEnded(StopReason.END_OF_TURN, None)) == gathered(read(data))


def test_a_whole_reply():
    message = {"content": "So", "reasoning": "Hmm", "tool_calls": [sent.call(0, "call_1", "f", '{"x":1}')]}

    events = read_whole(sent.completion(message, "tool_calls", (3, 4)))

    assert [
        Reasoned(["Hmm"]),
        TextSpoken(["So"]),
        ToolCalled(0, "call_1", "f", '{"x":1}'),
        StepEnded(StopReason.TOOL_CALLS, Usage(3, 4)),
    ] == events


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_answer_that_came_to_its_end_is_an_answer(content):
    ended = StepEnded(StopReason.END_OF_TURN, None)

    assert [ended] == read(streamed({"content": content}))
    assert [ended] == read_whole(sent.completion({"content": content}, "stop", None))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        sent.DONE,
        sent.chunk({"role": "assistant", "content": ""}),
        sent.chunk({"role": "assistant", "content": ""}) + sent.DONE,
        sent.chunk({"content": "In"}),
        sent.chunk({"content": "In"}) + sent.chunk({"content": "deed"})[:40],
        b": ping\n\n: ping\n\n",
        b"<html>\n\n</html>",
        b'{"choices": []}',
    ],
)
def test_what_broke_off_or_says_nothing_is_refused(data):
    with pytest.raises(UpstreamRefused) as refused:
        read(data)

    assert refused.value.heard


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"<html>", b'"x"', b"\xff"]
)
def test_a_whole_reply_that_says_nothing_is_refused(data):
    with pytest.raises((UpstreamRefused, ValueError)):
        read_whole(data)


FAILURES = [
    b'data: {"error": {"message": "out of memory sekret-key"}}\n\n',
    b'data: {"error": "out of memory sekret-key"}\n\n',
    b'event: error\ndata: {"error": {"message": "out of memory sekret-key", "code": 500}}\n\n',
    b'event: error\ndata: {"message": "out of memory sekret-key"}\n\n',
    b"event: error\ndata: out of memory sekret-key\n\n",
    b'data: {"object": "error", "message": "out of memory sekret-key"}\n\n',
]


@pytest.mark.parametrize("frame", FAILURES)
def test_an_error_in_the_middle(frame):
    step = reader()
    assert [TextSpoken(["In"])] == step.feed(sent.chunk({"content": "In"}))

    with pytest.raises(UpstreamRefused, match=r"out of memory \*\*\*") as refused:
        step.feed(frame)

    assert refused.value.heard


def test_an_overflow_that_is_said_before_anything_else():
    frame = sent.event({"error": {"message": "This exceeds the available context size."}})
    step = reader()

    with pytest.raises(InvalidRequest) as refused:
        step.feed(frame)

    assert "context_length_exceeded" == refused.value.code
    step.feed(sent.chunk({"content": "In"}))
    with pytest.raises(UpstreamRefused):
        step.feed(frame)


def test_an_event_without_end(monkeypatch):
    monkeypatch.setattr("librarian.adapters.upstream.frames.LONGEST_EVENT_BYTES", 1000)

    with pytest.raises(UpstreamRefused):
        read(*[b"data: " + b"x" * 100] * 20)


def refusal(status, headers=None, **error):
    said = json.dumps({"error": error}).encode() if error else b""
    return Refusals(["sekret-key"]).by_status(status, headers or {}, said)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_the_clients_fault(status):
    error = refusal(status, message="No such thing.", code="odd", param="temperature")

    assert isinstance(error, InvalidRequest)
    assert ("No such thing.", "odd", "temperature") == (str(error), error.code, error.param)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"message": "Incorrect API key provided: sekret-key"}),
        (403, {"message": "Not from there."}),
        (404, {"message": "The model `x` does not exist", "code": "model_not_found"}),
        (404, {"message": "model 'x' not found"}),
        (404, {"message": "Not Found"}),
        (404, {}),
        (400, {}),
        (302, {}),
        (402, {"message": "Pay first."}),
        (409, {"message": "Not now."}),
        (500, {"message": "Oops."}),
        (503, {"message": "Loading model", "code": 503}),
    ],
)
def test_what_is_not_the_clients_fault(status, error):
    refused = refusal(status, **error)

    assert isinstance(refused, UpstreamRefused)
    assert not refused.heard
    assert "sekret" not in str(refused)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Too long.", "code": "context_length_exceeded"}),
        (400, {"code": "context_length_exceeded"}),
        (400, {"message": "This model's maximum context length is 8192 tokens."}),
        (400, {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}),
        (413, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
        (500, {"message": "the request exceeds the available context size. try increasing it"}),
        (400, {"message": "Trying to keep the first 5000 tokens when context the overflows."}),
    ],
)
def test_overflows(status, error):
    refused = refusal(status, **error)

    assert isinstance(refused, InvalidRequest)
    assert ("context_length_exceeded", "messages") == (refused.code, refused.param)
    assert str(refused)


@pytest.mark.parametrize(
    ("headers", "waits_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "86400"}, 120),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:30 GMT", "date": "Sat, 31 Jan 2026 12:00:00 GMT"}, 30),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:00 GMT", "date": "Sat, 31 Jan 2026 12:00:30 GMT"}, 0),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({}, None),
    ],
)
def test_how_long_a_busy_server_wants_to_be_left_alone(headers, waits_s):
    busy = refusal(429, headers, message="Slow down.")

    assert isinstance(busy, UpstreamBusy)
    assert waits_s == busy.retry_after_s == retry_after_s(headers)


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "Bad sekret-key  sk-abc123456789 \n\x00 Bearer abcdef"}},
        {"error": "Bad sekret-key  sk-abc123456789 \n\x00 Bearer abcdef"},
        {"message": "Bad sekret-key  sk-abc123456789 \n\x00 Bearer abcdef", "code": "odd"},
        {"detail": "Bad sekret-key  sk-abc123456789 \n\x00 Bearer abcdef"},
    ],
)
def test_no_message_carries_a_secret(said):
    error = Refusals(["sekret-key"]).by_status(400, {}, json.dumps(said).encode())

    assert "Bad *** *** ***" == str(error)


def test_a_long_message_is_cut():
    assert 500 == len(str(refusal(400, message="x" * 5000)))


def test_a_place_among_our_messages_is_not_a_place_among_theirs():
    assert refusal(400, message="Bad image.", param="messages.[3].content").param is None


def test_what_is_no_json_is_not_passed_on():
    refused = Refusals([]).by_status(400, {}, b"<html>nginx 10.0.0.7</html>")

    assert isinstance(refused, UpstreamRefused)
    assert "nginx" not in str(refused)


def test_a_list_of_models():
    entries = [
        {"id": "a", "created": 7, "context_window": 100},
        {"id": "b", "max_model_len": 200, "created": 1.5e9},
        {"id": "c", "context_length": 300, "created": "yesterday"},
        {"id": "d", "max_context_length": 400, "meta": {"n_ctx_train": 9}},
        {"id": "e", "meta": {"n_ctx_train": 500}, "context_window": None},
        {"id": "f", "meta": None},
        {"id": "nomic-embed-text"},
        {"id": "g", "type": "embeddings"},
        {"id": ""},
        {"name": "h"},
        "i",
    ]
    cards = (
        ModelCard("a", 100, 7),
        ModelCard("b", 200, 1_500_000_000),
        ModelCard("c", 300),
        ModelCard("d", 400),
        ModelCard("e", 500),
        ModelCard("f"),
    )

    assert cards == listing.to_domain(json.dumps({"data": entries}).encode())
    assert cards == listing.to_domain(json.dumps(entries).encode())


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"data": null}', b"1"])
def test_what_is_no_list_of_models(data):
    with pytest.raises(ValueError, match=r".+"):
        listing.to_domain(data)


def likely_chunk(text, *tokens, **more):
    content = [{"token": token, "logprob": -0.5} | more for token in tokens]
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, "logprobs": {"content": content}}
    return sent.event(sent.HEAD | {"object": "chat.completion.chunk", "choices": [choice]})


def likelihoods(events):
    return [event.likelihoods for event in events if isinstance(event, TextSpoken)]


def test_how_likely_tokens_were_is_told_with_them():
    other = {"token": "Ha", "logprob": -3, "bytes": [72, 97]}
    told = {"bytes": [72, 105], "top_logprobs": [other, {"token": "\u00e9", "logprob": -9999}]}

    events = read(likely_chunk("Hi", "Hi", **told), sent.chunk({}, "stop"))

    others = (Likelihood("Ha", -3, b"Ha"), Likelihood("\u00e9", -9999, "\u00e9".encode()))
    assert [[Likelihood("Hi", -0.5, b"Hi", others)]] == likelihoods(events)


def test_it_is_told_of_what_was_said_and_not_of_what_was_thought():
    first = likely_chunk("<think>So", "<think>", "So")
    second = likely_chunk("</think>Well", "</think>", "Well")

    events = read(first + second, likely_chunk(", yes", ",", " yes"), sent.chunk({}, "stop"))

    assert [["Well"], [",", " yes"]] == [[each.token for each in told] for told in likelihoods(events)]


def test_what_is_held_back_is_told_with_its_tokens():
    events = read(likely_chunk("<", "<"), likely_chunk("b>", "b", ">"), sent.chunk({}, "stop"))

    assert [["<", "b", ">"]] == [[each.token for each in told] for told in likelihoods(events)]


@pytest.mark.parametrize("told", [None, {}, [], 5, {"content": None}, {"content": [5]}, {"tokens": ["Hi"]}])
def test_likelihoods_of_another_shape_are_passed_over(told):
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop", "logprobs": told}

    events = read(sent.event(sent.HEAD | {"choices": [choice]}))

    assert [()] == [tuple(found) for found in likelihoods(events)]
    assert "Hi" == gathered(events)[0]
