"""What a model's server sends -> what was said, thought and called."""

from collections.abc import Sequence
from dataclasses import replace

from msgspec import UnsetType

from librarian.adapters.upstream import wire
from librarian.adapters.upstream.calls import Calls
from librarian.adapters.upstream.frames import Frames
from librarian.adapters.upstream.refusals import Refusals
from librarian.adapters.upstream.thinking import Thinking
from librarian.domain.errors import UpstreamRefused
from librarian.domain.turn import Likelihood, Reasoned, StepEnded, StepEvent, StopReason, TextSpoken, ToolCalled

STOP_REASON = {
    "stop": StopReason.END_OF_TURN,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.CONTENT_FILTER,
}


class StepReader:
    """One reply, fed as it is read; tells what each read brought."""

    __slots__ = (
        "_called",
        "_calls",
        "_finish",
        "_frames",
        "_likelihoods",
        "_parted",
        "_refusals",
        "_said",
        "_thinking",
        "_thought",
        "_tokens",
        "began",
        "done",
    )

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._frames = Frames()
        self._thinking: Thinking | None = Thinking()
        self._calls = Calls()
        self._said: list[str] = []
        self._likelihoods: list[Likelihood] = []
        self._parted = False
        self._thought: list[str] = []
        self._called: list[ToolCalled] = []
        self._finish: str | None = None
        self._tokens: wire.Tokens | None = None
        self.began = False
        """Whether anything was said, thought or called yet."""
        self.done = False
        """Whether the server said that no more will come."""

    @property
    def finished(self) -> bool:
        """Whether the model came to an end, though its server may still count tokens."""
        return self.done or self._finish is not None

    def feed(self, read: bytes) -> list[StepEvent]:
        """Raises ValueError for what cannot be read, UpstreamRefused, InvalidRequest."""
        self._take(self._frames.feed(read))
        return self._gathered()

    def feed_whole(self, body: bytes) -> list[StepEvent]:
        """A reply that came in one piece. Raises what `feed` raises."""
        self._hear(wire.decode(body))
        self.done = True
        return self._gathered()

    def close(self) -> list[StepEvent]:
        """What was held back, then the end. Raises UpstreamRefused where there is none, and what `feed` raises."""
        if not self.done:
            self._take_rest()
        if self._thinking is not None:
            self._keep(*self._thinking.close())
        if not self.began and self._finish is None:
            raise UpstreamRefused("The language model's server answered nothing that can be read.", heard=True)
        if not self.finished:
            raise UpstreamRefused("The language model broke off.", heard=True)
        if self._calls.nameless:
            raise UpstreamRefused("The language model called a tool without a name.", heard=True)
        self._called += self._calls.last()
        return [*self._gathered(), StepEnded(self._reason, wire.usage(self._tokens))]

    def _take_rest(self) -> None:
        try:
            self._take(self._frames.close())
        except ValueError as error:  # an event cut short
            if not self.finished:
                raise UpstreamRefused("The language model broke off.", heard=True) from error

    def _take(self, frames: list[bytes]) -> None:
        for data in frames:
            if data[:1] != b"{":
                if data[:6] == b"[DONE]":
                    self.done = True
                    return
                if not data:
                    continue
            self._hear(wire.decode(data))

    def _hear(self, chunk: wire.Completion) -> None:
        if chunk.error or chunk.object == "error":
            raise self._refusals.in_reply(chunk.error or chunk.message, began=self.began)
        if chunk.usage is not None:
            self._tokens = chunk.usage
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if choice.finish_reason:
            self._finish = choice.finish_reason
        said = choice.delta or choice.message
        if said is None:
            return
        if content := said.content or said.refusal:
            if not isinstance(choice.logprobs, UnsetType):
                self._likelihoods += wire.likelihoods(choice.logprobs)
            self._speak(content)
        if thought := said.reasoning_content or said.reasoning:
            self._think(thought)
        if said.tool_calls or said.function_call is not None:
            self._call(said)

    def _speak(self, content: str | list[wire.ContentPart]) -> None:
        if self._thinking is None and isinstance(content, str):  # nearly every chunk
            self._said.append(content)
            return
        self.began = True
        text = content if isinstance(content, str) else "".join(part.text or "" for part in content)
        if self._thinking is None:
            self._keep("", text)
            return
        self._keep(*self._thinking.feed(text))
        if self._thinking.over:
            self._thinking = None

    def _keep(self, thought: str, said: str) -> None:
        if thought:
            self._parted = True
            self._thought.append(thought)
        if said:
            self._said.append(said)

    def _think(self, thought: object) -> None:
        if isinstance(thought, str):
            self.began = True
            self._thought.append(thought)

    def _call(self, said: wire.Said) -> None:
        self.began = True
        deltas = list(said.tool_calls or ())
        if said.function_call is not None:
            deltas.append(wire.CallDelta(0, None, said.function_call))
        for delta in deltas:
            event = self._calls.take(delta)
            if event is None:
                continue
            if self._called and self._called[-1].index == event.index:
                begun = self._called.pop()
                event = replace(begun, arguments=begun.arguments + event.arguments)
            self._called.append(event)

    def _gathered(self) -> list[StepEvent]:
        events: list[StepEvent] = []
        if self._thought:
            events.append(Reasoned(self._thought))
            self._thought = []
        if self._said:
            events.append(TextSpoken(self._said, self._likely()) if self._likelihoods else TextSpoken(self._said))
            self._said = []
        if self._called:
            events += self._called
            self._called = []
        return events

    def _likely(self) -> Sequence[Likelihood]:
        """Of what was said: what was thought in the same text came before it."""
        likely, self._likelihoods = self._likelihoods, []
        if not self._parted:
            return likely
        self._parted = False
        left, first = sum(map(len, self._said)), len(likely)
        while left > 0 and first:
            first -= 1
            left -= len(likely[first].token)
        return likely[first:]

    @property
    def _reason(self) -> StopReason:
        """Whether a step ends in calls is seen from the calls: some servers say `stop` there, or nothing."""
        reason = STOP_REASON.get(self._finish or "", StopReason.END_OF_TURN)
        if self._calls:
            return StopReason.TOOL_CALLS if reason is StopReason.END_OF_TURN else reason
        return StopReason.END_OF_TURN if reason is StopReason.TOOL_CALLS else reason
