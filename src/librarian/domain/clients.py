"""The programs that ask: how each says who is speaking, in which conversation, and what for.

A profile is data. It rests on requests recorded of the program (tests/clients/recorded), or on the source named beside
it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Memory, Purpose, identifier
from librarian.domain.transcript import Message, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a request says of who is asking, where and what for, before anything of it is believed.

    `headers` have lower-case names. `place` is the conversation that `?conversation=` or the base URL names;
    `forwarded` the person that a verified token names; `messages` are all there are, system messages included.
    """

    headers: Mapping[bytes, bytes]
    place: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    prompt_cache_key: str | None = None
    forwarded: str | None = None
    messages: Sequence[Message] = ()
    streamed: bool = False
    has_tools: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What a request is taken to say. Each `_by` tells where it was found; empty if nowhere.

    `conversation` is the client's own id, `parent` the client's id of the message that the request goes on from,
    `message` its id for the answer.
    """

    client: str = "unknown"
    person: str | None = None
    person_by: str = ""
    conversation: str | None = None
    conversation_by: str = ""
    parent: str | None = None
    message: str | None = None
    purpose: Purpose = Purpose.CHAT
    purpose_by: str = ""
    memory: Memory = Memory.ON


class UserField(StrEnum):
    """What a client puts into `user`."""

    PERSON = "person"
    CONVERSATION = "conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """A job that a client has done on its own account, in a request of its own, known by how a message of it opens."""

    name: str
    opening: str
    may_stream: bool = False
    may_have_tools: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a request is told that no header gives away: not streamed, and these three together."""

    agent: bytes
    user: re.Pattern[str]
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One client. Headers are named as it writes them, the one to be believed first in front."""

    name: str
    agents: tuple[bytes, ...] = ()
    """How its User-Agent begins."""
    marks: tuple[str, ...] = ()
    """Headers that only it sends, beside those below."""
    manner: Manner | None = None
    user: UserField = UserField.PERSON
    person: tuple[str, ...] = ()
    conversation: tuple[str, ...] = ()
    parent: tuple[str, ...] = ()
    message: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    cache_key_is_conversation: bool = False
    chores: tuple[Chore, ...] = ()


OPEN_WEBUI = Profile(
    name="open-webui",
    # The headers of FORWARD_* in its env.py; those of a message and a task as its own gateway has an operator set them:
    # docs.openwebui.com/ecosystem/computer/open-webui. `{{USER_MESSAGE_PARENT_ID}}` is an earlier `{{MESSAGE_ID}}`.
    marks=("X-OpenWebUI-User-Jwt", "X-OpenWebUI-User-Name", "X-OpenWebUI-User-Email", "X-OpenWebUI-User-Role"),
    person=("X-OpenWebUI-User-Id",),
    conversation=("X-OpenWebUI-Chat-Id",),
    parent=("X-OpenWebUI-User-Message-Parent-Id",),
    message=("X-OpenWebUI-Message-Id",),
    task=("X-OpenWebUI-Task",),
    chores=(  # config.py of 0.12.4; the longer title is that of releases before it
        Chore(name="open-webui-title", opening="### Task:\nGenerate a concise title summarizing the chat history."),
        Chore(name="open-webui-title", opening="### Task:\nGenerate a concise, 3-5 word title"),
        Chore(name="open-webui-tags", opening="### Task:\nGenerate 1-3 broad tags categorizing the main themes"),
        Chore(name="open-webui-follow-up", opening="### Task:\nPredict 3-5 useful messages this user might naturally"),
        Chore(name="open-webui-follow-up", opening="### Task:\nSuggest 3-5 relevant follow-up questions or prompts"),
        Chore(name="open-webui-query", opening="### Task:\nAnalyze the chat history to determine the necessity of"),
        Chore(name="open-webui-image", opening="### Task:\nGenerate a detailed prompt for am image generation task"),
        Chore(name="open-webui-autocomplete", opening="### Task:\nYou are an autocompletion system. Continue the text"),
        Chore(name="open-webui-emoji", opening="Your task is to reflect the speaker's likely facial expression"),
        Chore(
            name="open-webui-merge",
            opening="You have been provided with a set of responses from various models to the latest user query:",
            may_stream=True,
        ),
    ),
)

LIBRECHAT = Profile(
    name="librechat",
    # The header of the example in its documentation of `headers` (shared endpoint settings). No placeholder gives the
    # id of an answer, so what goes on from what is seen by the transcript alone. `user` is the id of the person.
    chores=(  # @librechat/agents, src/utils/title.ts
        Chore(name="librechat-title", opening="Provide a concise, 5-word-or-less title for the conversation"),
        Chore(
            name="librechat-title",
            opening="Analyze this conversation and provide:\n1. The detected language of the conversation",
            may_have_tools=True,
        ),
    ),
)

HOME_ASSISTANT = Profile(
    name="home-assistant",
    # components/litellm: entity.py has `"user": chat_log.conversation_id`, a ULID by helpers/chat_session.py, and asks
    # by AsyncOpenAI, whose User-Agent it keeps; helpers/llm.py has the instructions and the prompt of Assist.
    manner=Manner(agent=b"AsyncOpenAI/Python", user=re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}"), system="Home Assistant"),
    user=UserField.CONVERSATION,
)

CONTINUE = Profile(
    name="continue",
    chores=(  # core/util/chatDescriber.ts
        Chore(
            name="continue-title",
            opening="Given the following... please reply with a short summary that is 4-12 words in length",
            may_stream=True,
        ),
    ),
)

OPENCODE = Profile(
    name="opencode",
    # packages/opencode/src/session/llm.ts. Its `prompt_cache_key` is one for many sessions.
    agents=(b"opencode/",),
    marks=("X-OpenCode-Project", "X-OpenCode-Client"),
    conversation=("X-OpenCode-Session",),
    chores=(  # packages/opencode/src/agent/prompt/title.txt
        Chore(
            name="opencode-title", opening="You are a title generator. You output ONLY a thread title.", may_stream=True
        ),
    ),
)

CLAUDE_CODE = Profile(
    name="claude-code",
    # code.claude.com/docs/en/llm-gateway-protocol, request headers
    conversation=("X-Claude-Code-Session-Id",),
)

CODEX = Profile(
    name="codex",
    # codex-rs: codex-api/src/requests/headers.rs has the headers, login/src/auth/default_client.rs the names. A
    # subagent has a thread of its own in the session of its parent.
    agents=(b"codex_cli_rs/", b"codex-tui/", b"codex_vscode/"),
    conversation=("Thread-Id", "Session-Id"),
    cache_key_is_conversation=True,
)

AIDER = Profile(
    name="aider",
    # Recorded. It calls itself by the name of the library that it uses.
    chores=(
        Chore(
            name="aider-commit",
            opening="You are an expert software engineer that generates concise, one-line Git commit messages",
        ),
        Chore(name="aider-summary", opening="*Briefly* summarize this partial conversation about programming."),
    ),
)

SDKS = (
    # All recorded. LangChain, LiteLLM, AutoGen and llm do not tell themselves apart from the library that they use.
    Profile(name="openai-python", agents=(b"OpenAI/Python", b"AsyncOpenAI/Python")),
    Profile(name="openai-node", agents=(b"OpenAI/JS",)),
    Profile(name="openai-agents", agents=(b"Agents/Python",)),
    Profile(name="pydantic-ai", agents=(b"pydantic-ai/",)),
    Profile(name="langchain-js", agents=(b"langchainjs-openai/",)),
    Profile(name="ai-sdk", agents=(b"ai/", b"ai-sdk/")),
)

ANYBODY = Profile(
    name="unknown",
    conversation=("X-Session-Affinity", "X-Session-Id", "X-Conversation-Id", "X-Chat-Id"),
)
"""Names that many gateways and programs agree on."""

CLIENTS = (OPEN_WEBUI, LIBRECHAT, HOME_ASSISTANT, CONTINUE, OPENCODE, CLAUDE_CODE, CODEX, AIDER, *SDKS)

HOUSE_CONVERSATION = "X-Librarian-Conversation"
HOUSE_PARENT = "X-Librarian-Parent"
HOUSE_MESSAGE = "X-Librarian-Message"
HOUSE_MEMORY = "X-Librarian-Memory"
HOUSE_PURPOSE = "X-Librarian-Purpose"


def identify(said: Said) -> Identified:
    """Raises InvalidRequest, its `param` the header or field that cannot be meant."""
    told = said.headers.keys() & HEADERS  # of most requests: nothing
    profile = _profile(said, told)
    if not told and not _names_something(said) and _chore(said) is None:
        return _SILENT[profile.name]
    person, person_by = _person(said, told, profile)
    conversation, conversation_by = _conversation(said, told, profile)
    memory = _memory(said, told)
    purpose, purpose_by, client = _purpose(said, told, memory)
    return Identified(
        client=client or profile.name,
        person=person,
        person_by=person_by,
        conversation=conversation,
        conversation_by=conversation_by,
        parent=_first(said, told, _PARENT)[0],
        message=_first(said, told, _MESSAGE)[0],
        purpose=purpose,
        purpose_by=purpose_by,
        memory=memory,
    )


def _names_something(said: Said) -> bool:
    return bool(
        said.user or said.safety_identifier or said.metadata or said.place or said.forwarded or said.prompt_cache_key
    )


_Names = Sequence[tuple[bytes, str]]
"""Headers: as they are looked up, and as they are written."""
_NOTHING: tuple[None, str] = (None, "")


def _profile(said: Said, told: set[bytes]) -> Profile:
    if told:
        for name, profile in _MARKS.items():
            if name in told:
                return profile
    agent = said.headers.get(b"user-agent", b"")
    if said.user and not said.streamed:
        for profile, manner in _MANNERS:
            if agent.startswith(manner.agent) and manner.user.fullmatch(said.user) and _instructed(said, manner):
                return profile
    return _by_agent(agent[:_AGENT_BYTES])


def _instructed(said: Said, manner: Manner) -> bool:
    first = said.messages[0] if said.messages else None
    return first is not None and first.role is Role.SYSTEM and manner.system in first.text


_AGENT_BYTES = 64


@lru_cache(maxsize=256)
def _by_agent(agent: bytes) -> Profile:
    return next((profile for profile in CLIENTS if profile.agents and agent.startswith(profile.agents)), ANYBODY)


def _person(said: Said, told: set[bytes], profile: Profile) -> tuple[str | None, str]:
    """What is signed, then what a header says: of a body, a client's own users may write fields."""
    if said.forwarded:
        return identifier(said.forwarded, "X-OpenWebUI-User-Jwt"), "x-openwebui-user-jwt"
    named = _first(said, told, _PERSON)
    if named[0] is not None:
        return named
    if said.safety_identifier:
        return identifier(said.safety_identifier, "safety_identifier"), "safety_identifier"
    if said.user and profile.user is UserField.PERSON:
        return identifier(said.user, "user"), "user"
    return _NOTHING


def _conversation(said: Said, told: set[bytes], profile: Profile) -> tuple[str | None, str]:
    """The client's own words for this house first, then headers that are its habit, then the body."""
    named = _first(said, told, _HOUSE_CONVERSATION)
    if said.place:
        place = identifier(said.place, "conversation")
        if named[0] is None:
            return place, "query"
        if named[0] != place:
            raise InvalidRequest(
                f"Invalid '{HOUSE_CONVERSATION}': the address names another conversation.",
                param=HOUSE_CONVERSATION,
                code="invalid_value",
            )
    if named[0] is None:
        named = _first(said, told, _CONVERSATION)
    if named[0] is not None:
        return named
    for label in LABELS if said.metadata else ():
        if value := said.metadata.get(label):
            return identifier(value, f"metadata.{label}"), f"metadata.{label}"
    if said.user and profile.user is UserField.CONVERSATION:
        return identifier(said.user, "user"), "user"
    if said.prompt_cache_key and profile.cache_key_is_conversation:
        return identifier(said.prompt_cache_key, "prompt_cache_key"), "prompt_cache_key"
    return _NOTHING


LABELS = ("conversation_id", "session_id", "chat_id")
"""The keys of `metadata` that name a conversation, the one to be believed first in front."""


def _memory(said: Said, told: set[bytes]) -> Memory:
    asked, _ = _first(said, told, _HOUSE_MEMORY)
    if asked is None:
        return Memory.ON
    try:
        return Memory(asked.lower())
    except ValueError:
        raise _not_one_of(HOUSE_MEMORY, Memory) from None


def _purpose(said: Said, told: set[bytes], memory: Memory) -> tuple[Purpose, str, str]:
    """What for, how that is known, and whose job it is where that is known by its words."""
    asked, by = _first(said, told, _HOUSE_PURPOSE)
    if asked is not None:
        if asked.lower() not in _PURPOSES:
            raise _not_one_of(HOUSE_PURPOSE, _PURPOSES)
        if asked.lower() == Purpose.TASK:
            return Purpose.TASK, by, ""
    else:
        task, by = _first(said, told, _TASK)
        if task is not None:
            return Purpose.TASK, by, ""
        if (found := _chore(said)) is not None:
            return Purpose.TASK, f"template:{found[1].name}", found[0].name
    if memory is Memory.OFF:
        return Purpose.STATELESS, HOUSE_MEMORY.lower(), ""
    return Purpose.CHAT, by if asked is not None else "", ""


_PURPOSES = (Purpose.CHAT, Purpose.TASK)
_MOST_MESSAGES = 4


def _chore(said: Said) -> tuple[Profile, Chore] | None:
    """Nothing has been answered yet, and one of the few messages opens as only a program writes."""
    messages = said.messages
    if len(messages) > _MOST_MESSAGES:
        return None
    for message in messages:
        if message.role is not Role.USER and message.role is not Role.SYSTEM:
            return None
    for message in messages:
        text = message.text
        if text[:1].isspace():
            text = text.lstrip()
        if text.startswith(_OPENINGS):
            for profile, chore in _CHORES:
                if text.startswith(chore.opening) and _fits(said, chore):
                    return profile, chore
    return None


def _fits(said: Said, chore: Chore) -> bool:
    return (chore.may_stream or not said.streamed) and (chore.may_have_tools or not said.has_tools)


def _first(said: Said, told: set[bytes], names: _Names) -> tuple[str | None, str]:
    """The first of these headers that says something, and its name. Raises InvalidRequest."""
    if told:
        for name, written in names:
            if name in told and (value := _text(said.headers[name], written)):
                return value, name.decode()
    return _NOTHING


def _text(value: bytes, written: str) -> str:
    try:
        return identifier(value.strip(b" \t").decode(), written)
    except UnicodeDecodeError:
        raise InvalidRequest(f"Invalid '{written}': it is not UTF-8.", param=written, code="invalid_value") from None


def _not_one_of(written: str, choices: Iterable[str]) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{written}': it is one of {', '.join(choices)}.", param=written, code="invalid_value"
    )


def _names(*written: str) -> _Names:
    return tuple((name.lower().encode(), name) for name in written)


def _marks() -> Iterator[tuple[bytes, Profile]]:
    for profile in CLIENTS:
        own = (profile.marks, profile.person, profile.conversation, profile.parent, profile.message, profile.task)
        for name, _ in _names(*(name for names in own for name in names)):
            yield name, profile


_MARKS = dict(_marks())
_HOUSE_CONVERSATION = _names(HOUSE_CONVERSATION)
_HOUSE_MEMORY = _names(HOUSE_MEMORY)
_HOUSE_PURPOSE = _names(HOUSE_PURPOSE)
_PERSON = _names(*(name for profile in CLIENTS for name in profile.person))
_CONVERSATION = _names(*(name for profile in (*CLIENTS, ANYBODY) for name in profile.conversation))
_PARENT = _names(HOUSE_PARENT, *(name for profile in CLIENTS for name in profile.parent))
_MESSAGE = _names(HOUSE_MESSAGE, *(name for profile in CLIENTS for name in profile.message))
_TASK = _names(*(name for profile in CLIENTS for name in profile.task))
HEADERS = frozenset(_MARKS).union(
    name
    for names in (_HOUSE_CONVERSATION, _HOUSE_MEMORY, _HOUSE_PURPOSE, _CONVERSATION, _PARENT, _MESSAGE)
    for name, _ in names
)
"""Every header that is read here, in lower case."""
_SILENT = {profile.name: Identified(client=profile.name) for profile in (*CLIENTS, ANYBODY)}
"""Of most requests nothing more is known than this."""
_MANNERS = tuple((profile, profile.manner) for profile in CLIENTS if profile.manner is not None)
_CHORES = tuple((profile, chore) for profile in CLIENTS for chore in profile.chores)
_OPENINGS = tuple(chore.opening for _, chore in _CHORES)
