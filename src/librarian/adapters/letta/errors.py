"""What only those who deal with Letta can do something about. Whoever lets one pass refuses the client in its name."""

from enum import StrEnum

from librarian.domain.errors import AgentUnavailable, TurnFailed


class Missing(StrEnum):
    AGENT = "agent"
    CONVERSATION = "conversation"
    HANDLE = "handle"
    """A model that Letta does not offer, or no longer."""
    MESSAGE = "message"
    OTHER = "other"


class Gone(AgentUnavailable):
    """Something that Letta was thought to have is not there. Nothing was said or done."""

    def __init__(self, what: Missing, name: str = "") -> None:
        super().__init__(f"Letta does not have the {what}{f' `{name}`' if name else ''} any more.", heard=False)
        self.what = what
        self.name = name


class Pending(AgentUnavailable):
    """The thread waits for the results of its calls, and takes nothing else."""

    def __init__(self) -> None:
        super().__init__("The agent waits for the results of its calls.", heard=False)


class NotPending(AgentUnavailable):
    """The thread waits for other results than these, or for none."""

    def __init__(self) -> None:
        super().__init__("The agent does not wait for these results.", heard=False)


class Engaged(AgentUnavailable):
    """Another run has the thread, or holds what this one needs to change. `run_id`: which, if Letta says."""

    def __init__(self, run_id: str | None = None) -> None:
        super().__init__("The agent is engaged in another turn on this thread.", heard=False)
        self.run_id = run_id


class NothingRuns(AgentUnavailable):
    """There is no run to cancel."""

    def __init__(self) -> None:
        super().__init__("There is no turn to cancel.", heard=False)


class AlreadyThere(TurnFailed):
    """Something of that name, or in that place, is there already."""

    def __init__(self) -> None:
        super().__init__("Letta has one of these already.")
