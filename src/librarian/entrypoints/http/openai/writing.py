"""What all encoders share: text, usage and finish reasons as JSON."""

from collections.abc import Sequence
from typing import Any

import orjson

from librarian.domain.turn import Likelihood, StopReason, TurnBegan, Usage

DONE = b"data: [DONE]\n\n"
JSON = [(b"content-type", b"application/json")]

NOTHING = Usage(0, 0)

FINISH_REASON = {
    StopReason.END_OF_TURN: b'"stop"',
    StopReason.LENGTH: b'"length"',
    StopReason.TOOL_CALLS: b'"tool_calls"',
    StopReason.CONTENT_FILTER: b'"content_filter"',
}


def quoted(text: str) -> bytes:
    """JSON in which no reader of lines finds a line's end: some (httpx's) split at Unicode's, too."""
    return _unbroken(orjson.dumps(text))


def _unbroken(said: bytes) -> bytes:
    if said.isascii():
        return said
    return (
        said.replace(b"\xc2\x85", b"\\u0085").replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    )


def logprobs_json(likelihoods: Sequence[Likelihood]) -> bytes:
    """Of what is said; null where nothing is known of it."""
    if not likelihoods:
        return b"null"
    return _unbroken(orjson.dumps({"content": [token(likely) for likely in likelihoods], "refusal": None}))


def token(likely: Likelihood) -> dict[str, Any]:
    """Source: openai-openapi, ChatCompletionTokenLogprob."""
    return _alone(likely) | {"top_logprobs": [_alone(other) for other in likely.others]}


def _alone(likely: Likelihood) -> dict[str, Any]:
    return {"token": likely.token, "logprob": likely.logarithm, "bytes": list(likely.utf8)}


def answer_id(began: TurnBegan) -> bytes:
    """The digits of the turn's own id."""
    return began.turn.removeprefix("turn_").encode()


def together(before: Usage, spent: Usage) -> Usage:
    """Of several choices: what they were asked is counted once."""
    if before is NOTHING:
        return spent
    return Usage(
        before.input_tokens,
        before.output_tokens + spent.output_tokens,
        before.cached_tokens,
        before.reasoning_tokens + spent.reasoning_tokens,
    )


def usage_json(usage: Usage) -> bytes:
    return (
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d},'
        b'"completion_tokens_details":{"reasoning_tokens":%d}}'
        % (
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens + usage.output_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
        )
    )
