"""Whatever a turn says, OpenAI's own client reads the same from what we write."""

import json

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.turn import Collected, Likelihood, StopReason, TextSpoken, ToolCalled, TurnBegan, TurnEnded, Usage
from librarian.entrypoints.http.openai.chat import Chunks
from librarian.entrypoints.http.openai.chat import Completion as Whole
from librarian.entrypoints.http.openai.completions import Texts
from librarian.entrypoints.http.openai.writing import FINISH_REASON

CLIENT = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
TOKENS = st.integers(0, 10**9)
FINISHED = {reason: word.decode().strip('"') for reason, word in FINISH_REASON.items()}

texts = st.text(st.characters(exclude_categories=["Cs"]))
usages = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS)
endings = st.builds(TurnEnded, st.sampled_from(StopReason), usages)


@st.composite
def spoken(draw):
    """Text and calls in any order; the first event of a call has its id and name."""
    events = []
    begun = set()
    for _ in range(draw(st.integers(0, 8))):
        if draw(st.booleans()):
            events.append(TextSpoken(draw(st.lists(texts, max_size=4))))
            continue
        index = draw(st.sampled_from((0, 3, 7)))
        names = ("", "") if index in begun else (f"call_{index}", draw(st.sampled_from(("look", "find"))))
        begun.add(index)
        events.append(ToolCalled(index, *names, draw(texts)))
    return events


def collected(events):
    said = Collected()
    for event in events:
        if isinstance(event, TextSpoken):
            said.speak(event.fragments)
        else:
            said.call(event)
    return said


def with_likelihoods(said, likelihoods):
    said.likelihoods.extend(likelihoods)
    return said


LIKELY = Likelihood("A\u2028", -0.25, "A\u2028".encode(), (Likelihood("B", -1.5, b"B"),))
LIKELY_SHOWN = {
    "token": "A\u2028",
    "logprob": -0.25,
    "bytes": [65, 226, 128, 168],
    "top_logprobs": [{"token": "B", "logprob": -1.5, "bytes": [66]}],
}


def test_how_likely_tokens_were_stands_beside_them():
    spoken_so = [TextSpoken(["A", "\u2028"], [LIKELY]), TextSpoken(["."])]
    frames = written(spoken_so, TurnEnded(StopReason.LENGTH, Usage(1, 1)), with_usage=False).decode()
    chunks = [json.loads(line.removeprefix("data: ")) for line in frames.splitlines() if line[:7] == "data: {"]
    shown = [(chunk["choices"][0]["delta"].get("content"), chunk["choices"][0]["logprobs"]) for chunk in chunks]

    said = {"content": [LIKELY_SHOWN], "refusal": None}
    assert [("", None), ("A\u2028", said), (".", None), (None, None)] == shown


def test_how_likely_tokens_were_is_told_of_a_whole_reply():
    said = with_likelihoods(collected([TextSpoken(["A\u2028"])]), [LIKELY])
    reply = json.loads(whole("m", 1, said, TurnEnded(StopReason.END_OF_TURN, Usage(1, 2))))

    assert {"content": [LIKELY_SHOWN], "refusal": None} == reply["choices"][0]["logprobs"]


def stream(content, cast_to):
    response = httpx2.Response(200, content=content, request=httpx2.Request("POST", "http://127.0.0.1/"))
    return openai.Stream(cast_to=cast_to, response=response, client=CLIENT)


def began(at_s=1_700_000_000):
    return TurnBegan(ConversationId("conv_1"), TurnId("turn_" + "1" * 24), "Start", None, at_s)


def written(events, ended, *, with_usage):
    encode = Chunks("librarian", with_usage=with_usage)
    encode.begin(began())
    return b"".join([encode.said(event) for event in events] + [encode.end(ended), encode.done()])


def whole(model, at_s, said, ended):
    answer = Whole(model)
    answer.begin(began(at_s))
    answer.choose(said, ended)
    return answer.whole()


@given(events=spoken(), ended=endings, with_usage=st.booleans())
def test_a_stream_is_read_as_it_was_said(events, ended, with_usage):
    state = ChatCompletionStreamState()
    chunks = list(stream(written(events, ended, with_usage=with_usage), ChatCompletionChunk))
    for chunk in chunks:
        state.handle_chunk(chunk)

    choice = state.current_completion_snapshot.choices[0]
    expected = collected(events)
    assert expected.text == (choice.message.content or "")
    assert [tuple(call) for call in expected.calls] == [
        (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
    ]
    assert FINISHED[ended.reason] == choice.finish_reason
    assert with_usage is (chunks[-1].usage is not None)
    if with_usage:
        assert [] == chunks[-1].choices
        assert ended.usage == usage_of(chunks[-1].usage)


@given(events=spoken(), ended=endings)
def test_a_whole_reply_is_read_as_it_was_said(events, ended):
    said = collected(events)
    reply = ChatCompletion.model_validate_json(whole("librarian", 1_700_000_000, said, ended))

    choice = reply.choices[0]
    assert said.text == (choice.message.content or "")
    assert (choice.message.content is None) is bool(said.calls and not said.text)
    assert [tuple(call) for call in said.calls] == [
        (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
    ]
    assert FINISHED[ended.reason] == choice.finish_reason
    assert ended.usage == usage_of(reply.usage)


@given(said=st.lists(texts), usage=usages, with_usage=st.booleans())
def test_a_completion_is_read_as_it_was_said(said, usage, with_usage):
    encode = Texts("librarian", with_usage=with_usage)
    encode.begin(began())
    content = b"".join([encode.chunk(0, text) for text in said] + [encode.end(usage)])

    chunks = list(stream(content, Completion))

    assert "".join(said) == "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert [usage] * with_usage == [usage_of(chunk.usage) for chunk in chunks if chunk.usage is not None]


@given(text=texts)
def test_no_reader_of_lines_is_misled(text):
    frames = written([TextSpoken([text])], TurnEnded(StopReason.LENGTH, Usage(1, 1)), with_usage=False).decode()

    lines = [line for line in frames.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines[:-1]]
    assert text == "".join(delta.get("content", "") for delta in deltas)


def usage_of(read):
    return Usage(
        read.prompt_tokens,
        read.completion_tokens,
        read.prompt_tokens_details.cached_tokens,
        read.completion_tokens_details.reasoning_tokens,
    )


CHUNK = {"id", "object", "created", "model", "choices"}
CHOICE = {"index", "delta", "logprobs", "finish_reason"}


@pytest.mark.parametrize("with_usage", [False, True])
def test_chunks_have_the_fields_of_openais(with_usage):
    events = [TextSpoken(["a", "b"]), ToolCalled(2, "call_1", "look", "{"), ToolCalled(2, "", "", "}")]
    frames = written(events, TurnEnded(StopReason.TOOL_CALLS, Usage(1, 2)), with_usage=with_usage).decode()

    *shown, done, rest = frames.split("\n\n")
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in shown]
    spoken_chunks = chunks[:-1] if with_usage else chunks
    deltas = [chunk["choices"][0]["delta"] for chunk in spoken_chunks]
    assert ("data: [DONE]", "") == (done, rest)
    assert all(chunk.keys() == (CHUNK | {"usage"} if with_usage else CHUNK) for chunk in chunks)
    assert all(chunk["choices"][0].keys() == CHOICE for chunk in spoken_chunks)
    assert [None] * 5 + ["tool_calls"] == [chunk["choices"][0]["finish_reason"] for chunk in spoken_chunks]
    assert [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "b"},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{"}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {},
    ] == deltas
    assert all(chunk["usage"] is None for chunk in spoken_chunks if with_usage)


def test_a_turn_that_says_nothing_still_has_a_role_and_an_end():
    frames = written([], TurnEnded(StopReason.LENGTH, Usage(1, 0)), with_usage=False).decode().split("\n\n")

    assert [{"role": "assistant", "content": ""}, {}] == [
        json.loads(frame.removeprefix("data: "))["choices"][0]["delta"] for frame in frames[:2]
    ]


def test_a_whole_reply_has_the_fields_of_openais():
    said = collected([ToolCalled(0, "call_1", "look", "{}")])
    reply = json.loads(whole("m", 1, said, TurnEnded(StopReason.TOOL_CALLS, Usage(1, 2, 3, 4))))

    assert {
        "id": "chatcmpl-" + "1" * 24,
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    } == reply
