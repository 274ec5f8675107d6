"""The manner of answering: which one, and why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from librarian.domain.transcript import Message, Role, Transcript


class Mode(StrEnum):
    """WORKER is literal, PERSONA expressive; AUTO leaves it to the agent."""

    WORKER = "worker"
    PERSONA = "persona"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """A mode and what spoke for it, in words an operator can read."""

    mode: Mode
    reasons: tuple[str, ...]


EXTRACTION = re.compile(
    r"\s*(?:please\s+)?(?:extract|list|convert|translate|summari[sz]e|return|classify|label|parse|format|rewrite|"
    r"generate|count|compute|calculate|sort|fix|refactor|implement|transform|output)\b",
    re.IGNORECASE,
)
CODE = re.compile(r"```|^\s*(?:def |class |import |SELECT\b|#include|function\s*\w*\()", re.MULTILINE)
INTERPRETATION = (
    "imagine",
    "pretend",
    "tell me a tale",
    "how do you feel",
    "what do you think",
    "your opinion",
    "your view",
    "your thoughts",
    "poem",
    "story",
    "metaphor",
    "what does it mean",
    "reflect",
    "once upon a time",
    "roleplay",
    "role-play",
    "let's talk",
)
FOR_MACHINES = ("json", "schema", "csv", "xml", "only output", "respond only", "classifier", "extractor")
IN_CHARACTER = ("you are playing", "roleplay", "role-play", "in character", "persona", "character card")
LONG_CHARS = 4000
READ_CHARS = 2000
"""Of a message: what it wants, it says at its beginning."""
MARGIN = 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a request shows of the manner it wants, apart from its words."""

    has_tools: bool = False
    structured: bool = False


class ModeSelector:
    """Explicit beats evidence; evidence must outweigh its opposite by two; no verdict is AUTO."""

    def select(self, asked: Mode | None, named: Mode, transcript: Transcript, evidence: Evidence) -> ModeChoice:
        """`asked`: by header; `named`: by the model's name. Reads the beginning of the messages only."""
        if asked is not None and asked is not Mode.AUTO:
            return ModeChoice(asked, ("asked for by header",))
        if named is not Mode.AUTO:
            return ModeChoice(named, ("asked for by model name",))
        worker = _worker_signs(transcript, evidence)
        persona = _persona_signs(transcript)
        balance = sum(weight for weight, _ in worker) - sum(weight for weight, _ in persona)
        if balance >= MARGIN:
            return ModeChoice(Mode.WORKER, tuple(reason for _, reason in worker))
        if balance <= -MARGIN:
            return ModeChoice(Mode.PERSONA, tuple(reason for _, reason in persona))
        return ModeChoice(Mode.AUTO, tuple(reason for _, reason in worker + persona) or ("no evidence",))


Sign = tuple[int, str]


def _worker_signs(transcript: Transcript, evidence: Evidence) -> list[Sign]:
    signs: list[Sign] = []
    if evidence.structured:
        signs.append((3, "a response format is asked for"))
    if evidence.has_tools:
        signs.append((2, "the client brought tools"))
    said = _last_said(transcript.messages)
    if EXTRACTION.match(said):
        signs.append((2, "an imperative"))
    if CODE.search(said, 0, READ_CHARS):
        signs.append((2, "code"))
    if len(said) >= LONG_CHARS:
        signs.append((1, "a long text"))
    if any(_speaks(message.text, FOR_MACHINES) for message in transcript.overlay):
        signs.append((2, "the system message wants a machine's answer"))
    return signs


def _persona_signs(transcript: Transcript) -> list[Sign]:
    signs: list[Sign] = []
    if _speaks(_last_said(transcript.messages), INTERPRETATION):
        signs.append((2, "an invitation to interpret"))
    if any(_speaks(message.text, IN_CHARACTER) for message in transcript.overlay):
        signs.append((3, "the system message asks for a character"))
    return signs


def _speaks(text: str, of: Sequence[str]) -> bool:
    """Whole words only. Looked for first as they stand: most texts have none, and patterns cost 100 times more."""
    text = text[:READ_CHARS].lower()
    return any(phrase in text and re.search(rf"\b{re.escape(phrase)}\b", text) for phrase in of)


def _last_said(messages: Sequence[Message]) -> str:
    return next((message.text for message in reversed(messages) if message.role is Role.USER), "")
