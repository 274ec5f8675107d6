"""What is a JSON Schema, and what only looks like one."""

import json

import msgspec
import pytest

from librarian.domain.errors import InvalidRequest
from librarian.entrypoints.http.openai.wire.json_schema import schema_of

SCHEMAS = [
    {},
    {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": True}, "required": ["a"]},
    {"type": "array", "items": {"enum": [1, None, "x"]}, "minItems": 0, "maxItems": 2.0, "uniqueItems": True},
    {"type": "array", "items": [{"type": "string"}, False]},
    {"anyOf": [{"$ref": "#/$defs/a"}, {"const": None}], "$defs": {"a": {"type": "string", "pattern": "^a"}}},
    {"type": "object", "additionalProperties": False, "x-order": [1]},
    {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "exclusiveMaximum": 9, "multipleOf": 1.5},
    {"properties": {"type": {"type": "string"}, "required": {"type": "boolean"}, "items": {}}},
]
NO_SCHEMAS = [
    {"type": "dict"},
    {"type": []},
    {"type": None},
    {"type": "object", "properties": []},
    {"properties": {"a": "string"}},
    {"properties": {"a": {"type": "text"}}},
    {"required": True},
    {"required": [1]},
    {"enum": "a"},
    {"anyOf": []},
    {"anyOf": [{"type": "object"}, 5]},
    {"items": "string"},
    {"items": [{"type": "x"}]},
    {"additionalProperties": "no"},
    {"$defs": {"a": {"minLength": -1}}},
    {"maxItems": 1.5},
    {"minimum": "0"},
    {"minimum": True},
    {"pattern": 5},
    {"description": 5},
]


def read(schema):
    return schema_of(msgspec.Raw(json.dumps(schema).encode()), "tools.[0].parameters")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_is_kept_as_it_came(schema):
    assert json.dumps(schema).encode() == read(schema)


@pytest.mark.parametrize("schema", [*NO_SCHEMAS, [], "object", True, 5])
def test_what_is_none_is_refused(schema):
    with pytest.raises(InvalidRequest, match=r"'tools\[0\]\.parameters'") as refusal:
        read(schema)

    assert "tools.[0].parameters" == refusal.value.param


def test_none_is_none():
    assert read(None) is None
    assert schema_of(msgspec.UNSET, "x") is None
