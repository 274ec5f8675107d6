"""What stands on record in a prompt, and the line of it that answers a question."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from librarian.adapters.upstream.wishes import forgets, sentences, told
from librarian.domain.transcript import Message, Role

READ_MESSAGES = 200
READ_CHARS = 500
ENOUGH = 0.6
"""How much of what a question is about a line must speak of."""
PERFECT = (1.0, True)

BLOCK = re.compile(r'<block label="(?P<label>[^"]*)"(?: \w+="[^"]*")*>\n(?P<value>.*?)\n?</block>', re.DOTALL)
SUMMARY = re.compile(r"<summary>\nEarlier in this conversation:\n(?P<text>.*?)\n</summary>", re.DOTALL)
QUOTE = re.compile(
    r'<quote date="(?P<day>[^"]*)" source="(?P<source>[^"]*)"(?: tags="[^"]*")?>(?P<text>.*?)</quote>', re.DOTALL
)
ESCAPED = re.compile(r"&lt;(?=\s*/?\s*(?:client_system|memory_blocks|block|summary|recalled|quote)\b)", re.IGNORECASE)
ABOUT_ITSELF = "persona"

WORD = re.compile(r"[^\W_]+(?:'\w+)?")
OWNED = re.compile(r"\b(?:my|our) (\w+)")
FIRST_PERSON = re.compile(r"\b(?:i|i'm|me)\b", re.IGNORECASE)
OWN_NAME = re.compile(r"\b(?:my name|who am i|am i called|do you call me)\b", re.IGNORECASE)
NAMES_ITSELF = re.compile(r"\b(?:my (?:\w+ )?name is|i am called|i'm called|call me)\b", re.IGNORECASE)
STOP_WORDS = frozenset(
    """
    a about again all am an and any anything are at be been but by can could did do does done for from
    had has have he her here him his how i i'm in is it its just know knows me mine much my name's no
    not now of on or our please recall remember remind said say she should so some something still tell
    that the their them there these they thing this those to told too us very was we were what what's
    when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905 - read as a list
)
ALIKE = {"nam": "call", "lov": "lik", "prefer": "lik", "preferr": "lik", "favorit": "lik", "enjoy": "lik"}
"""Stems that ask and tell the same."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something the reader told. `day`: when, if that is known. `block`: the label of the block it stands in."""

    text: str
    day: str | None = None
    block: str | None = None


def blocks(system: str) -> dict[str, str]:
    """The memory blocks by label, without what the agent knows about itself."""
    return {
        found["label"]: _plain(found["value"]) for found in BLOCK.finditer(system) if found["label"] != ABOUT_ITSELF
    }


def lines(system: str, earlier: Sequence[Message]) -> Iterator[Sequence[Line]]:
    """Blocks, the summary, what was recalled, and what the reader said before; the newest of each last."""
    yield [
        Line(line, block=label) for label, value in blocks(system).items() for line in value.split("\n") if line.strip()
    ]
    summary = SUMMARY.search(system)
    yield list(_of_summary(_plain(summary["text"]))) if summary else []
    yield [
        Line(sentence, quote["day"])
        for quote in QUOTE.finditer(system)
        if not quote["source"].startswith(Role.ASSISTANT)
        for sentence in statements(_plain(quote["text"]))
    ]
    yield _said_before(earlier)


def best(question: str, shelves: Iterable[Sequence[Line]]) -> Line | None:
    """By the words they share; of two that fit alike the one on the earlier shelf, and there the newest."""
    if OWN_NAME.search(question):
        naming = [[line for line in shelf if NAMES_ITSELF.search(line.text)] for shelf in shelves]
        return next((shelf[-1] for shelf in naming if shelf), None)
    topic = words(question)
    needed = {word for word in topic if any(map(str.isdigit, word))}
    needed |= {stem for owned in OWNED.findall(question.lower()) for stem in words(owned)}
    found: Line | None = None
    reached = (ENOUGH, False)
    for shelf in shelves:
        found_here = None
        for line in shelf:
            score = _score(topic, needed, question, line.text)
            if score > reached or (score == reached and (found_here is not None or found is None)):
                found_here, reached = line, score
        found = found_here or found
        if reached == PERFECT:
            break
    return found


def statements(text: str) -> Iterator[str]:
    """The statements in what somebody said."""
    return (statement for sentence in sentences(text) if (statement := told(sentence)))


def words(text: str) -> set[str]:
    """What a text is about: its words without the common ones, cut to their stems."""
    return {_stem(word) for word in WORD.findall(text.lower().replace("\u2019", "'")) if word not in STOP_WORDS}


def same(one: str, other: str) -> bool:
    """Whether two lines say the same in the same words."""
    return WORD.findall(one.lower()) == WORD.findall(other.lower())


def _score(topic: set[str], needed: set[str], question: str, line: str) -> tuple[float, bool]:
    said = words(line)
    if not topic or not needed <= said:
        return 0.0, False
    alike = bool(FIRST_PERSON.search(question)) == bool(FIRST_PERSON.search(line))
    return len(topic & said) / len(topic), alike


def _said_before(earlier: Sequence[Message]) -> Sequence[Line]:
    """Without what was to be forgotten since."""
    spoken = (message.text[:READ_CHARS] for message in reversed(earlier) if message.role is Role.USER)
    said: list[Line] = []
    for sentence in (
        sentence for text in reversed(list(islice(spoken, READ_MESSAGES))) for sentence in sentences(text)
    ):
        if forgotten := forgets(sentence):
            topic = words(forgotten)
            said = [line for line in said if not topic <= words(line.text)]
        elif statement := told(sentence):
            said.append(Line(statement))
    return said


def _of_summary(text: str) -> Iterator[Line]:
    """An extract says who spoke; what the agent or a tool said is not what the reader told."""
    for line in text.split("\n"):
        speaker, colon, said = line.partition(": ")
        if not colon or speaker not in set(Role):
            said = line
        elif speaker != Role.USER:
            continue
        yield from map(Line, statements(said))


def _plain(data: str) -> str:
    return ESCAPED.sub("<", data)


def _stem(word: str) -> str:
    """Enough to bring calls, called and calling, city and cities, colour and color together."""
    word = word.removesuffix("'s").replace("our", "or")
    for ending, instead in (("ing", ""), ("ies", "y"), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - three letters tell words apart
            word = word.removesuffix(ending) + instead
            break
    return ALIKE.get(word, word)
