"""The keywords of JSON Schema, and what their values have to be, as the meta-schema of revision 2020-12 has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

Form = Callable[[Any], bool]
"""Whether a value of a keyword is what it has to be; schemas in it are not looked into."""

TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def is_schema(value: Any) -> bool:
    """Whether it could be a schema: an object, or one of `true` and `false`."""
    return isinstance(value, dict | bool)


def _is_list_of_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_schema, value))


def _is_named_schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_schema, value.values()))


def _is_type(value: Any) -> bool:
    if isinstance(value, str):
        return value in TYPES
    return _is_names(value) and bool(value) and TYPES.issuperset(value)


def _is_names(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return False
    return len(set(value)) == len(value)


def _is_dependencies(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_names, value.values()))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Python's infinities are numbers of JSON that it has no room for, and can't be written as such again."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value not in (math.inf, -math.inf)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == value // 1


def _anything(value: Any) -> bool:
    return True


ONE: Final = frozenset(
    {
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords whose value is a schema."""

SEVERAL: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords whose value is a list of schemas."""

NAMED: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
"""Keywords whose value has schemas by name."""

DEFINED: Final = frozenset({"$defs", "definitions"})
"""Of these the ones that say nothing unless something refers to them."""

FORMS: Final[Mapping[str, Form]] = {
    **dict.fromkeys(ONE, is_schema),
    **dict.fromkeys(SEVERAL, _is_list_of_schemas),
    **dict.fromkeys(NAMED, _is_named_schemas),
    **dict.fromkeys(("$comment", "$ref", "$schema", "contentEncoding", "contentMediaType", "description"), _is_text),
    **dict.fromkeys(("format", "pattern", "title"), _is_text),
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), _is_flag),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _is_number),
    **dict.fromkeys(("maxContains", "maxItems", "maxLength", "maxProperties"), _is_count),
    **dict.fromkeys(("minContains", "minItems", "minLength", "minProperties"), _is_count),
    **dict.fromkeys(("enum", "examples"), _is_list),
    **dict.fromkeys(("const", "default"), _anything),
    "dependentRequired": _is_dependencies,
    "multipleOf": _is_positive,
    "required": _is_names,
    "type": _is_type,
}
"""Keyword -> form, for those that mean the same in every schema; identifiers and anchors are not among them."""
