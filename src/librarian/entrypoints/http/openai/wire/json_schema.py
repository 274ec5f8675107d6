"""Whether JSON is a JSON Schema. Source: json-schema.org, draft 2020-12, and of those before it what is still sent."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import msgspec

from librarian.domain.errors import InvalidRequest
from librarian.entrypoints.http.openai.wire.decoding import Passed, kept

TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
ONE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "else",
        "if",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords with a schema; then those with several, and those with schemas by name."""
SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})


def schema_of(sent: Passed, param: str) -> bytes | None:
    """The schema as it came; None if there is none. Raises InvalidRequest for what is no JSON Schema object."""
    raw = None if isinstance(sent, msgspec.UnsetType) else kept(sent, param)
    if raw is None:
        return None
    place = param.replace(".[", "[")
    if not raw.startswith(b"{"):
        raise InvalidRequest(f"Invalid type for '{place}': expected an object.", param=param, code="invalid_type")
    if (fault := _first_fault(raw)) is not None:
        raise InvalidRequest(f"Invalid schema for '{place}': {fault}", param=param, code="invalid_value")
    return raw


@lru_cache(maxsize=512)
def _first_fault(raw: bytes) -> str | None:
    """Clients send the same schemas with every request."""
    return next(_faults(msgspec.json.decode(raw), "#"), None)


def _faults(schema: object, at: str) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield f"{at} is no schema."
        return
    for word, value in schema.items():
        fits = WORDS.get(word)
        if fits is not None and not fits(value):
            yield f"{at}/{word} is not what that keyword takes."
        for name, below in _below(word, value):
            yield from _faults(below, f"{at}/{word}{name}")


def _below(word: str, value: object) -> Iterator[tuple[str, object]]:
    if word in ONE or (word == "items" and not isinstance(value, list)):
        yield "", value
    elif isinstance(value, list) and (word in SEVERAL or word == "items"):
        for number, item in enumerate(value):
            yield f"/{number}", item
    elif isinstance(value, dict) and word in NAMED:
        for name, item in value.items():
            yield f"/{name}", item


def _is_type(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_bound(value: object) -> bool:
    """In draft 4, `exclusiveMinimum` was a flag."""
    return _is_number(value) or _is_flag(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and value >= 0 and value % 1 == 0


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_some(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


WORDS: Mapping[str, Callable[[object], bool]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": _is_list,
    **dict.fromkeys(("$anchor", "$id", "$ref", "$schema", "description", "format", "pattern", "title"), _is_text),
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), _is_flag),
    **dict.fromkeys(("maximum", "minimum", "multipleOf"), _is_number),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum"), _is_bound),
    **dict.fromkeys(("maxContains", "maxItems", "maxLength", "maxProperties"), _is_count),
    **dict.fromkeys(("minContains", "minItems", "minLength", "minProperties"), _is_count),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _is_some),
    **dict.fromkeys(sorted(NAMED), _is_object),
}
