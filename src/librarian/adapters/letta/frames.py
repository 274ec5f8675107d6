"""Server-sent events, cut wherever the network cut them. Letta's are one line of data each, errors a line more."""

from librarian.domain.errors import AgentUnavailable

LONGEST_EVENT_BYTES = 32 * 2**20


class Frames:
    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, read: bytes) -> list[bytes]:
        """The data of the events that this read completed. Raises AgentUnavailable for one without end."""
        text = self._rest + read if self._rest else read
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        events = text.split(b"\n\n")
        self._rest = events.pop()
        if len(self._rest) > LONGEST_EVENT_BYTES:
            raise AgentUnavailable("The Letta server sends without end.", heard=True)
        return [data for event in events if (data := _data(event))]

    def close(self) -> list[bytes]:
        """What is left at the end, if its last blank line was left out."""
        rest, self._rest = self._rest, b""
        return [data] if (data := _data(rest.rstrip(b"\r\n"))) else []


def _data(event: bytes) -> bytes:
    if event[:6] == b"data: " and b"\n" not in event:  # nearly every event
        return event[6:]
    lines = (line.partition(b":") for line in event.split(b"\n"))
    return b"\n".join(value.removeprefix(b" ") for field, _, value in lines if field == b"data")
