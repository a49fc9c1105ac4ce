"""A plain schema as a type of msgspec: what can be read as that surely fits, and is known to in a microsecond or two.

Only half of the truth: what can't be read so may fit all the same, `1.0` as an integer say, and is left to the schema.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from .keywords import DEFINED, FORMS

Shape = msgspec.json.Decoder[Any]

_REMARKS: Final = DEFINED | {
    "$comment",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
}
_SIMPLE: Final[Mapping[str, Any]] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_LENGTHS: Final = {"minLength": "min_length", "maxLength": "max_length"}
_SIZES: Final = {"minimum": "ge", "maximum": "le"}
_RULES: Final[Mapping[str, Mapping[str, str]]] = {"string": _LENGTHS, "integer": _SIZES, "number": _SIZES}
"""For each type the keywords that there may be beside it, as msgspec calls them."""

_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items"}),
    "string": frozenset({"enum"}),
}
_MOST: Final = 2**53


class _NoType(Exception):
    """It says more than a type can."""


def shape_of(schema: Mapping[str, Any]) -> Shape | None:
    """A decoder that raises DecodeError for whatever may not fit; None where there is none. The schema is plain."""
    try:
        return msgspec.json.Decoder(_type(schema))
    except (
        _NoType,
        TypeError,
        ValueError,
        OverflowError,
    ):  # the last three are msgspec's, of types that it can't tell apart
        return None


def _type(schema: Any) -> Any:
    if isinstance(schema, bool):
        if not schema:
            raise _NoType
        return Raw
    rules = {key: value for key, value in schema.items() if key in FORMS and key not in _REMARKS}
    if not rules:
        return Raw
    if rules.keys() == {"anyOf"}:
        return _union([_type(one) for one in rules["anyOf"]])
    kinds = rules.pop("type", None)
    if isinstance(kinds, list):
        if rules:
            raise _NoType
        return _union([_type({"type": kind}) for kind in kinds])
    return _one(kinds, rules)


def _one(kind: str | None, rules: dict[str, Any]) -> Any:
    """The type of one kind of values, with these rules."""
    if kind is None or not rules.keys() <= _ALLOWED.get(kind, frozenset()) | _RULES.get(kind, {}).keys():
        raise _NoType
    if kind == "object":
        return _object(rules)
    if kind == "array":
        return list[_type(rules.get("items", True))]  # type: ignore[misc]
    if "enum" in rules:
        words = rules.pop("enum")
        if rules or not words or not all(isinstance(word, str) for word in words):
            raise _NoType
        return Literal[tuple(words)]
    if not rules:
        return _SIMPLE[kind]
    if any(not isinstance(value, int) or abs(value) > _MOST for value in rules.values()):
        raise _NoType
    return Annotated[_SIMPLE[kind], Meta(**{_RULES[kind][key]: value for key, value in rules.items()})]


def _object(rules: dict[str, Any]) -> Any:
    known, others = rules.get("properties", {}), rules.get("additionalProperties", True)
    required = rules.get("required", [])
    if not known and not required and others is not False:
        return dict[str, _type(others)]  # type: ignore[misc]
    if not isinstance(others, bool):
        raise _NoType
    fields: list[Any] = []
    names: dict[str, str] = {}
    for index, name in enumerate(dict.fromkeys([*known, *required])):
        if name not in known and others is False:
            raise _NoType  # nothing fits
        kind = _type(known.get(name, True))
        field = f"f{index}"
        names[field] = name
        # Those that have to be there come first.
        fields.append((field, kind) if name in required else (field, kind | UnsetType, UNSET))
    fields.sort(key=len)
    return msgspec.defstruct("Shape", fields, rename=names, forbid_unknown_fields=not others, gc=False)


def _union(kinds: list[Any]) -> Any:
    return reduce(operator.or_, kinds)
