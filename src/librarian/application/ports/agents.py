"""The agents the house speaks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from librarian.application.ports.memory import AgentKey
from librarian.domain.conversation import ConversationId, Plan, TurnId
from librarian.domain.mode import Mode
from librarian.domain.prompt import Sampling
from librarian.domain.recall import Hit
from librarian.domain.tools import ClientTools
from librarian.domain.transcript import Reading, Transcript
from librarian.domain.turn import TurnStream


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """All that one turn needs to know. `model` None: the default one. `writes`: whether it may change memory."""

    turn: TurnId
    conversation: ConversationId
    agent: AgentKey
    plan: Plan
    mode: Mode
    reading: Reading
    model: str | None
    window_tokens: int
    sampling: Sampling
    tools: ClientTools
    recalled: Sequence[Hit]
    whole: bool
    writes: bool = True

    @property
    def transcript(self) -> Transcript:
        return self.reading.transcript


class AgentRuntime(Protocol):
    """Stateful agents, wherever they live: a Letta server, or the embedded engine."""

    def take_turn(self, hearing: Hearing) -> TurnStream:
        """Let the agent hear what is new and stream what it does; an agent that does not exist yet is made.

        Yields Ignored at most once, first; TextSpoken, Reasoned, ToolReturned, MemoryChanged and Compacted as they
        happen, ToolCalled for the client's tools only, then TurnEnded once; its usage is counted. Closing the stream
        early cancels the turn. What a turn wrote to memory that did not end is taken back. Raises what LanguageModel
        raises, ContextOverflow before any model is called, AgentUnavailable and StoreUnavailable.
        """
        ...

    async def aclose(self) -> None: ...
