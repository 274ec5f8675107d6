"""Server-sent events, cut wherever the network cut them. Source: WHATWG HTML, 9.2; a lone CR ends no line here."""

import orjson

from librarian.domain.errors import UpstreamRefused

LONGEST_EVENT_BYTES = 32 * 2**20


class Frames:
    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, read: bytes) -> list[bytes]:
        """The data of the events that this read completed. Raises UpstreamRefused for one without end."""
        text = self._rest + read if self._rest else read
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        events, end, self._rest = text.rpartition(b"\n\n")
        if len(self._rest) > LONGEST_EVENT_BYTES:
            raise UpstreamRefused("The language model's server sends without end.", heard=True)
        if not end:
            return []
        if events[:6] == b"data: ":
            frames = events[6:].split(b"\n\ndata: ")
            if events.count(b"\n") == 2 * len(frames) - 2:  # nothing but data, an event a line: nearly always
                return frames
        return [data for event in events.split(b"\n\n") if (data := _data(event))]

    def close(self) -> list[bytes]:
        """What is left at the end: some servers leave out the last blank line."""
        rest, self._rest = self._rest, b""
        return [data] if (data := _data(rest.rstrip(b"\r\n"))) else []


def _data(event: bytes) -> bytes:
    data: list[bytes] = []
    failed = False
    for line in event.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            failed = value.strip() == b"error"
    joined = b"\n".join(data)
    return _as_error(joined) if failed else joined


def _as_error(data: bytes) -> bytes:
    """An `event: error` as the frame that others send for it."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        data = orjson.dumps(data.decode(errors="replace"))
    return b'{"error":%b}' % data
