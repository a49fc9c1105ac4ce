"""Whether a schema is so plain that values can be compared with it at once: well-formed, and of a known, small cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from .keywords import DEFINED, FORMS, NAMED, ONE, SEVERAL

DEAREST: Final = 2000
"""The highest cost that is still counted."""

_DEEPEST: Final = 64

_COSTLY: Final = frozenset(
    {
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$recursiveAnchor",
        "$recursiveRef",
        "$vocabulary",
        "additionalItems",
        "contains",
        "dependencies",
        "divisibleBy",
        "disallow",
        "extends",
        "id",
        "maxContains",
        "minContains",
        "pattern",
        "patternProperties",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""Keywords that cost more than their number tells (an expression may take for ever, and what is unevaluated is found
by evaluating again), that make references mean something else, or that older drafts have and know better."""

_DRAFTS: Final = frozenset(
    {
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    }
)
"""Drafts in which the other keywords mean the same."""


def cost_of(schema: Mapping[str, Any]) -> int | None:
    """How many keywords one value may meet at most; None where the schema is not plain.

    References are followed: what is referred to from two places counts twice. To compare a value of N parts takes at
    most this times N steps, since a keyword meets each part once.
    """
    dialect = schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    if not isinstance(dialect, str) or dialect.rstrip("#") not in _DRAFTS:
        return None
    try:
        return _Costs(schema).of({key: value for key, value in schema.items() if key != "$schema"}, _DEEPEST)
    except _NotPlain:
        return None


def parts_of(value: Any, most: int) -> int:
    """How many values there are in a value of JSON, itself included; anything above `most` where there are more."""
    count = 0
    waiting = [value]
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return count + len(waiting)


class _NotPlain(Exception):
    """Something in it is malformed, costly, or not known well enough."""


class _Costs:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._of: dict[str, int | None] = {}
        """Cost by reference; None while it is being counted."""

    def of(self, schema: Any, levels: int) -> int:
        if isinstance(schema, bool):
            return 1
        if not _COSTLY.isdisjoint(schema) or "$schema" in schema or not levels:
            raise _NotPlain
        cost = 1
        for key, value in schema.items():
            form = FORMS.get(key)
            if form is not None and not form(value):
                raise _NotPlain
            cost += 1
            if key == "$ref":
                cost += self._referred(value, levels - 1)
            elif key == "enum":
                cost += parts_of(value, DEAREST)
            elif key not in DEFINED:
                cost += sum(self.of(one, levels - 1) for one in schemas_in(key, value))
            if cost > DEAREST:
                raise _NotPlain
        return cost

    def _referred(self, reference: str, levels: int) -> int:
        if reference not in self._of:
            self._of[reference] = None
            self._of[reference] = self.of(_found(self._root, reference), levels)
        cost = self._of[reference]
        if cost is None:
            raise _NotPlain  # it refers to itself
        return cost


def schemas_in(key: str, value: Any) -> Iterator[Any]:
    """The schemas that a well-formed value of a keyword consists of."""
    if key in ONE:
        yield value
    elif key in SEVERAL:
        yield from value
    elif key in NAMED:
        yield from value.values()


def _found(root: Mapping[str, Any], reference: str) -> Any:
    """What a pointer within the schema leads to."""
    if not reference.startswith("#/"):
        raise _NotPlain
    found: Any = root
    for part in unquote(reference[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found or _names_itself(found):
            raise _NotPlain
        found = found[name]
    if not isinstance(found, dict | bool):
        raise _NotPlain
    return found


def _names_itself(schema: Mapping[str, Any]) -> bool:
    """Whether references within it are relative to itself."""
    return isinstance(schema.get("$id"), str) or isinstance(schema.get("id"), str)
