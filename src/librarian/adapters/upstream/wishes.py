"""What a reader wants, told by rule from the words of one message."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

READ_CHARS = 8000
FACT_CHARS = 400
"""A longer sentence that says `my` is seldom about the reader."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Each sentence in the list it belongs to, tidied; what fits none is in none."""

    facts: Sequence[str] = ()
    passages: Sequence[str] = ()
    patterns: Sequence[str] = ()
    forgotten: Sequence[str] = ()
    question: str | None = None
    greets: bool = False
    asks_who: bool = False


def _rule(pattern: str) -> re.Pattern[str]:
    lead = r"(?:(?:hi|hello|hey|oh|no|well|also|and|so|ok|okay|actually|btw|by the way|please)\b[\s,!.:;-]*)*"
    return re.compile(rf"{lead}(?:{pattern})", re.IGNORECASE | re.DOTALL)


ASKED_TO = r"(?:(?:can|could|would|will) you |i(?:'d| would)? (?:want|like|need) you to )?(?:please )?"
REMEMBER = _rule(
    ASKED_TO
    + r"(?:remember|note|keep in mind|make a note|don'?t forget|do not forget)"
    + r"(?P<that>\s+that\b|\s*[:,-])?\s+(?P<what>.+)"
)
ARCHIVE = _rule(ASKED_TO + r"archive(?:\s+that\b|\s*[:,-])?\s+(?P<what>.+)")
FORGET = _rule(ASKED_TO + r"forget(?:\s+about\b|\s+that\b|\s*[:,-])?\s+(?P<what>.+)")
PATTERN = _rule(
    r"(?P<what>(?:from now on|in (?:the )?future)\b.+"
    r"|(?:always|never) (?:answer|reply|respond|use|write|speak|call|address|be|give|keep|include|format|explain|say)"
    r"\b.+)"
)
FACT = _rule(
    r"(?P<what>(?:my name is|i am called|i'm called|call me|i live in|i work (?:at|as|for|in)|i(?: am|'m) allergic to"
    r"|i (?:really |also |do )?(?:like|love|prefer|hate|dislike|enjoy)) (?!(?:it|that|this|them|you)\W*$).+"
    r"|my (?!(?:question|point|problem|issue|code|guess|request|error|file|function|test|apologies)\b)"
    r"[\w'-]+(?: [\w'-]+){0,3} (?:is|are|was|were) .+)"
)
QUESTION = _rule(r"(?:who|whom|whose|what|what's|when|where|which|why|how|tell me|remind me)\b")
GREETING = re.compile(r"(?:hi|hello|hey|greetings|good (?:morning|day|afternoon|evening))\b[^?]{0,40}", re.IGNORECASE)
WHO = _rule(
    r"(?:who|what) are you\b|what can you do\b|what is your name\b|what's your name\b|are you (?:an? |the )|help\W*$"
    r"|introduce yourself|which (?:language )?model\b"
)
BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\s*\n+\s*")
ABBREVIATION = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|St|Prof|Nr|No|vs|e\.g|i\.e|[A-Z]))\.$")


def read(text: str) -> Wishes:
    facts: list[str] = []
    passages: list[str] = []
    patterns: list[str] = []
    forgotten: list[str] = []
    question = None
    for sentence in sentences(text[:READ_CHARS]):
        if fact := _remembered(sentence):
            facts.append(fact)
        elif is_question(sentence):
            question = sentence
        elif passage := _what(ARCHIVE, sentence):
            passages.append(passage)
        elif (line := forgets(sentence)) is not None:
            forgotten.append(line)
        elif pattern := _what(PATTERN, sentence):
            patterns.append(pattern)
        elif len(sentence) <= FACT_CHARS and (fact := _what(FACT, sentence)):
            facts.append(fact)
    return Wishes(
        facts,
        passages,
        patterns,
        forgotten,
        question,
        greets=GREETING.fullmatch(text.strip()) is not None,
        asks_who=WHO.match(_plain(question or text.strip())) is not None,
    )


def is_question(sentence: str) -> bool:
    return sentence.endswith("?") or QUESTION.match(_plain(sentence)) is not None


def forgets(sentence: str) -> str | None:
    """What a sentence wants forgotten, if it wants that."""
    return _what(FORGET, sentence)


def told(sentence: str) -> str | None:
    """What a sentence states; None if it asks or commands."""
    if fact := _remembered(sentence):
        return fact
    return None if is_question(sentence) or forgets(sentence) else sentence


def _remembered(sentence: str) -> str | None:
    wish = REMEMBER.match(_plain(sentence))
    if wish is None or (sentence.endswith("?") and not wish["that"]):
        return None
    what = sentence[wish.start("what") :]
    return tidy(f"Remember {what}" if what.lower().startswith("to ") else what)


def _what(rule: re.Pattern[str], sentence: str) -> str | None:
    wish = rule.match(_plain(sentence))
    return tidy(sentence[wish.start("what") : wish.end("what")]) if wish is not None else None


def _plain(text: str) -> str:
    """With straight apostrophes, and just as long."""
    return text.replace("\u2019", "'")


def sentences(text: str) -> Iterator[str]:
    begun = ""
    for piece in BREAK.split(text):
        begun = f"{begun} {piece}".strip()
        if begun and not ABBREVIATION.search(begun):
            yield begun
            begun = ""
    if begun:
        yield begun


def tidy(fact: str) -> str:
    """The reader's words as one sentence on one line."""
    words = " ".join(fact.split()).rstrip("?").rstrip()
    words = words[:1].upper() + words[1:]
    return f"{words}." if words[-1:].isalnum() else words
