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
INTERPRETATION = re.compile(
    r"\b(?:imagine|pretend|tell me a (?:story|tale)|how do you feel|what do you think|your (?:opinion|view|thoughts)|"
    r"poem|story|metaphor|what does it mean|reflect|once upon a time|role-?play|let's talk)\b",
    re.IGNORECASE,
)
CODE = re.compile(r"```|^\s*(?:def |class |import |SELECT\b|#include|function\s*\w*\()", re.MULTILINE)
MACHINE_SYSTEM = re.compile(r"\b(?:json|schema|csv|xml|only output|respond only|classifier|extractor)\b", re.IGNORECASE)
CHARACTER_SYSTEM = re.compile(r"\b(?:you are playing|role-?play|in character|persona|character card)\b", re.IGNORECASE)
LONG_CHARS = 4000
READ_CHARS = 4000
MARGIN = 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a request shows of the manner it wants, apart from its words."""

    has_tools: bool = False
    structured: bool = False


class ModeSelector:
    """Explicit beats evidence; evidence must outweigh its opposite by two; no verdict is AUTO."""

    def select(self, asked: Mode | None, named: Mode, transcript: Transcript, evidence: Evidence) -> ModeChoice:
        """`asked`: by header; `named`: by the model's name. Reads at most the first 4,000 characters of a message."""
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
    if CODE.search(said):
        signs.append((2, "code"))
    if len(said) >= LONG_CHARS:
        signs.append((1, "a long text"))
    if any(MACHINE_SYSTEM.search(message.text[:READ_CHARS]) for message in transcript.overlay):
        signs.append((2, "the system message wants a machine's answer"))
    return signs


def _persona_signs(transcript: Transcript) -> list[Sign]:
    signs: list[Sign] = []
    if INTERPRETATION.search(_last_said(transcript.messages)):
        signs.append((2, "an invitation to interpret"))
    if any(CHARACTER_SYSTEM.search(message.text[:READ_CHARS]) for message in transcript.overlay):
        signs.append((3, "the system message asks for a character"))
    return signs


def _last_said(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role is Role.USER:
            return message.text[:READ_CHARS]
    return ""
