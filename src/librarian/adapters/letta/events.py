"""What Letta streams -> what was said, thought, called and returned."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from librarian.adapters.letta.answers import CallPart, Streamed, calls_of, reads, text_of
from librarian.adapters.letta.frames import Frames
from librarian.adapters.letta.refusals import Refusals
from librarian.domain.errors import AgentUnavailable, TurnFailed, UpstreamBusy, UpstreamRefused
from librarian.domain.turn import Reasoned, StepEnded, StopReason, TextSpoken, ToolCalled, ToolReturned, Usage

BETWEEN_STEPS = "\n\n"
"""Between what was said before Letta ran a tool and what is said after it."""
STOP_REASON = {
    "end_turn": StopReason.END_OF_TURN,
    "tool_rule": StopReason.END_OF_TURN,
    "no_tool_call": StopReason.END_OF_TURN,
    "max_tokens_exceeded": StopReason.LENGTH,
    "max_steps": StopReason.LENGTH,
    "requires_approval": StopReason.TOOL_CALLS,
}
SPEECH = frozenset({"assistant_message", "reasoning_message", "approval_request_message"})
BEGINNING = SPEECH | {"tool_call_message", "tool_return_message", "hidden_reasoning_message"}
CANCELLED = "cancelled"
NO_CREDIT = "insufficient_credits"


class ContextCompacted(NamedTuple):
    """Letta replaced the oldest messages of the thread by a summary: their ids are no longer in its context."""


LettaEvent = TextSpoken | Reasoned | ToolCalled | ToolReturned | ContextCompacted | StepEnded

_decode = reads(Streamed)


class TurnReader:
    """One stream, fed as it is read; tells what each read brought, in order."""

    def __init__(self, refusals: Refusals, most_tokens: int | None = None) -> None:
        """`most_tokens`: what an answer was limited to. A stream of tokens does not say that it met the limit."""
        self._refusals = refusals
        self._most_tokens = most_tokens
        self._frames = Frames()
        self._calls = _Calls()
        self._events: list[LettaEvent] = []
        self._open: list[str] | None = None
        self._spoke_in: str | None = None
        self._stopped: str | None = None
        self._counts: Streamed | None = None
        self.run_id: str | None = None
        """Known from the first event on, which is a ping."""
        self.began = False
        """Whether the model said, thought or called anything yet. A turn that fails before it does leaves no trace."""
        self.stirred = False
        """Whether the last read brought anything but pings."""
        self.speaking = False
        """Whether the model is in the middle of saying, thinking or calling something."""
        self.compacted = False
        self.over = False
        """Whether Letta said its last word, be it an error."""

    @property
    def context_tokens(self) -> int | None:
        """How full the thread's window was at the last step."""
        return self._counts.context_tokens if self._counts is not None else None

    def feed(self, read: bytes) -> list[LettaEvent]:
        """Raises AgentUnavailable for what cannot be read, and what Refusals makes of a failure."""
        self.stirred = False
        self._take(self._frames.feed(read))
        return self._gathered()

    def close(self) -> list[LettaEvent]:
        """What was held back, then the end. Raises AgentUnavailable where there is none, and what `feed` raises."""
        if not self.over:
            self._take(self._frames.close())
        if not self.over or self._stopped is None:
            raise AgentUnavailable("The agent broke off.", heard=True)
        for event in self._calls.last():
            self._put(event)
        return [*self._gathered(), self._end]

    def _take(self, frames: Sequence[bytes]) -> None:
        for data in frames:
            if data[:6] == b"[DONE]":
                self.over = True
                self._check_reason()
                return
            try:
                event = _decode(data)
            except msgspec.DecodeError as error:
                raise AgentUnavailable("The Letta server sent what cannot be read.", heard=True) from error
            if event.message_type == "ping":
                self.run_id = self.run_id or event.run_id
            else:
                self.stirred = True
                self.speaking = event.message_type in SPEECH
                self.began = self.began or event.message_type in BEGINNING
                if event.message_type == "error_message":
                    self.over = True
                    raise self._refusals.in_stream(data, began=self.began)
                self._hear(event)

    def _hear(self, event: Streamed) -> None:
        match event.message_type:
            case "assistant_message":
                self._speak(text_of(event.content), event.step_id)
            case "reasoning_message":
                self._say(Reasoned, event.reasoning or "")
            case "approval_request_message":
                self._call(event)
            case "tool_call_message":
                for part in calls_of(event.tool_calls, event.tool_call):
                    self._calls.note(part, event.step_id)
            case "tool_return_message":
                self._return(event)
            case "user_message" | "summary_message":  # Letta's own note of what it hides from now on
                self.compacted = True
                self._put(ContextCompacted())
            case "stop_reason":
                self._stop(event.stop_reason)
            case "usage_statistics":
                self._counts = event

    def _speak(self, text: str, step: str | None) -> None:
        if not text:
            return
        if self._spoke_in is not None and step != self._spoke_in:
            self._say(TextSpoken, BETWEEN_STEPS)
        self._spoke_in = step or ""
        self._say(TextSpoken, text)

    def _say(self, kind: type[TextSpoken] | type[Reasoned], text: str) -> None:
        """More of the last event, if it is of the same kind."""
        if not text:
            return
        if self._open is None or not isinstance(self._events[-1], kind):
            fragments: list[str] = []
            self._put(kind(fragments))
            self._open = fragments
        self._open.append(text)

    def _call(self, event: Streamed) -> None:
        for part in calls_of(event.tool_calls, event.tool_call):
            called = self._calls.take(part, event.step_id)
            if called is None:
                continue
            last = self._events[-1] if self._events else None
            if isinstance(last, ToolCalled) and last.index == called.index:
                self._events[-1] = replace(last, arguments=last.arguments + called.arguments)
            else:
                self._put(called)

    def _return(self, event: Streamed) -> None:
        returned = [(part.tool_call_id, part.status) for part in event.tool_returns or ()]
        for call_id, status in returned or [(event.tool_call_id, event.status)]:
            name = self._calls.name(call_id, event.step_id) or event.name or ""
            self._put(ToolReturned(call_id or "", name, succeeded=status != "error"))

    def _put(self, event: LettaEvent) -> None:
        self._events.append(event)
        self._open = None

    def _gathered(self) -> list[LettaEvent]:
        events, self._events, self._open = self._events, [], None
        return events

    def _stop(self, reason: str | None) -> None:
        """There may be two: then the second says more, and an error follows."""
        self._stopped = reason
        if reason == CANCELLED:  # nothing follows
            self.over = True
            raise AgentUnavailable("The turn was cancelled at the Letta server.", heard=self.began)

    def _check_reason(self) -> None:
        """Raises for a failure that came without an error of its own."""
        if self._stopped == NO_CREDIT:
            raise (
                UpstreamRefused("The language model's credit is used up.", heard=True) if self.began else UpstreamBusy()
            )
        if self._stopped is not None and self._stopped not in STOP_REASON:
            raise TurnFailed("Letta could not finish this turn.")

    @property
    def _end(self) -> StepEnded:
        reason = STOP_REASON[self._stopped or ""]
        counts = self._counts
        if counts is None:
            return StepEnded(reason, None)
        spent = Usage(
            counts.prompt_tokens or 0,
            counts.completion_tokens or 0,
            counts.cached_input_tokens or 0,
            counts.reasoning_tokens or 0,
        )
        if reason is StopReason.END_OF_TURN and self._met_limit(spent.output_tokens, counts.step_count or 1):
            reason = StopReason.LENGTH
        counted = spent.input_tokens > 0 or spent.output_tokens > 0  # some models' servers do not count
        return StepEnded(reason, spent if counted else None)

    def _met_limit(self, output_tokens: int, steps: int) -> bool:
        """Of several steps only their sum is known: the last met the limit for certain where all did."""
        return self._most_tokens is not None and output_tokens >= self._most_tokens * steps


class _Calls:
    """Calls by step and id: some models give every step's the same ids. The client's are numbered from 0."""

    __slots__ = ("_arguments", "_index", "_names")

    def __init__(self) -> None:
        self._names: dict[tuple[str | None, str], str] = {}
        self._index: dict[tuple[str | None, str], int] = {}
        self._arguments: list[int] = []

    def note(self, part: CallPart, step: str | None) -> None:
        """A call of Letta's own; or of the client's, whose name is only begun."""
        key = (step, part.tool_call_id or "")
        self._names[key] = self._names.get(key, "") + (part.name or "")

    def name(self, call_id: str | None, step: str | None) -> str:
        return self._names.get((step, call_id or ""), "")

    def take(self, part: CallPart, step: str | None) -> ToolCalled | None:
        """What it adds to the client's calls; None where that is nothing."""
        key = (step, part.tool_call_id or "")
        arguments = part.arguments or ""
        known = self._index.get(key)
        if known is not None:
            self._arguments[known] += len(arguments)
            return ToolCalled(known, "", "", arguments) if arguments else None
        self._index[key] = len(self._arguments)
        self._arguments.append(len(arguments))
        return ToolCalled(self._index[key], key[1], self._names.get(key, "") + (part.name or ""), arguments)

    def last(self) -> Sequence[ToolCalled]:
        """At the end: the arguments of calls that came without any, for a client that will read them as JSON."""
        return [ToolCalled(index, "", "", "{}") for index, length in enumerate(self._arguments) if not length]
