"""Small values that a JSON Schema allows, always the same ones."""

from collections.abc import Mapping
from typing import Any

DEEPEST = 8
MOST_ITEMS = 3
"""At every level: lists in lists grow by its powers."""
FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "reader@example.org",
    "uri": "https://example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = Mapping[str, Any]


def value(schema: object, text: str) -> Any:  # noqa: ANN401 - any JSON
    """Of an object, what is required. A text without rules of its own is `text`. Nothing, of what is no schema."""
    try:
        return _value(schema, text)
    except (TypeError, ValueError, AttributeError, KeyError):
        return {}


def _value(schema: object, text: str, root: Schema | None = None, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON
    if not isinstance(schema, dict) or depth > DEEPEST:
        return text
    root = root if root is not None else schema
    if "$ref" in schema:
        return _value(_resolved(schema["$ref"], root), text, root, depth + 1)
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(choice):
            told = [option for option in options if isinstance(option, dict) and option.get("type") != "null"]
            return _value(told[0] if told else {"type": "null"}, text, root, depth + 1)
    return _of_type(schema, text, root, depth)


def _of_type(schema: Schema, text: str, root: Schema, depth: int) -> Any:  # noqa: ANN401 - any JSON
    match _type(schema):
        case "object":
            properties = schema.get("properties") or {}
            names = schema.get("required") or ()
            return {name: _value(properties.get(name, {}), text, root, depth + 1) for name in names}
        case "array":
            item = schema.get("items", {})
            return [_value(item, text, root, depth + 1) for _ in range(min(schema.get("minItems", 0), MOST_ITEMS))]
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _text(schema, text)


def _type(schema: Schema) -> object:
    named = schema.get("type")
    if isinstance(named, list):
        named = next((name for name in named if name != "null"), "null")
    return named or ("object" if "properties" in schema else "string")


def _number(schema: Schema) -> int | float:
    low: int | float = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    high: int | float = schema.get("maximum", low)
    return min(low, high)


def _text(schema: Schema, text: str) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    return text[: schema.get("maxLength", len(text))].ljust(min(schema.get("minLength", 0), 1000), ".")


def _resolved(reference: object, root: Schema) -> object:
    """Within the document only; what is not there is an empty schema."""
    found: object = root
    for name in str(reference).removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
