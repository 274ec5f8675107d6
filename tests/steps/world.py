"""A house for one scenario: people, their chats, and two doors to speak through."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import uvicorn
from dependency_injector import providers

from librarian.adapters.upstream.offline import OfflineModel
from librarian.application.converse import Ask
from librarian.container import House
from librarian.domain.errors import LibrarianError
from librarian.domain.identity import owner_of
from librarian.domain.tools import ClientTools, ToolSpec
from librarian.domain.transcript import Message, Role, ToolCall, Transcript, assistant, user
from librarian.domain.turn import Collected, TextSpoken, ToolCalled, TurnBegan, TurnEnded, Usage
from librarian.settings import Settings
from tests.fakes.overheard import Overheard
from tests.letta.server import LiveLetta
from tests.letta.spoken import spoken_by

WEATHER = ToolSpec(
    "get_weather", "The weather somewhere.", '{"type":"object","properties":{"place":{"type":"string"}}}'
)


@dataclass
class Answer:
    """What a person got. `refused`: in the domain's words or OpenAI's."""

    text: str = ""
    pieces: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    calls: tuple[ToolCall, ...] = ()
    conversation: str | None = None
    finish: str | None = None
    usage: Usage | None = None
    refused: str | None = None
    said: str = ""


@dataclass
class Chat:
    """As a client keeps it. `name`: what it calls it, if it says so."""

    messages: list[Message] = field(default_factory=list)
    conversations: list[str | None] = field(default_factory=list)
    name: str | None = None


class World:
    """Speaks to the application through `converse`, or, where a scenario is tagged @http, through the official SDK."""

    def __init__(
        self, data_dir: Path, *, http: bool, run: Callable[[Any], Any], letta: LiveLetta | None = None
    ) -> None:
        """`letta`: where the agents live, with the same model behind it."""
        self.run = run
        self.model = Overheard(OfflineModel.plain())
        self.settings: dict[str, Any] = {"data_dir": data_dir, "upstream": {"discover": False}}
        if letta is not None:
            self.settings["letta"] = {"base_url": letta.base_url, "embedding": letta.model.embedding}
            letta.model.when(lambda _: True).do(spoken_by(self.model))
        self.chats: dict[tuple[str, str], Chat] = {}
        self.system: dict[str, str] = {}
        self.answer = Answer()
        self.upstream_url: str | None = None
        self._http = http
        self._house: House | None = None
        self._server: tuple[uvicorn.Server, threading.Thread] | None = None

    @property
    def house(self) -> House:
        if self._house is None:
            settings = self.settings
            if self.upstream_url:
                settings = settings | {"upstream": {"base_url": self.upstream_url, "idle_s": 2, "first_event_s": 2}}
            self._house = House(settings=Settings(_env_file=None, **settings))
            if not self.upstream_url and "letta" not in settings:
                self._house.model.override(providers.Object(self.model))
        return self._house

    def chat(self, person: str, name: str = "first") -> Chat:
        return self.chats.setdefault((person, name), Chat())

    def restart(self) -> None:
        self.close()

    def close(self) -> None:
        if self._server is not None:
            server, thread = self._server
            server.should_exit = server.force_exit = True
            thread.join(10)
            self._server = None
        elif self._house is not None:
            self.run(self._house.lifetime().aclose())
        self._house = None

    def tell(self, person: str, text: str, **how: Any) -> Answer:
        """A person says something; their client sends all that went before along."""
        return self.send(person, user(text), **how)

    def send(
        self,
        person: str,
        *news: Message,
        chat: str = "first",
        model: str = "librarian",
        tools: Sequence[ToolSpec] = (),
        stream: bool = False,
        usage: bool = False,
        **how: Any,
    ) -> Answer:
        """`how`: what else stands in the Ask, or, through the official SDK, in the request."""
        at = self.chat(person, chat)
        at.messages += news
        if self._http:
            spoken = self.spoken(person, chat)
            self.answer = self._through_the_sdk(person, spoken, model, tools, stream=stream, usage=usage, **how)
        else:
            self.answer = self.run(self.asked(person, chat, model, tools, **how))
        at.conversations.append(self.answer.conversation)
        if self.answer.refused is None:
            at.messages.append(assistant(self.answer.text, self.answer.calls))
        return self.answer

    def spoken(self, person: str, chat: str = "first") -> list[Message]:
        """All that the client sends."""
        system = [Message(Role.SYSTEM, self.system[person])] if person in self.system else []
        return [*system, *self.chat(person, chat).messages]

    async def asked(
        self,
        person: str,
        chat: str = "first",
        model: str = "librarian",
        tools: Sequence[ToolSpec] = (),
        **how: Any,
    ) -> Answer:
        """What a chat has come to, asked through the ports."""
        named = {"conversation": self.chat(person, chat).name} | how
        return await self._through_the_ports(person, self.spoken(person, chat), model, tools, **named)

    async def broken_off(self, person: str, **how: Any) -> Answer:
        """What a client was told that left before the last frame."""
        return await self.asked(person, leaving=True, **how)

    async def at_once(self, person: str, texts: Sequence[str]) -> list[Answer]:
        return await asyncio.gather(*(self._through_the_ports(person, [user(text)], "librarian", ()) for text in texts))

    async def _through_the_ports(
        self,
        person: str,
        spoken: Sequence[Message],
        model: str,
        tools: Sequence[ToolSpec],
        *,
        leaving: bool = False,
        **how: Any,
    ) -> Answer:
        """`leaving`: at the last frame."""
        answer, collected = Answer(), Collected()
        asked = {"model": model, "transcript": Transcript(spoken), "person": person, "tools": ClientTools(tools)} | how
        try:
            ask = Ask(**asked, whole=True)
            async with aclosing(self.house.converse()(ask)) as events:
                async for event in events:
                    match event:
                        case TurnBegan():
                            answer.conversation = event.conversation
                        case TextSpoken(fragments):
                            collected.speak(fragments)
                            answer.pieces += fragments
                        case ToolCalled():
                            collected.call(event)
                        case TurnEnded() if leaving:
                            break
                        case TurnEnded():
                            answer.finish, answer.usage = event.reason, event.usage
        except LibrarianError as error:
            answer.refused = getattr(error, "code", None) or type(error).__name__
            answer.said = str(error)
        answer.text, answer.calls = collected.text, collected.calls
        return answer

    def _through_the_sdk(
        self,
        person: str,
        spoken: Sequence[Message],
        model: str,
        tools: Sequence[ToolSpec],
        *,
        stream: bool,
        usage: bool,
        **how: Any,
    ) -> Answer:
        answer = Answer()
        request: dict[str, Any] = {"model": model, "messages": [_wire(m) for m in spoken], "user": person} | how
        if tools:
            request["tools"] = [_tool(spec) for spec in tools]
        with openai.OpenAI(base_url=f"{self._served()}/v1", api_key="none", max_retries=0) as client:
            try:
                if stream:
                    self._listen(client, request | {"stream": True}, answer, usage=usage)
                else:
                    reply = client.chat.completions.with_raw_response.create(**request)
                    answer.conversation = reply.headers.get("x-librarian-conversation")
                    _read(reply.parse(), answer)
            except openai.APIStatusError as error:
                answer.refused, answer.said = error.code, error.message
            except openai.APIError as error:  # after the first frame
                answer.refused, answer.said = error.code, error.message
        return answer

    def _listen(self, client: openai.OpenAI, request: dict[str, Any], answer: Answer, *, usage: bool) -> None:
        if usage:
            request["stream_options"] = {"include_usage": True}
        for chunk in client.chat.completions.create(**request):
            if chunk.usage:
                answer.usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
            for choice in chunk.choices:
                if choice.delta.content:
                    answer.pieces.append(choice.delta.content)
                answer.finish = choice.finish_reason or answer.finish
        answer.text = "".join(answer.pieces)

    def _served(self) -> str:
        if self._server is None:
            config = uvicorn.Config(self.house.front_door(), port=0, log_level="error", timeout_graceful_shutdown=2)
            server = uvicorn.Server(config)
            ready = threading.Event()
            thread = threading.Thread(target=self._serve, args=(server, ready), daemon=True)
            thread.start()
            assert ready.wait(20)
            self._server = server, thread
        port = self._server[0].servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def _serve(self, server: uvicorn.Server, ready: threading.Event) -> None:
        async def serve() -> None:
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn has no event for it
                await asyncio.sleep(0.01)
            ready.set()
            await serving

        with suppress(KeyboardInterrupt):
            asyncio.run(serve())

    def blocks(self, person: str) -> str:
        """All that the librarian has noted about a person."""

        async def read() -> str:
            from librarian.application.ports.memory import AgentKey  # noqa: PLC0415
            from librarian.domain.identity import LOCAL  # noqa: PLC0415
            from librarian.domain.prompt import DEFAULT_BLOCKS  # noqa: PLC0415

            memory = self.house.memory()
            agent = await memory.agent(AgentKey("librarian", owner_of(LOCAL, person=person)), DEFAULT_BLOCKS)
            return "\n".join(block.value for block in await memory.blocks(agent) if block.label == "human")

        return self.run(read())


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role.value, "content": message.text}
    if message.calls:
        wire["content"] = message.text or None
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.answers:
        wire["tool_call_id"] = message.answers
    return wire


def _tool(spec: ToolSpec) -> dict[str, Any]:
    function = {"name": spec.name, "description": spec.description, "parameters": json.loads(spec.parameters or "{}")}
    return {"type": "function", "function": function}


def _read(completion: Any, answer: Answer) -> None:
    choice = completion.choices[0]
    answer.choices = [one.message.content or "" for one in completion.choices]
    answer.text = choice.message.content or ""
    answer.pieces = [answer.text]
    answer.finish = choice.finish_reason
    answer.usage = Usage(completion.usage.prompt_tokens, completion.usage.completion_tokens)
    answer.calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
    )
