"""From what somebody wrote to what the full-text index is asked."""

import re

TERMS = 12
"""At most: each costs a pass over all entries that have it."""

STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being between both but by can
    could did do does doing down during each few for from further get got had has have having he her here hers him his
    how i if in into is it its just let ll like me more most my no nor not now of off on once only or other our out over
    own please re same she should so some such tell than that the their them then there these they this those through
    to too under until up us ve very was we were what when where which while who whom why will with would you your yours
    """.split()  # noqa: SIM905  in quotes, one by one, nobody could read them
)


def match_of(text: str) -> str:
    """An expression for MATCH: any of the words that tell something, the longest if there are many; empty if none.

    Every word is quoted, so that nothing in a text is read as the index's own syntax.
    """
    words = dict.fromkeys(re.findall(r"\w+", text.lower().replace("_", " ")))
    telling = [word for word in words if word not in STOP_WORDS and (len(word) > 1 or not word.isascii())]
    telling.sort(key=len, reverse=True)
    return " OR ".join(f'"{word}"' for word in telling[:TERMS])
