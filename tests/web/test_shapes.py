"""Types of msgspec for schemas: whatever they read fits the schema, and the usual things they do read."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.web.plain import cost_of
from proxy.web.shapes import shape_of

TOOL = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "a b": {"type": "string", "description": "Text", "minLength": 1},
        "count": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": ["string", "null"]}},
        "where": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x", "y"]},
        "any": {},
        "words": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["a b"],
    "additionalProperties": False,
}


def reads(schema: dict[str, Any], raw: bytes | str) -> bool:
    shape = shape_of(schema)
    assert shape is not None
    try:
        shape.decode(raw)
    except msgspec.DecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "value",
    [
        {"a b": "x"},
        {"a b": "x", "count": 10, "mode": "fast", "maybe": None, "tags": ["a", None], "any": [1, {}]},
        {"a b": "x", "where": {"x": 1, "y": "z", "more": 1}, "words": {"a": "b"}},
    ],
)
def test_what_usually_comes_is_read(value: Any) -> None:
    assert reads(TOOL, json.dumps(value))


@pytest.mark.parametrize(
    "raw",
    [
        "{}",
        '{"a b": ""}',
        '{"a b": 1}',
        '{"a b": "x", "more": 1}',
        '{"a b": "x", "count": 0}',
        '{"a b": "x", "count": null}',
        '{"a b": "x", "mode": "other"}',
        '{"a b": "x", "maybe": 1}',
        '{"a b": "x", "tags": [1]}',
        '{"a b": "x", "where": {"x": 1}}',
        '{"a b": "x", "where": {"x": "1", "y": 1}}',
        '{"a b": "x", "words": {"a": 1}}',
        '{"a b": "x", "co\\u0075nt": "x"}',
        "[]",
        "null",
    ],
)
def test_what_does_not_fit_is_not_read(raw: str) -> None:
    assert not Draft202012Validator(TOOL).is_valid(json.loads(raw))
    assert not reads(TOOL, raw)


def test_a_name_may_be_written_in_any_way() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert not reads(schema, '{"\\u0061": "x"}')
    assert not reads(schema, '{"a": "x", "a": 1}')


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {}}},
        {"type": "object", "minProperties": 1},
        {"type": "object", "properties": {"a": {"not": {}}}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"type": "array", "minItems": 1},
        {"type": "number", "multipleOf": 2},
        {"type": "number", "maximum": 10**400},
        {"type": "string", "const": "a"},
        {"enum": [1]},
        {"type": "string", "enum": [1]},
        {"anyOf": [{"type": "object"}, {"type": "object", "properties": {"a": {}}}]},
        {"properties": {"a": False}},
    ],
    ids=str,
)
def test_what_a_type_can_not_say_has_none(schema: dict[str, Any]) -> None:
    assert shape_of(schema) is None


_NAMES = st.sampled_from(["a", "b", "c d"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | st.sampled_from(["", "a", "bb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
_TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"])
_LEAVES: Any = (
    st.just({})
    | st.booleans()
    | st.fixed_dictionaries({"type": _TYPES}, optional={"description": st.just("x")})
    | st.fixed_dictionaries({"type": st.lists(_TYPES, min_size=1, max_size=3, unique=True)})
    | st.fixed_dictionaries({"type": st.just("string"), "minLength": st.just(1)}, optional={"maxLength": st.just(1)})
    | st.fixed_dictionaries({"type": st.sampled_from(["integer", "number"]), "minimum": st.integers(-1, 1)})
    | st.just({"type": "string", "enum": ["a", ""]})
)
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(_NAMES, inner, max_size=3)},
            optional={
                "required": st.lists(_NAMES, unique=True, max_size=2),
                "additionalProperties": st.booleans() | inner,
            },
        )
    ),
    max_leaves=6,
)


@given(_SCHEMAS.filter(lambda schema: isinstance(schema, dict)), st.lists(_VALUES, max_size=5))
def test_whatever_is_read_fits(schema: dict[str, Any], values: list[Any]) -> None:
    assert cost_of(schema) is not None
    shape = shape_of(schema)
    judge = Draft202012Validator(schema)
    for value in values if shape is not None else []:
        if reads(schema, json.dumps(value)):
            assert judge.is_valid(value)
