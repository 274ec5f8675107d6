"""Thoughts that a model writes at the start of its text, between `<think>` and `</think>`."""

OPENING = "<think>"
CLOSING = "</think>"


class Thinking:
    """Parts thought from speech while text streams, wherever it was cut. `over`: all that follows is speech."""

    __slots__ = ("_began", "_closed", "_held", "over")

    def __init__(self) -> None:
        self._held = ""
        self._began = False
        self._closed = False
        self.over = False

    def feed(self, text: str) -> tuple[str, str]:
        """What was thought and what was said, as far as it is clear."""
        self._held += text
        if not self._began:
            start = self._held.lstrip()
            if len(start) < len(OPENING) and OPENING.startswith(start):
                return "", ""
            if not start.startswith(OPENING):
                return "", self._rest()
            self._began = True
            self._held = start[len(OPENING) :]
        if self._closed:
            return "", self._spoken()
        thought, closing, said = self._held.partition(CLOSING)
        if closing:
            self._closed = True
            self._held = said
            return thought, self._spoken()
        cut = len(thought) - _overlap(thought)
        self._held = thought[cut:]
        return thought[:cut], ""

    def close(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        return (held, "") if self._began and not self._closed else ("", "" if self._closed else held)

    def _spoken(self) -> str:
        """The blank lines between the thoughts and the answer belong to neither."""
        self._held = self._held.lstrip()
        return self._rest() if self._held else ""

    def _rest(self) -> str:
        self.over = True
        said, self._held = self._held, ""
        return said


def _overlap(text: str) -> int:
    """How many characters at the end may be the beginning of the closing tag."""
    return next((n for n in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:n])), 0)
