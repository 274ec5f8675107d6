"""What can go wrong, in the language of the house. Nothing here knows of HTTP.

LibrarianError
|-- InvalidRequest(param, code)
|   |-- ContextOverflow(needed_tokens, window_tokens)
|   `-- MemoryRefused
|-- TooLarge(limit_bytes)
|-- NotAuthenticated
|-- IdentityRefused
|-- AddressRefused
|-- NotPermitted
|-- UnknownModel(name)
|-- UnknownAgent(name)
|-- UnknownConversation(name)
|-- UnknownAnswer(name)
|-- UnknownPassage(number)
|-- UnknownTurn(name)
|-- AgentPaused
|-- PoolExhausted(retry_after_s)
|-- ConversationEngaged(retry_after_s)
|-- IdempotencyMismatch
|-- UpstreamRefused(heard)
|-- UpstreamBusy(retry_after_s)
|-- UpstreamTimedOut
|-- TurnFailed
|-- AgentUnavailable(heard)
`-- StoreUnavailable
"""


class LibrarianError(Exception):
    """The root of every error the house raises on purpose."""


class InvalidRequest(LibrarianError):
    """The request says something the house cannot do. `param` names where, `code` what, if known."""

    def __init__(self, detail: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.param = param
        self.code = code


class ContextOverflow(InvalidRequest):
    """What must be shown to the model does not fit its window, whatever is left out."""

    def __init__(self, *, needed_tokens: int, window_tokens: int, param: str = "messages") -> None:
        super().__init__(
            f"This model's maximum context length is {window_tokens} tokens. However, what cannot be left out"
            f" comes to {needed_tokens} tokens. Please reduce the length of the messages or of the completion.",
            param=param,
            code="context_length_exceeded",
        )
        self.needed_tokens = needed_tokens
        self.window_tokens = window_tokens


class MemoryRefused(InvalidRequest):
    """An edit of memory that its rules do not allow. The message is written for the agent to read."""


class TooLarge(LibrarianError):
    """The body is larger than the operator allows."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request is larger than {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


class NotAuthenticated(LibrarianError):
    """No key was given where one is needed, or none that the house knows."""

    def __init__(self) -> None:
        super().__init__("The API key is missing or not known here. Send it as `Authorization: Bearer KEY`.")


class IdentityRefused(LibrarianError):
    """What vouches for a person cannot be believed: not signed by whom it must be, or too old."""


class AddressRefused(LibrarianError):
    """The request comes from, or was sent by way of, an address that may not ask."""


class NotPermitted(LibrarianError):
    """The key may not do that."""


class UnknownModel(LibrarianError):
    """The catalog has no entry by that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model `{name}` does not exist or you do not have access to it.")
        self.name = name


class UnknownAgent(LibrarianError):
    """There is no such agent, or it is somebody else's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no agent `{name}`.")
        self.name = name


class UnknownConversation(LibrarianError):
    """There is no such conversation, or it is somebody else's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no conversation `{name}`.")
        self.name = name


class UnknownAnswer(LibrarianError):
    """Nothing by that name was kept: a response, a chat completion, an item. Or it is somebody else's."""

    def __init__(self, name: str, kind: str = "response", *, param: str | None = None) -> None:
        super().__init__(f"There is no {kind} with the id '{name}'.")
        self.name = name
        self.param = param


class UnknownPassage(LibrarianError):
    """The agent's archive has no such passage."""

    def __init__(self, number: int) -> None:
        super().__init__(f"There is no passage {number} in the agent's archive.")
        self.number = number


class UnknownTurn(LibrarianError):
    """No such turn of this agent's was abandoned with something of it still in memory."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no abandoned turn `{name}` of this agent's that wrote to memory.")
        self.name = name


class AgentPaused(LibrarianError):
    """The agent is paused or retired, and takes no turns until somebody says otherwise. It has heard nothing."""

    def __init__(self, standing: str) -> None:
        super().__init__(f"The agent is {standing}: it takes no turns until it is made active again.")
        self.standing = standing


class PoolExhausted(LibrarianError):
    """Every seat is taken, and the queue is full or the wait was too long. The estimate is in seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("Every agent is engaged; please try again shortly.")
        self.retry_after_s = retry_after_s


class ConversationEngaged(LibrarianError):
    """A conversation that is a line has a turn under way, which took longer than this one could wait."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("Another turn of this conversation is under way; please try again shortly.")
        self.retry_after_s = retry_after_s


class IdempotencyMismatch(LibrarianError):
    """The idempotency key was used before, for another request."""

    def __init__(self) -> None:
        super().__init__("This idempotency key was used before, for a request with another body.")


class UpstreamRefused(LibrarianError):
    """The language model's server refused, failed, or answered what cannot be read."""

    def __init__(self, detail: str, *, heard: bool) -> None:
        super().__init__(detail)
        self.heard = heard


class UpstreamBusy(LibrarianError):
    """The language model's server is out of quota or of capacity. It has heard nothing."""

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("The language model is busy; please try again shortly.")
        self.retry_after_s = retry_after_s


class UpstreamTimedOut(LibrarianError):
    """The language model took, or fell silent for, longer than the house waits."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"The language model did not answer within {waited_s:g} seconds.")
        self.waited_s = waited_s


class TurnFailed(LibrarianError):
    """The turn went wrong in a way that has no name of its own. Nothing was recorded."""


class AgentUnavailable(LibrarianError):
    """The agent could not be reached, or broke off. `heard`: did it receive the message first?"""

    def __init__(self, detail: str, *, heard: bool) -> None:
        super().__init__(detail)
        self.heard = heard


class StoreUnavailable(LibrarianError):
    """What the house keeps cannot be read or written just now."""

    def __init__(self, detail: str = "The store cannot be reached just now.") -> None:
        super().__init__(detail)
