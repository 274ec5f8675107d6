"""Calls of tools, put together from the pieces that servers send."""

from os import urandom

import msgspec
import orjson

from librarian.adapters.upstream.wire import CallDelta, Function
from librarian.domain.turn import ToolCalled


class Call:
    """One call. `given_id` is the server's own, if it sent one; `id` is never empty."""

    __slots__ = ("announced", "given_id", "id", "index", "name", "pieces")

    def __init__(self, index: int, given_id: str | None, call_id: str) -> None:
        self.index = index
        self.given_id = given_id
        self.id = call_id
        self.name = ""
        self.pieces: list[str] = []
        self.announced = False

    @property
    def whole(self) -> bool:
        try:
            orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return True


class Calls:
    """The calls of one step, numbered from 0 in order of appearance.

    Servers number theirs carelessly: Ollama says 0 for each (seen), some say nothing, some repeat the name or leave
    out the id. A piece begins a new call where it has a name and an id we do not know, or where it has a name and the
    call it would belong to is whole.
    """

    __slots__ = ("_at", "_calls", "_ids", "_last")

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._at: dict[int, Call] = {}
        self._ids: dict[str, Call] = {}
        self._last: Call | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, delta: CallDelta) -> ToolCalled | None:
        """What it adds; None while the name is not known."""
        function = delta.function or Function()
        arguments = _text(function)
        call = self._of(delta, function.name, arguments)
        if arguments:
            call.pieces.append(arguments)
        if call.announced:
            return ToolCalled(call.index, "", "", arguments) if arguments else None
        call.name = function.name or ""
        if not call.name:
            return None
        call.announced = True
        return ToolCalled(call.index, call.id, call.name, "".join(call.pieces))

    def last(self) -> list[ToolCalled]:
        """At the end: the arguments of calls that came without any, for a client that will read them as JSON."""
        return [ToolCalled(call.index, "", "", "{}") for call in self._calls if not call.pieces]

    @property
    def nameless(self) -> bool:
        return not all(call.announced for call in self._calls)

    def _of(self, delta: CallDelta, name: str | None, arguments: str) -> Call:
        call = self._known(delta)
        if call is not None and name and call.announced:
            begins = delta.id != call.given_id if delta.id else bool(arguments) and call.whole
            if begins:
                call = None
        if call is None:
            call = self._new(delta)
        self._last = call
        if delta.index is not None:
            self._at[delta.index] = call
        return call

    def _known(self, delta: CallDelta) -> Call | None:
        if delta.index is not None:
            return self._at.get(delta.index)
        return self._ids.get(delta.id) if delta.id else self._last

    def _new(self, delta: CallDelta) -> Call:
        taken = not delta.id or delta.id in self._ids
        call = Call(len(self._calls), delta.id or None, f"call_{urandom(12).hex()}" if taken else delta.id or "")
        self._calls.append(call)
        self._ids[call.id] = call
        return call


def _text(function: Function) -> str:
    arguments = function.arguments
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
