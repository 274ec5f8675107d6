"""Every error has its row, and every refusal says whether to try again."""

import json

import pytest

from librarian.domain import errors
from librarian.domain.errors import LibrarianError
from librarian.entrypoints.http.openai.errors import ROWS, UNEXPECTED, envelope, refusal

SPECIMENS = [
    errors.InvalidRequest("No.", param="model", code="why"),
    errors.ContextOverflow(needed_tokens=9, window_tokens=5),
    errors.MemoryRefused("Too long."),
    errors.TooLarge(5),
    errors.NotAuthenticated(),
    errors.IdentityRefused("Too old."),
    errors.AddressRefused("Not from there."),
    errors.UnknownConversation("conv_1"),
    errors.UnknownTurn("turn_1"),
    errors.NotPermitted("Not with this key."),
    errors.UnknownAnswer("resp_1"),
    errors.ConversationEngaged(3.0),
    errors.IdempotencyMismatch(),
    errors.UnknownModel("nobody"),
    errors.UnknownAgent("agent-1"),
    errors.UnknownPassage(7),
    errors.AgentPaused("paused"),
    errors.PoolExhausted(1.25),
    errors.UpstreamRefused("Gone.", heard=True),
    errors.UpstreamBusy(2.0),
    errors.UpstreamTimedOut(60),
    errors.TurnFailed("Silence."),
    errors.AgentUnavailable("Gone.", heard=False),
    errors.StoreUnavailable(),
]


def tree(root):
    return {root}.union(*(tree(kind) for kind in root.__subclasses__()))


def ours():
    return {kind for kind in tree(LibrarianError) if kind.__module__ == errors.__name__} - {LibrarianError}


def test_every_error_has_a_row_and_a_specimen():
    assert ours() == ROWS.keys()
    assert ours() == {type(error) for error in SPECIMENS}


@pytest.mark.parametrize("error", SPECIMENS, ids=lambda error: type(error).__name__)
def test_the_envelope_is_openais(error):
    said = json.loads(envelope(error))["error"]

    assert ["message", "type", "param", "code"] == list(said)
    assert str(error) == said["message"]
    assert 400 <= refusal(error).status < 600


@pytest.mark.parametrize("error", SPECIMENS, ids=lambda error: type(error).__name__)
def test_every_refusal_says_whether_to_try_again(error):
    assert dict(refusal(error).headers())[b"x-should-retry"] in {b"true", b"false"}


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (errors.AgentUnavailable("", heard=True), 503, "agent_unavailable", b"false"),
        (errors.AgentUnavailable("", heard=False), 503, "agent_unavailable", b"true"),
        (errors.UpstreamRefused("", heard=True), 502, "upstream_refused", b"false"),
        (errors.UpstreamRefused("", heard=False), 502, "upstream_refused", b"true"),
        (errors.ContextOverflow(needed_tokens=9, window_tokens=5), 400, "context_length_exceeded", b"false"),
        (errors.UnknownModel("x"), 404, "model_not_found", b"false"),
    ],
)
def test_what_was_heard_is_not_told_again(error, status, code, retry):
    said = refusal(error)

    assert (status, code) == (said.status, json.loads(envelope(error))["error"]["code"])
    assert retry == dict(said.headers())[b"x-should-retry"]


def test_the_wait_is_told_in_seconds_and_in_milliseconds():
    headers = dict(refusal(errors.PoolExhausted(1.25)).headers())

    assert (b"2", b"1250") == (headers[b"retry-after"], headers[b"retry-after-ms"])
    assert b"retry-after" not in dict(refusal(errors.UpstreamBusy()).headers())


def test_what_was_not_foreseen_is_not_explained():
    error = ValueError("the secret is 42")

    assert UNEXPECTED == refusal(error)
    assert b"42" not in envelope(error)
