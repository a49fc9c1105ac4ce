"""Schemas of tools as parts of a document: valid in 2020-12, with the same meaning, and closed in themselves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY

from proxy.web.dialect import adapted

AT = "#/components/schemas/tool.arguments"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def document(schema: Any) -> Any:
    """A document with the schema in its place."""
    whole = {"components": {"schemas": {"tool.arguments": adapted(schema, AT)}}}
    json.dumps(whole)
    Draft202012Validator.check_schema(whole["components"]["schemas"]["tool.arguments"])
    return whole


def accepts(schema: Any, value: Any) -> bool:
    """Whether a value fits, once the schema is in the document."""
    return bool(Draft202012Validator({**document(schema), "$ref": AT}, registry=REGISTRY).is_valid(value))


@pytest.mark.parametrize(
    ("schema", "fits", "fails"),
    [
        ({"type": "object", "required": ["a"]}, {"a": 1}, {}),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, 1, "a"),
        ({"$ref": "#/definitions/n", "definitions": {"n": {"type": "integer"}}}, 1, "a"),
        ({"items": {"$ref": "#/$defs/a~1b%20c"}, "$defs": {"a/b c": {"type": "integer"}}}, [1], ["a"]),
        ({"properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}}}, {"b": 1}, {"b": "a"}),
        ({"properties": {"next": {"$ref": "#"}}, "required": ["v"]}, {"v": 1, "next": {"v": 1}}, {"v": 1, "next": {}}),
        ({"$ref": "#n", "$defs": {"x": {"$anchor": "n", "type": "integer"}}}, 1, "a"),
        (
            {"$dynamicRef": "#n", "$defs": {"x": {"$dynamicAnchor": "n", "type": "integer"}}},
            1,
            "a",
        ),
        (
            {
                "$id": "https://example.com/root.json",
                "properties": {"a": {"$ref": "n.json"}, "b": {"$ref": "root.json#/properties/c"}, "c": {"minimum": 5}},
                "$defs": {"x": {"$id": "n.json", "$ref": "#/$defs/y", "$defs": {"y": {"type": "integer"}}}},
            },
            {"a": 1, "b": 5},
            {"a": "a"},
        ),
        (
            {
                "$ref": "#/$defs/a/items",
                "$defs": {"a": {"$id": "urn:a", "items": {"$ref": "#/n"}, "n": {"type": "integer"}}},
                "n": {"type": "string"},
            },
            1,
            "a",
        ),
        ({"$ref": "#/x-types/n", "x-types": {"n": {"$ref": "#/x-types/m"}, "m": {"type": "integer"}}}, 1, "a"),
        ({"$schema": DRAFT_7, "items": [{"type": "integer"}], "additionalItems": False}, [1], [1, 2]),
        ({"$schema": DRAFT_7, "items": [{"$ref": "#/items/1"}, {"type": "integer"}]}, [1, 2], ["a"]),
        ({"$schema": DRAFT_7, "$ref": "#/definitions/a", "minimum": 5, "definitions": {"a": {"maximum": 9}}}, 1, 10),
        ({"$schema": DRAFT_7, "dependencies": {"a": ["b"], "c": {"required": ["d"]}}}, {"a": 1, "b": 1}, {"c": 1}),
        ({"$schema": DRAFT_4, "minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"$schema": DRAFT_4, "maximum": 1, "exclusiveMaximum": False}, 1, 2),
        ({"$schema": DRAFT_4, "id": "https://a.example/", "$ref": "#/x", "x": {"type": "integer"}}, 1, "a"),
        ({"$schema": DRAFT_7, "$ref": "#n", "definitions": {"x": {"$id": "#n", "type": "integer"}}}, 1, "a"),
        ({"const": {"$ref": "#/nowhere"}}, {"$ref": "#/nowhere"}, {}),
        ({"enum": [{"$id": "a"}]}, {"$id": "a"}, {}),
        ({"properties": {"$ref": {"type": "integer"}}}, {"$ref": 1}, {"$ref": "a"}),
        (False, None, None),
    ],
    ids=str,
)
def test_a_schema_means_the_same_in_the_document(schema: Any, fits: Any, fails: Any) -> None:
    assert accepts(schema, fits) is (schema is not False)
    assert not accepts(schema, fails)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/a.json"},
        {"$ref": "//example.com/a.json"},
        {"$ref": "http://[bad"},
        {"$id": "http://[bad", "$ref": "a"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#missing"},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/required/0", "required": []},
        {"$ref": 1},
        {"$dynamicRef": "#none"},
    ],
    ids=str,
)
def test_a_reference_that_leads_nowhere_here_allows_anything(schema: dict[str, Any]) -> None:
    assert "example.com" not in json.dumps(document(schema))
    values: list[Any] = [None, 1, "a", {}]
    for value in values:
        assert accepts(schema, value)


def test_what_no_draft_allows_is_left_out() -> None:
    schema = {
        "type": "strnig",
        "properties": {"a": {"type": "any", "minimum": "1", "required": True}},
        "required": "a",
        "minLength": -1,
        "anyOf": [],
        "title": 7,
        "discriminator": "a",
        "xml": 1,
        "x-own": {"$ref": "https://example.com"},
        "nullable": True,
    }
    assert adapted(schema, AT) == {"properties": {"a": {}}, "nullable": True}
    assert adapted("nonsense", AT) == {}


def test_a_discriminator_keeps_its_property_and_loses_its_references() -> None:
    schema = {"oneOf": [True], "discriminator": {"propertyName": "kind", "mapping": {"a": "#/$defs/a"}}}
    assert adapted(schema, AT) == {"oneOf": [True], "discriminator": {"propertyName": "kind"}}


def test_definitions_of_one_name_stay_apart() -> None:
    schema = {
        "allOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/definitions/n"}],
        "$defs": {"n": {"minimum": 1}},
        "definitions": {"n": {"maximum": 9}},
    }
    assert accepts(schema, 5)
    assert not accepts(schema, 0)
    assert not accepts(schema, 10)


_NAMES = st.sampled_from(["a", "b"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=6,
)
_REFERENCES = st.sampled_from(["#/$defs/a", "#/$defs/b", "#/definitions/a", "#/properties/a", "#", "#/nowhere"])
_SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({}, optional={"type": st.sampled_from(["object", "array", "null"]), "minimum": st.just(1)})
    | st.builds(lambda reference: {"$ref": reference}, _REFERENCES),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(_NAMES, inner, max_size=2),
            "items": inner | st.lists(inner, min_size=1, max_size=2),
            "additionalItems": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "required": st.just(["a"]),
            "dependencies": st.dictionaries(_NAMES, inner | st.just(["b"]), max_size=1),
            "$defs": st.dictionaries(_NAMES, inner, max_size=2),
            "definitions": st.dictionaries(_NAMES, inner, max_size=1),
        },
    ),
    max_leaves=8,
)


@given(_SCHEMAS.filter(lambda schema: isinstance(schema, dict)), _VALUES)
def test_any_schema_of_draft_7_means_the_same_in_the_document(schema: dict[str, Any], value: Any) -> None:
    old = {"$schema": DRAFT_7, **schema}
    try:
        expected = validator_for(old)(old, registry=REGISTRY).is_valid(value)
    except Exception:  # a reference that leads nowhere, or in a circle
        document(old)
        return
    try:
        assert accepts(old, value) == expected
    except RecursionError:
        return
