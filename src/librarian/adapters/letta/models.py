"""The models that a Letta server offers. What needs no agent is answered by one of them, without thread or memory."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.making import Making
from librarian.adapters.letta.tags import TAG
from librarian.application.ports.models import LanguageModel
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import LibrarianError
from librarian.domain.prompt import Prompt
from librarian.domain.transcript import Message, Role
from librarian.domain.turn import Ignored, StepEnded, StepStream, StopReason, TextSpoken, Usage

TASKS = (TAG, "role:tasks")


class LettaModels:
    """A LanguageModel for tasks: by the upstream, where there is one; else by Letta's `generate`, which has no history.

    Source: Letta 0.16.8, `POST /v1/agents/{id}/generate`.
    """

    def __init__(self, *, client: LettaClient, making: Making, base_url: str, upstream: LanguageModel | None) -> None:
        self._base_url = base_url
        self._client = client
        self._making = making
        self._upstream = upstream
        self._clerk: str | None = None
        self._finding = asyncio.Lock()

    def itself(self) -> LanguageModel:
        """As what it is to those who only speak through it."""
        return self

    async def speak(self, prompt: Prompt) -> StepStream:
        if self._upstream is not None:  # it does not know Letta's handles
            async with aclosing(self._upstream.speak(replace(prompt, model=None))) as events:
                async for event in events:
                    yield event
            return
        if left_out := _left_out(prompt):
            yield Ignored(left_out)
        said = await self._client.agents.generate(
            await self._found(), _told(prompt.messages), system=prompt.system or None, model=prompt.model
        )
        if said.content:
            yield TextSpoken((said.content,))
        counted = said.usage
        usage = Usage(counted.prompt_tokens or 0, counted.completion_tokens or 0) if counted else None
        yield StepEnded(StopReason.END_OF_TURN, usage if usage and usage.input_tokens else None)

    async def models(self) -> Sequence[ModelCard]:
        default = await self._making.model()
        embeddings = {listed.handle for listed in await self._client.embedding_models()}
        cards = {
            model.handle: ModelCard(model.handle, model.window_tokens)
            for model in await self._client.models()
            if model.handle not in embeddings
        }
        first = cards.pop(default, ModelCard(default))
        return first, *cards.values()

    async def described(self) -> str:
        """What speaks, for people. Raises nothing."""
        place = f"agents in Letta at {self._base_url}"
        try:
            return f"{place}: {await self._making.model()}"
        except LibrarianError as error:
            return f"{place}, which does not answer: {error}"

    async def aclose(self) -> None:
        if self._upstream is not None:
            await self._upstream.aclose()

    async def _found(self) -> str:
        """An agent that is nobody's: it remembers nothing, and says nothing of anybody."""
        async with self._finding:
            if self._clerk is None:
                found = await self._client.agents.find(TASKS, most=1)
                agent = (
                    found[0]
                    if found
                    else await self._client.agents.create(
                        name="librarian tasks",
                        model=await self._making.model(),
                        embedding=None,
                        system="You do small tasks on texts.",
                        tags=TASKS,
                    )
                )
                self._clerk = agent.id
            return self._clerk


def _left_out(prompt: Prompt) -> tuple[str, ...]:
    """`generate` takes a prompt and a model, and nothing else."""
    return (*prompt.sampling.passed, "tools") if prompt.tools else tuple(prompt.sampling.passed)


def _told(messages: Sequence[Message]) -> str:
    """One message as it is; of several, who said what."""
    if len(messages) == 1:
        return messages[0].text
    names = {Role.USER: "User", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System", Role.TOOL: "Tool"}
    return "\n\n".join(f"{names[message.role]}: {message.text}" for message in messages)
