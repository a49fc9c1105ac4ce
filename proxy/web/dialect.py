"""A tool's own schema as a part of an OpenAPI 3.1 document: the same rules, in the words of revision 2020-12.

What is referred to goes under `$defs` of its own, wherever it was, so that references resolve within the document.
One that leads out of the schema allows anything: nobody who reads the document shall fetch what a server names. What
older drafts say otherwise is said anew. What no draft allows, and what nobody knows, is left out, so that one odd tool
does not make the document invalid for all.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urljoin

from .keywords import DEFINED, FORMS, NAMED, ONE, SEVERAL, is_schema

Schema = dict[str, Any] | bool

_ALONE: Final = ("draft-03", "draft-04", "draft-05", "draft-06", "draft-07")
"""Drafts in which what stands beside a `$ref` says nothing, and in which an `id` may have no `$`."""

_BESIDE: Final = frozenset({"$comment", "default", "description", "examples", "title"})
_DATA: Final = frozenset({"const", "default", "enum", "examples"})
_REFERENCES: Final = frozenset({"$dynamicRef", "$recursiveRef", "$ref"})
_SERVED: Final = DEFINED | _REFERENCES | {"$anchor", "$dynamicAnchor", "$id", "$recursiveAnchor", "$schema", "id"}
"""Keywords that have done their service once references are resolved."""

_NOWHERE: Final = "urn:schema"
_OTHER: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_HOPS: Final = 64


def adapted(schema: Any, at: str) -> Schema:
    """The schema for this place in a document, a JSON pointer such as `#/components/schemas/x`."""
    if not isinstance(schema, dict):
        return schema if isinstance(schema, bool) else {}
    return _Adapter(schema, at).whole()


class _Found(NamedTuple):
    """A schema within the one that is adapted; relative references in it are relative to `base`."""

    schema: Any
    base: str


class _Adapter:
    def __init__(self, root: dict[str, Any], at: str) -> None:
        dialect = root.get("$schema")
        self._is_old = isinstance(dialect, str) and any(draft in dialect for draft in _ALONE)
        self._at = at
        self._root = _Found(root, _NOWHERE)
        self._named: dict[str, _Found] = {_NOWHERE: self._root}
        """What goes by a URI of its own, by that."""
        self._names: dict[str, str] = {}
        """Names under `$defs` of what is referred to, by URI."""
        self._taken: dict[str, int] = {}
        """Those names, and how many there are of each stem."""
        self._waiting: deque[tuple[str, _Found]] = deque()
        self._find(root, _NOWHERE)

    def whole(self) -> Schema:
        told = self._told(*self._root)
        defined: dict[str, Any] = {}
        while self._waiting:
            name, found = self._waiting.popleft()
            defined[name] = self._schema(*found)
        return {**told, "$defs": defined} if defined else told

    def _find(self, value: Any, base: str) -> None:
        """Note what goes by a URI of its own."""
        if isinstance(value, dict):
            base = self._base(value, base)
            self._named.setdefault(base, _Found(value, base))
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(value.get(key), str):
                    self._named.setdefault(f"{base}#{value[key]}", _Found(value, base))
            own = value.get("$id")
            if isinstance(own, str) and own.startswith("#"):
                self._named.setdefault(base + own, _Found(value, base))
            for key, one in value.items():
                if key not in _DATA:
                    self._find(one, base)
        elif isinstance(value, list):
            for one in value:
                self._find(one, base)

    def _base(self, schema: dict[str, Any], base: str) -> str:
        """What references within the schema are relative to."""
        own = schema.get("id" if self._is_old and "$id" not in schema else "$id")
        if not isinstance(own, str) or own.startswith("#"):
            return base
        try:
            return urljoin(base, own).partition("#")[0]
        except ValueError:
            return base

    def _schema(self, schema: Any, base: str) -> Schema:
        return self._told(schema, base) if isinstance(schema, dict) else schema

    def _told(self, schema: dict[str, Any], base: str) -> dict[str, Any]:
        base = self._base(schema, base)
        told: dict[str, Any] = {}
        for key in sorted(_REFERENCES & schema.keys()):
            place = self._place(schema[key], base)
            if place is not None:
                told["$ref"] = place
        is_alone = self._is_old and "$ref" in schema
        for key, value in _in_new_words(schema).items():
            if key not in _SERVED and not (is_alone and key not in _BESIDE) and _is_sound(key, value):
                told[key] = self._value(key, value, base)
        return told

    def _value(self, key: str, value: Any, base: str) -> Any:
        if key in ONE:
            return self._schema(value, base)
        if key in SEVERAL:
            return [self._schema(one, base) for one in value]
        if key in NAMED:
            return {name: self._schema(one, base) for name, one in value.items()}
        if key == "discriminator":
            return {"propertyName": value["propertyName"]}
        return value

    def _place(self, reference: Any, base: str) -> str | None:
        """Where in the document a reference leads; None where it leads out of the schema, or in a circle."""
        uri = _absolute(reference, base)
        found = self._resolve(uri)
        if found is None or self._is_endless(found):
            return None
        if found.schema is self._root.schema:
            return self._at
        name = self._names.get(uri)
        if name is None:
            name = self._names[uri] = self._new_name(uri)
            self._waiting.append((name, found))
        return f"{self._at}/$defs/{name}"

    def _new_name(self, uri: str) -> str:
        stem = name = _OTHER.sub("_", unquote(uri.rpartition("/")[2].rpartition("#")[2])).strip("_") or "schema"
        while name in self._taken:
            self._taken[stem] += 1
            name = f"{stem}_{self._taken[stem]}"
        self._taken[name] = 1
        return name

    def _resolve(self, uri: str) -> _Found | None:
        document, _, fragment = uri.partition("#")
        if fragment and not fragment.startswith("/"):
            return self._named.get(uri)
        start = self._named.get(document)
        if start is None:
            return None
        found, base = start
        for part in fragment.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
                found = found[int(name[:9])]
            else:
                return None
            base = self._base(found, base) if isinstance(found, dict) else base
        return _Found(found, base) if is_schema(found) else None

    def _is_endless(self, found: _Found | None) -> bool:
        """Whether nothing but references follows."""
        for _ in range(_MOST_HOPS):
            if found is None or not isinstance(found.schema, dict) or not isinstance(found.schema.get("$ref"), str):
                return False
            found = self._resolve(_absolute(found.schema["$ref"], self._base(found.schema, found.base)))
        return True


def _absolute(reference: Any, base: str) -> str:
    if not isinstance(reference, str):
        return ""
    if reference.startswith("#"):  # urljoin knows how to join only what it knows the scheme of
        return base + reference if reference != "#" else base
    try:
        return urljoin(base, reference).removesuffix("#")
    except ValueError:
        return ""


def _is_sound(key: str, value: Any) -> bool:
    form = FORMS.get(key)
    if form is not None:
        return form(value)
    if key == "discriminator":
        return isinstance(value, dict) and isinstance(value.get("propertyName"), str)
    return not isinstance(value, dict | list) and key not in ("externalDocs", "xml")


def _in_new_words(schema: dict[str, Any]) -> dict[str, Any]:
    """The keywords of one schema, with those of older drafts as 2020-12 has them."""
    told = {key: value for key, value in schema.items() if key not in ("additionalItems", "dependencies")}
    if isinstance(schema.get("items"), list):
        told["prefixItems"] = told.pop("items")
        if "additionalItems" in schema:
            told["items"] = schema["additionalItems"]
    if isinstance(schema.get("dependencies"), dict):
        needed = schema["dependencies"]
        told.setdefault("dependentRequired", {name: one for name, one in needed.items() if isinstance(one, list)})
        told.setdefault("dependentSchemas", {name: one for name, one in needed.items() if is_schema(one)})
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool):
            del told[exclusive]
            if schema[exclusive] and bound in told:
                told[exclusive] = told.pop(bound)
    return told
