"""Which schemas are compared with at once, and what that may cost at most."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from proxy.web.plain import DEAREST, cost_of, parts_of
from proxy.web.schemas import mismatches

TOOL = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "Where", "minLength": 1, "format": "uri"},
        "edits": {"type": "array", "items": {"$ref": "#/$defs/edit"}},
        "mode": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}], "default": None},
    },
    "required": ["path"],
    "additionalProperties": False,
    "$defs": {"edit": {"type": "object", "properties": {"old": {"type": "string"}}}},
    "x-unknown": [1],
}


def test_a_common_schema_is_plain_and_cheap() -> None:
    cost = cost_of(TOOL)
    assert cost is not None
    assert cost < 50


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a+)+$": True}},
        {"properties": {"a": {"type": "array", "uniqueItems": True}}},
        {"contains": {}},
        {"unevaluatedProperties": False},
        {"items": {"$ref": "#"}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#/required/0", "required": ["a"]},
        {"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor"}}},
        {"$ref": "#/$defs/a/items", "$defs": {"a": {"$id": "urn:a", "items": {"$ref": "#/items"}}}, "items": {}},
        {"$id": "https://example.com/a"},
        {"$dynamicRef": "#meta"},
        {"type": "strnig"},
        {"type": []},
        {"properties": {"a": 1}},
        {"required": "a"},
        {"items": [{}]},
        {"minimum": "1"},
        {"exclusiveMinimum": True},
        {"dependencies": {"a": ["b"]}},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"$schema": "https://example.com/own"},
        {"$schema": 1},
        {"properties": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}},
        {"enum": list(range(DEAREST))},
    ],
    ids=str,
)
def test_what_is_costly_malformed_or_not_known_well_is_not_plain(schema: dict[str, Any]) -> None:
    assert cost_of(schema) is None


def test_what_is_referred_to_counts_each_time() -> None:
    def doubling(times: int) -> dict[str, Any]:
        named: dict[str, Any] = {f"{n}": {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(times)}
        return {"$ref": "#/$defs/0", "$defs": {**named, f"{times}": {}}}

    cost = cost_of(doubling(6))
    assert cost is not None
    assert cost > 2**6
    assert cost_of(doubling(12)) is None


def test_a_deep_schema_is_not_plain() -> None:
    deep: dict[str, Any] = {}
    for _ in range(1000):
        deep = {"not": deep}
    assert cost_of(deep) is None
    chain: dict[str, Any] = {f"{n}": {"$ref": f"#/$defs/{n + 1}"} for n in range(1000)}
    assert cost_of({"$ref": "#/$defs/0", "$defs": {**chain, "1000": {}}}) is None


def test_parts_are_counted_up_to_what_matters() -> None:
    assert parts_of("x", 10) == 1
    assert parts_of({"a": [1, {"b": None}], "c": {}}, 10) == 6
    assert parts_of([[0] * 1000] * 1000, 10) > 10


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=8,
)
_SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(["object", "array", "string"]), "minimum": st.just(0)}
    )
    | st.builds(lambda values: {"enum": values}, st.lists(_VALUES, max_size=3)),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "required": st.just(["a"]),
            "additionalProperties": inner,
        },
    ),
    max_leaves=8,
)


@given(_SCHEMAS.filter(lambda schema: isinstance(schema, dict)))
def test_a_plain_schema_is_a_valid_one(schema: dict[str, Any]) -> None:
    if cost_of(schema) is not None:
        Draft202012Validator.check_schema(schema)


@given(_SCHEMAS.filter(lambda schema: isinstance(schema, dict)), _VALUES)
def test_no_more_steps_are_taken_than_were_counted(schema: dict[str, Any], value: Any) -> None:
    cost = cost_of(schema)
    assert cost is not None
    steps = 0

    def counted(check: Any) -> Any:
        def step(*args: Any) -> Any:
            nonlocal steps
            steps += 1
            return check(*args)

        return step

    plain = Draft202012Validator
    judge = extend(plain, {name: counted(check) for name, check in plain.VALIDATORS.items()})
    mismatches(judge(schema), value)
    assert steps <= cost * parts_of(value, 10_000)
