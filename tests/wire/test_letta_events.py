"""What a Letta server streams, and what becomes of it. The sequences were recorded from Letta 0.16.8."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.adapters.letta.errors import Engaged, Gone, Missing, NotPending, Pending
from librarian.adapters.letta.events import ContextCompacted, TurnReader
from librarian.adapters.letta.frames import LONGEST_EVENT_BYTES
from librarian.adapters.letta.refusals import Refusals
from librarian.domain.errors import (
    AgentUnavailable,
    InvalidRequest,
    LibrarianError,
    TurnFailed,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamTimedOut,
)
from librarian.domain.turn import Reasoned, StepEnded, StopReason, TextSpoken, ToolCalled, ToolReturned, Usage

RUN = "run-9e1ea5f7-1aac-4f4a-8c71-431bf1ba834a"
DONE = b"data: [DONE]\n\n"
KEY = "sekret-key-0123456789"


def sent(data):
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def event(kind, step="step-1", **fields):
    head = {"id": "message-1", "date": "2026-11-21T06:44:40+00:00", "name": None, "message_type": kind, "otid": "00"}
    return sent(head | {"sender_id": None, "step_id": step, "is_err": None, "seq_id": None, "run_id": RUN} | fields)


PING = event("ping", step=None, id="ping-1")


def spoken(text, step="step-1"):
    return event("assistant_message", step, content=text)


def thought(text):
    return event("reasoning_message", source="reasoner_model", reasoning=text, signature=None)


def called(call_id, name, arguments, kind="approval_request_message", step="step-1"):
    delta = {"name": name, "arguments": arguments, "tool_call_id": call_id}
    return event(kind, step, tool_call=delta, tool_calls=delta)


def returned(call_id, name, status="success", step="step-1"):
    return event("tool_return_message", step, name=name, tool_return="42", status=status, tool_call_id=call_id)


def stopped(reason):
    return sent({"message_type": "stop_reason", "stop_reason": reason})


def counted(prompt=11, completion=7, steps=1, **more):
    counts = {"completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": prompt + completion}
    details = {"cached_input_tokens": None, "cache_write_tokens": None, "reasoning_tokens": None}
    said = {"message_type": "usage_statistics", "step_count": steps, "run_ids": None, "context_tokens": 18}
    return sent(said | counts | details | more)


def failed(kind, message="An error occurred with the LLM request.", detail=None):
    error = {"message_type": "error_message", "run_id": RUN, "error_type": kind, "message": message}
    return b"event: error\n" + sent(error | {"detail": detail, "seq_id": None})


def models_error(status, code=None, message="That did not work.", param=None):
    error = {"message": message, "type": "error", "param": param, "code": code}
    return f"INVALID_ARGUMENT: Bad request to OpenAI: Error code: {status} - { {'error': error}!r}"


PLAIN = [
    PING,
    thought("let "),
    thought("me see"),
    spoken("the "),
    spoken("answer"),
    stopped("end_turn"),
    counted(),
    DONE,
]
CALLS = [
    PING,
    spoken("Let me see."),
    called("c1", "get_weather", None),
    called("c1", None, '{"place":'),
    called("c1", None, ' "Paris"}'),
    called("c2", "now", "{}"),
    stopped("requires_approval"),
    counted(),
    DONE,
]
LETTAS_TOOL = [
    PING,
    spoken("Let me count."),
    called("t1", "double", None, "tool_call_message"),
    called("t1", None, '{"number": 21}', "tool_call_message"),
    returned("t1", "double"),
    PING,
    spoken("It is ", "step-2"),
    spoken("42.", "step-2"),
    stopped("end_turn"),
    counted(608, 20, steps=2),
    DONE,
]
SEQUENCES = [PLAIN, CALLS, LETTAS_TOOL]


def new_reader(most_tokens=None):
    return TurnReader(Refusals([KEY], 30), most_tokens)


def read(*reads, reader=None):
    reader = reader or new_reader()
    events = [event for one in reads for event in reader.feed(one)]
    return events + reader.close()


def refused(*reads, reader=None):
    with pytest.raises(LibrarianError) as error:
        read(*reads, reader=reader)
    for secret in (KEY, "Error code", "{'", "asyncpg", "Traceback"):
        assert secret not in str(error.value)
    return error.value


def text_of(events):
    return "".join(fragment for event in events if isinstance(event, TextSpoken) for fragment in event.fragments)


def gathered(events):
    """What is left of events when it no longer matters how they were cut."""
    calls = {}
    for event in events:
        if isinstance(event, ToolCalled):
            id_, name, arguments = calls.get(event.index, (event.id, event.name, ""))
            calls[event.index] = id_, name, arguments + event.arguments
    thoughts = "".join(text for event in events if isinstance(event, Reasoned) for text in event.fragments)
    rest = [event for event in events if not isinstance(event, TextSpoken | Reasoned | ToolCalled)]
    return text_of(events), thoughts, calls, rest


def test_a_plain_turn():
    reader = new_reader()

    events = read(b"".join(PLAIN), reader=reader)

    assert [
        Reasoned(["let ", "me see"]),
        TextSpoken(["the ", "answer"]),
        StepEnded(StopReason.END_OF_TURN, Usage(11, 7)),
    ] == events
    assert (RUN, True, True, False) == (reader.run_id, reader.began, reader.over, reader.compacted)
    assert 18 == reader.context_tokens


def test_one_event_a_read():
    assert [["the "], ["answer"]] == [event.fragments for event in read(*PLAIN) if isinstance(event, TextSpoken)]


@given(st.sampled_from(SEQUENCES), st.data())
def test_however_it_is_cut(sequence, data):
    whole = b"".join(sequence)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    reads = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert gathered(read(whole)) == gathered(read(*reads))


@given(st.lists(st.text(min_size=1), min_size=1))
def test_every_text_arrives(texts):
    events = read(PING, *map(spoken, texts), stopped("end_turn"), DONE)

    assert "".join(texts) == text_of(events)


def test_calls_of_the_clients():
    events = read(b"".join(CALLS))

    assert [
        TextSpoken(["Let me see."]),
        ToolCalled(0, "c1", "get_weather", '{"place": "Paris"}'),
        ToolCalled(1, "c2", "now", "{}"),
        StepEnded(StopReason.TOOL_CALLS, Usage(11, 7)),
    ] == events


def test_calls_piece_by_piece():
    calls = [event for event in read(*CALLS) if isinstance(event, ToolCalled)]

    assert [
        ToolCalled(0, "c1", "get_weather", ""),
        ToolCalled(0, "", "", '{"place":'),
        ToolCalled(0, "", "", ' "Paris"}'),
        ToolCalled(1, "c2", "now", "{}"),
    ] == calls


def test_calls_in_one_piece():
    """Providers that Letta does not stream from: all calls are in the list, and the first of them twice."""
    calls = [
        {"name": "get_weather", "arguments": '{"place": "Paris"}', "tool_call_id": "c1"},
        {"name": "now", "arguments": "{}", "tool_call_id": "c2"},
    ]
    whole = event("approval_request_message", tool_call=calls[0], tool_calls=calls)

    events = read(PING, whole, stopped("requires_approval"), counted(), DONE)

    assert ["c1", "c2"] == [event.id for event in events if isinstance(event, ToolCalled)]


def test_a_call_without_arguments():
    events = read(PING, called("c1", "now", None), stopped("requires_approval"), DONE)

    assert [ToolCalled(0, "c1", "now", ""), ToolCalled(0, "", "", "{}")] == events[:2]


def test_a_name_in_pieces_is_not_taken_for_a_call_of_lettas():
    first = called("c1", "get_", None, "tool_call_message")

    events = read(PING, first, called("c1", "weather", "{}"), stopped("requires_approval"), DONE)

    assert ToolCalled(0, "c1", "get_weather", "{}") == events[0]


def test_ids_that_come_again_in_the_next_step():
    lettas = [called("0", "double", "{}", "tool_call_message"), returned("0", "double")]

    events = read(PING, *lettas, called("0", "now", "{}", step="step-2"), stopped("requires_approval"), DONE)

    assert [ToolReturned("0", "double", succeeded=True), ToolCalled(0, "0", "now", "{}")] == events[:2]


def test_what_is_said_around_a_tool_of_lettas():
    events = read(b"".join(LETTAS_TOOL))

    assert [
        TextSpoken(["Let me count."]),
        ToolReturned("t1", "double", succeeded=True),
        TextSpoken(["\n\n", "It is ", "42."]),
        StepEnded(StopReason.END_OF_TURN, Usage(608, 20)),
    ] == events


def test_a_tool_of_lettas_that_failed():
    events = read(PING, returned("t1", "double", "error"), stopped("end_turn"), DONE)

    assert ToolReturned("t1", "double", succeeded=False) == events[0]


def test_returns_at_once():
    parts = [{"tool_call_id": "t1", "status": "success"}, {"tool_call_id": "t2", "status": "error"}]
    calls = [called("t1", "double", "{}", "tool_call_message"), called("t2", "halve", "{}", "tool_call_message")]

    events = read(PING, *calls, event("tool_return_message", tool_returns=parts), stopped("end_turn"), DONE)

    assert [ToolReturned("t1", "double", succeeded=True), ToolReturned("t2", "halve", succeeded=False)] == events[:2]


def test_a_compaction_is_seen_and_not_said():
    reader = new_reader()
    note = json.dumps({"type": "system_alert", "message": "Note: 8 messages...", "compaction_stats": {}})

    events = read(PING, spoken("Hi."), event("user_message", content=note), *PLAIN[-3:], reader=reader)

    assert [TextSpoken(["Hi."]), ContextCompacted()] == events[:2]
    assert reader.compacted


def test_text_in_parts():
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "answer"}]

    assert "the answer" == text_of(read(PING, event("assistant_message", content=parts), *PLAIN[-3:]))


def test_tokens_are_counted():
    events = read(PING, stopped("end_turn"), counted(608, 20, cached_input_tokens=7, reasoning_tokens=3), DONE)

    assert StepEnded(StopReason.END_OF_TURN, Usage(608, 20, 7, 3)) == events[-1]


def test_tokens_nobody_counted():
    assert StepEnded(StopReason.END_OF_TURN, None) == read(PING, stopped("end_turn"), counted(0, 0), DONE)[-1]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", StopReason.END_OF_TURN),
        ("tool_rule", StopReason.END_OF_TURN),
        ("no_tool_call", StopReason.END_OF_TURN),
        ("max_tokens_exceeded", StopReason.LENGTH),
        ("max_steps", StopReason.LENGTH),
        ("requires_approval", StopReason.TOOL_CALLS),
    ],
)
def test_reasons(reason, expected):
    assert expected is read(PING, stopped(reason), counted(), DONE)[-1].reason


@pytest.mark.parametrize(
    ("most_tokens", "completion", "steps", "expected"),
    [
        (5, 5, 1, StopReason.LENGTH),
        (5, 4, 1, StopReason.END_OF_TURN),
        (5, 9, 2, StopReason.END_OF_TURN),
        (5, 10, 2, StopReason.LENGTH),
        (None, 99, 1, StopReason.END_OF_TURN),
    ],
)
def test_length_is_told_from_the_tokens(most_tokens, completion, steps, expected):
    said = [PING, spoken("abc"), stopped("end_turn"), counted(11, completion, steps), DONE]

    assert expected is read(*said, reader=new_reader(most_tokens))[-1].reason


def test_nothing_said():
    events = read(PING, stopped("end_turn"), counted(), DONE)

    assert [StepEnded(StopReason.END_OF_TURN, Usage(11, 7))] == events


def test_pings_are_no_sign_of_life():
    reader = new_reader()
    reader.feed(PING)
    assert (False, False, RUN) == (reader.stirred, reader.began, reader.run_id)

    reader.feed(spoken("Hi."))
    assert (True, True, True) == (reader.stirred, reader.began, reader.speaking)

    reader.feed(PING)
    assert (False, True) == (reader.stirred, reader.speaking)

    reader.feed(called("t1", "double", "{}", "tool_call_message"))
    assert (True, False) == (reader.stirred, reader.speaking)


@pytest.mark.parametrize("reads", [[PING], [PING, spoken("Half")], [PING, spoken("Half"), stopped("end_turn")], []])
def test_a_stream_that_breaks_off(reads):
    error = refused(*reads)

    assert isinstance(error, AgentUnavailable)
    assert error.heard


@pytest.mark.parametrize("garbage", [b"data: {nonsense\n\n", b'data: {"message_type": 5}\n\n', b"data: [1]\n\n"])
def test_what_cannot_be_read(garbage):
    error = refused(PING, garbage)

    assert isinstance(error, AgentUnavailable)
    assert error.heard


def test_an_event_without_end():
    error = refused(b"data: " + b"x" * LONGEST_EVENT_BYTES)

    assert isinstance(error, AgentUnavailable)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failed("llm_authentication", detail=models_error(401, message=f"Incorrect API key: {KEY}")), UpstreamRefused),
        (failed("llm_rate_limit", detail=models_error(429)), UpstreamBusy),
        (failed("llm_rate_limit"), UpstreamBusy),
        (failed("llm_insufficient_credits"), UpstreamBusy),
        (failed("llm_timeout"), UpstreamTimedOut),
        (failed("llm_error", detail=models_error(500)), UpstreamRefused),
        (failed("llm_error", detail=models_error(403)), UpstreamRefused),
        (failed("llm_error", detail="INTERNAL_SERVER_ERROR: Failed to connect to OpenAI."), UpstreamRefused),
        (failed("llm_error", detail=models_error(404, "model_not_found")), UpstreamRefused),
        (failed("llm_error", detail=models_error(400)), InvalidRequest),
        (failed("llm_empty_response"), UpstreamRefused),
        (failed("internal_error", "An unknown error.", "Message content is empty or invalid"), TurnFailed),
        (failed("internal_error", "(sqlalchemy asyncpg.exceptions) Traceback", "select * from"), TurnFailed),
        (failed("stream_incomplete"), TurnFailed),
    ],
)
def test_a_first_step_that_failed(error, kind):
    reader = new_reader()

    refusal = refused(PING, stopped("llm_api_error"), error, DONE, reader=reader)

    assert kind is type(refusal)
    assert not getattr(refusal, "heard", False)
    assert (False, True) == (reader.began, reader.over)


def test_what_the_model_refused_is_told():
    message = "Invalid schema for function 'x': it's \"bad\""
    detail = models_error(400, "invalid_function_parameters", message, "tools[0]")

    refusal = refused(PING, failed("llm_error", detail=detail))

    assert isinstance(refusal, InvalidRequest)
    assert (message, "tools[0]", "invalid_function_parameters") == (str(refusal), refusal.param, refusal.code)


@pytest.mark.parametrize(
    "error",
    [
        failed(
            "internal_error", "CONTEXT_WINDOW_EXCEEDED: Bad request to OpenAI: Error code: 400 - {'error': {}} ({})"
        ),
        failed("context_window_overflow_in_system_prompt", "Compaction failed because the system prompt is too large"),
        failed("llm_error", detail=models_error(400, "context_length_exceeded")),
    ],
)
def test_a_window_that_overflows(error):
    refusal = refused(PING, stopped("error"), error, DONE)

    assert isinstance(refusal, InvalidRequest)
    assert "context_length_exceeded" == refusal.code


WAITING = "CONFLICT: Cannot send a new message: The agent is waiting for approval on a tool call. Please approve"
BUSY = f"CONFLICT: Cannot send a new message: Another request (run_id={RUN}) is currently being processed"


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        (WAITING, Pending),
        ("Invalid tool call IDs. Expected '['c1', 'c2']', but received '['c1']'.", NotPending),
        ("Cannot process approval response: No tool call is currently awaiting approval.", NotPending),
        (BUSY, Engaged),
    ],
)
def test_a_thread_that_is_not_where_it_was_thought_to_be(detail, kind):
    refusal = refused(PING, stopped("error"), failed("internal_error", detail, detail), DONE)

    assert kind is type(refusal)
    assert not refusal.heard


def test_a_model_that_is_gone():
    detail = "NOT_FOUND: Handle openai-proxy/gone not found, must be one of []"

    refusal = refused(PING, failed("internal_error", detail, detail), DONE)

    assert isinstance(refusal, Gone)
    assert (Missing.HANDLE, "openai-proxy/gone") == (refusal.what, refusal.name)


@pytest.mark.parametrize(
    "end",
    [
        [stopped("error"), stopped("llm_api_error"), failed("internal_error", detail="Connection error")],
        [stopped("llm_api_error"), failed("llm_rate_limit", detail=models_error(429)), DONE],
        [stopped("error"), failed("internal_error", detail=WAITING), DONE],
    ],
    ids=["two reasons and no end", "busy", "internal"],
)
def test_a_failure_after_the_first_words_is_not_to_be_tried_again(end):
    refusal = refused(PING, spoken("Half"), *end)

    assert isinstance(refusal, UpstreamRefused)
    assert refusal.heard


def test_a_turn_cancelled_by_somebody():
    reader = new_reader()

    refusal = refused(PING, spoken("Half"), stopped("cancelled"), reader=reader)

    assert isinstance(refusal, AgentUnavailable)
    assert reader.over


@pytest.mark.parametrize(
    ("reason", "kind"), [("insufficient_credits", UpstreamBusy), ("invalid_tool_call", TurnFailed), ("new", TurnFailed)]
)
def test_a_failure_without_an_error(reason, kind):
    assert kind is type(refused(PING, stopped(reason), counted(), DONE))
