"""A body -> a typed request, or a refusal in OpenAI's words."""

import json
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from librarian.domain.errors import InvalidRequest

MOST_DEEP = 64
_SEARCHED_BYTES = 1 << 20
Passed = msgspec.Raw | msgspec.UnsetType
"""A value that is only passed on. (Of `Raw | None`, msgspec 0.22 refuses objects.)"""

_T = TypeVar("_T")


def decoder(shape: type[_T]) -> Callable[[bytes], _T]:
    """Raises InvalidRequest, its `param` in OpenAI's spelling: `messages.[0].content`."""
    decode = msgspec.json.Decoder(shape).decode

    def read(body: bytes) -> _T:
        if not body.isascii():
            _require_utf8(body)  # msgspec does not look into what it skips
        if b"\\u0000" in body and _NUL.search(body):
            raise _unsuitable(_unsuitable_at(body) or "")
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise invalid(str(error)) from error
        except msgspec.DecodeError as error:
            if (path := _unsuitable_at(body)) is not None:
                raise _unsuitable(path) from error
            raise _unreadable(str(error)) from error
        except RecursionError as error:
            raise _too_deep() from error

    return read


def kept(value: msgspec.Raw, param: str) -> bytes | None:
    """The JSON of what is passed on; None for null. Raises InvalidRequest where it is nested too deep."""
    raw = bytes(value)
    if raw == b"null":
        return None
    if raw.count(b"[") + raw.count(b"{") > MOST_DEEP and _depth(raw) > MOST_DEEP:
        raise _too_deep(param)
    return raw


def invalid(said: str) -> InvalidRequest:
    """What msgspec said of a value, as OpenAI would: `Expected ... - at `$.messages[0].content``."""
    detail, _, path = said.partition(" - at `$")
    path = path.removesuffix("`").removeprefix(".")
    if missing := _MISSING.match(detail):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return InvalidRequest(
            f"Missing required parameter: '{path}'.", param=_param(path), code="missing_required_parameter"
        )
    place = f"'{path.replace('[...]', '')}'" if path else "the body"
    if wrong := _WRONG_TYPE.match(detail):
        wanted = [_NAMED.get(name, name) for name in wrong[1].split(" | ") if name != "null"]
        expected = wanted[0] if len(wanted) == 1 else f"one of {', '.join(wanted[:-1])} or {wanted[-1]}"
        return InvalidRequest(
            f"Invalid type for {place}: expected {expected}, but got {_NAMED.get(wrong[2], wrong[2])} instead.",
            param=_param(path),
            code="invalid_type",
        )
    if outside := _OUTSIDE.match(detail):
        return InvalidRequest(
            f"Invalid {place}: expected {_NAMED.get(outside[1], outside[1])}{outside[2]}.",
            param=_param(path),
            code=_BOUND.get((outside[1], ">" in outside[2]), "invalid_value"),
        )
    return InvalidRequest(f"Invalid value for {place}: {detail}.", param=_param(path), code="invalid_value")


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_UNSUITABLE = re.compile("[\0\ud800-\udfff]")
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_OUTSIDE = re.compile(r"Expected `([^`]*)`( .*)")
_NAMED = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_BOUND = {
    ("int", True): "integer_below_min_value",
    ("int", False): "integer_above_max_value",
    ("float", True): "decimal_below_min_value",
    ("float", False): "decimal_above_max_value",
    ("str", True): "string_below_min_length",
    ("str", False): "string_above_max_length",
    ("array", True): "array_below_min_length",
    ("array", False): "array_above_max_length",
}


def _param(path: str) -> str | None:
    """`messages[0].content` -> `messages.[0].content`; what stands under some name, msgspec calls `metadata[...]`."""
    return path.replace("[...]", "").replace("[", ".[") or None


def _require_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(f"it is not UTF-8 (byte {error.start})") from error


def _unreadable(detail: str) -> InvalidRequest:
    return InvalidRequest(f"We could not parse the JSON body of your request: {detail}.", code="invalid_json")


def _too_deep(param: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"The JSON is nested deeper than {MOST_DEEP} levels.", param=param, code="invalid_json")


def _unsuitable(path: str) -> InvalidRequest:
    place = f"'{path}'" if path else "body"
    return InvalidRequest(
        f"Invalid {place}: NUL characters and lone surrogates are not text.", param=_param(path), code="invalid_value"
    )


def _unsuitable_at(body: bytes) -> str | None:
    """The path to the first string that is no text; only Python's own reader lets lone surrogates through."""
    if len(body) > _SEARCHED_BYTES:
        return None
    try:
        path = next(_unsuitable_strings(json.loads(body), ""), None)
    except (ValueError, RecursionError):
        return None
    return path.removeprefix(".") if path is not None else None


def _unsuitable_strings(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if _UNSUITABLE.search(value):
            yield path
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _unsuitable_strings(item, f"{path}[{at}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            if _UNSUITABLE.search(name):
                yield path
            yield from _unsuitable_strings(item, f"{path}.{name}")


def _depth(raw: bytes) -> int:
    """A bracket inside a string is none."""
    deepest = depth = 0
    for token in _STRING_OR_BRACKET.findall(raw):
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest
