"""Language models, as they come."""

from collections.abc import Sequence
from typing import Protocol

from librarian.domain.catalog import ModelCard
from librarian.domain.prompt import Prompt
from librarian.domain.turn import StepStream


class LanguageModel(Protocol):
    """Something that answers a prompt and remembers nothing."""

    def speak(self, prompt: Prompt) -> StepStream:
        """One step. A `prompt.model` of None means the default one.

        Yields Ignored at most once, first; TextSpoken and Reasoned once for each read that brought text, ToolCalled for
        each call and for each further piece of its arguments, then StepEnded once. A call's `index` counts from 0 in
        order of appearance, and its id is never empty. Closing the stream early stops the call.

        Raises InvalidRequest (the upstream's own 400, naming no secrets), ContextOverflow is the engine's own;
        UpstreamRefused, UpstreamBusy, UpstreamTimedOut and AgentUnavailable, before or between events. `heard` is
        False only where it is certain that nothing was said or done for this prompt.
        """
        ...

    async def models(self) -> Sequence[ModelCard]:
        """What can be asked for, the default first. Empty if the server does not say.

        Raises UpstreamRefused, UpstreamBusy, UpstreamTimedOut, AgentUnavailable.
        """
        ...

    async def aclose(self) -> None: ...
