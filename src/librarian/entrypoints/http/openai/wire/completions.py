"""What a client sends to /v1/completions. Source: openai-openapi, CreateCompletionRequest."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from librarian.application.converse import Ask
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Principal, Purpose
from librarian.domain.mode import Mode
from librarian.domain.prompt import Sampling
from librarian.domain.transcript import Message, Role, Transcript, user
from librarian.entrypoints.http.openai.wire.decoding import decoder
from librarian.entrypoints.http.openai.wire.sampling import PASSED, Count, Request, require_one, sampling

MOST_PROMPTS = 128

FILL_IN = """\
Fill in the gap. The text before the gap is between <before> and </before>, the text after it between <after> and \
</after>. Answer with the text that belongs into the gap and with nothing else: no quotation marks, no code fences, no \
explanation, and none of the text around it."""


class CompletionRequest(Request, kw_only=True):
    """A prompt of numbers is one of tokens."""

    prompt: str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=MOST_PROMPTS)]
    suffix: str | None = None
    echo: bool | None = None
    best_of: Count | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


decode = decoder(CompletionRequest)


def to_prompts(request: CompletionRequest) -> Sequence[str]:
    """Raises InvalidRequest: prompts of tokens are not read."""
    if isinstance(request.prompt, str):
        return (request.prompt,)
    prompts = [prompt for prompt in request.prompt if isinstance(prompt, str)]
    if len(prompts) < len(request.prompt):
        raise InvalidRequest(
            "Unsupported value: 'prompt' has tokens. Only a string and an array of strings are supported.",
            param="prompt",
            code="unsupported_value",
        )
    return prompts


def to_domain(request: CompletionRequest, principal: Principal, mode: Mode | None = None) -> Sequence[Ask]:
    """One turn for each prompt, each of a conversation of its own. Raises InvalidRequest."""
    require_one(request.n, "n")
    require_one(request.best_of, "best_of")
    if request.logprobs:
        raise InvalidRequest(
            "Unsupported value: 'logprobs' is not supported with this gateway.",
            param="logprobs",
            code="unsupported_value",
        )
    chosen = sampling(request, PASSED, request.max_tokens)
    return [_ask(request, prompt, principal, mode, chosen) for prompt in to_prompts(request)]


def _ask(request: CompletionRequest, prompt: str, principal: Principal, mode: Mode | None, chosen: Sampling) -> Ask:
    gap = request.suffix is not None
    return Ask(
        model=request.model,
        transcript=_gap(prompt, request.suffix or "") if gap else Transcript([user(prompt)]),
        principal=principal,
        purpose=Purpose.TASK if gap else Purpose.CHAT,
        mode=mode,
        sampling=chosen,
        whole=not request.stream,
    )


def _gap(before: str, after: str) -> Transcript:
    return Transcript([Message(Role.SYSTEM, FILL_IN), user(f"<before>{before}</before>\n<after>{after}</after>")])
