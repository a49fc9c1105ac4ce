"""What the schema of revision 2025-11-25 wants an entry's members to be, as far as clients' models insist on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Raw

from .. import wire
from ..errors import WireError

Check = Callable[[Raw], bool]

_OBJECT: Final = b'"object"'
_NOT_NULL: Final = ("properties", "required")
_NO_ARGUMENTS: Final = Raw(b'{"type":"object"}')
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_BOOLEANS: Final = (b"true", b"false")
_TASK_SUPPORT: Final = (b'"forbidden"', b'"optional"', b'"required"')
_ROLES: Final = ("user", "assistant")
_THEMES: Final = ("light", "dark")
_WHOLE: Final = re.compile(rb"-?[0-9]{1,18}(?:\.0+)?")
_CLOCK: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_MOMENT: Final = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-]{_CLOCK})")


def members_of(raw: Raw) -> dict[str, Raw] | None:
    """The members of an object, or None where it is none."""
    try:
        return wire.open_object(raw)
    except WireError:
        return None


def _items_of(raw: Raw) -> list[Raw] | None:
    try:
        return wire.open_array(raw)
    except WireError:
        return None


def with_type(schema: Raw) -> Raw:
    """A schema with the `type` that is required, and without nulls: some servers write them where nothing is to say."""
    members = members_of(schema)
    if not members:
        return _NO_ARGUMENTS
    present = {key: value for key, value in members.items() if key not in _NOT_NULL or wire.given(value)}
    if "type" in members and len(present) == len(members):
        return schema
    return Raw(wire.close_object({"type": Raw(_OBJECT), **present}))


def schema_problem(raw: Raw) -> str:
    """What is wrong with an `inputSchema`, as a reason; "" if nothing is."""
    schema = members_of(raw)
    if schema is None:
        return "its inputSchema is no object"
    if bytes(schema.get("type", _OBJECT)) != _OBJECT:
        return 'the type of its inputSchema is not "object"'
    if wire.given(schema.get("properties")) and not _is_object_of_objects(schema["properties"]):
        return "the properties of its inputSchema are no objects"
    if wire.given(schema.get("required")) and not _is_array(schema["required"], _is_string):
        return "`required` of its inputSchema is no list of names"
    return ""


def _is_schema(raw: Raw) -> bool:
    return "type" in (members_of(raw) or {}) and not schema_problem(raw)


def _is_object_of_objects(raw: Raw) -> bool:
    members = members_of(raw)
    return members is not None and all(_is_object(value) for value in members.values())


def _is_array(raw: Raw, is_item: Check) -> bool:
    items = _items_of(raw)
    return items is not None and all(is_item(item) for item in items)


def _is_string(raw: Raw) -> bool:
    return bytes(raw)[:1] == b'"'


def _is_object(raw: Raw) -> bool:
    return bytes(raw)[:1] == b"{"


def _is_boolean(raw: Raw) -> bool:
    return bytes(raw) in _BOOLEANS


def _is_whole(raw: Raw) -> bool:
    """A number of bytes: the schema says "number" and some models "integer", so that `1.5` costs their clients all."""
    return _WHOLE.fullmatch(bytes(raw)) is not None


def _is_fraction(raw: Raw) -> bool:
    """A number from 0 to 1."""
    return bytes(raw)[:1] in b"-0123456789" and 0 <= float(bytes(raw)) <= 1


def _is_moment(raw: Raw) -> bool:
    """A date and time with its offset: the schema says "should", and some clients refuse the list otherwise."""
    text = wire.text(raw) or ""
    if not _MOMENT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_one_of(words: tuple[str, ...]) -> Check:
    return lambda raw: wire.text(raw) in words


def _fits(raw: Raw, optional: Mapping[str, Check], required: str | None = None) -> bool:
    """Whether it is an object whose members are what they should be; `required` is a string that has to be there."""
    members = members_of(raw)
    if members is None or (required is not None and not _is_string(members.get(required, Raw(b"")))):
        return False
    return all(is_sound(members[key]) for key, is_sound in optional.items() if key in members)


def _is_tool_annotations(raw: Raw) -> bool:
    return _fits(raw, {"title": _is_string, **dict.fromkeys(_HINTS, _is_boolean)})


def _is_annotations(raw: Raw) -> bool:
    return _fits(
        raw,
        {
            "audience": lambda audience: _is_array(audience, _is_one_of(_ROLES)),
            "priority": _is_fraction,
            "lastModified": _is_moment,
        },
    )


def _is_icons(raw: Raw) -> bool:
    optional: dict[str, Check] = {
        "mimeType": _is_string,
        "sizes": lambda sizes: _is_array(sizes, _is_string),
        "theme": _is_one_of(_THEMES),
    }
    return _is_array(raw, lambda icon: _fits(icon, optional, required="src"))


def _is_arguments(raw: Raw) -> bool:
    optional: dict[str, Check] = {"title": _is_string, "description": _is_string, "required": _is_boolean}
    return _is_array(raw, lambda argument: _fits(argument, optional, required="name"))


def _is_execution(raw: Raw) -> bool:
    return _fits(raw, {"taskSupport": lambda support: bytes(support) in _TASK_SUPPORT})


_SHOWN: Final[dict[str, Check]] = {"title": _is_string, "description": _is_string}
_CONTENT: Final[dict[str, Check]] = {"mimeType": _is_string, "annotations": _is_annotations, "icons": _is_icons}

OPTIONAL: Final[dict[str, dict[str, Check]]] = {
    "tools": {
        **_SHOWN,
        "annotations": _is_tool_annotations,
        "outputSchema": _is_schema,
        "icons": _is_icons,
        "execution": _is_execution,
        "_meta": _is_object,
    },
    "prompts": {**_SHOWN, "arguments": _is_arguments, "icons": _is_icons, "_meta": _is_object},
    "resources": {**_SHOWN, **_CONTENT, "size": _is_whole, "_meta": _is_object},
    "templates": {**_SHOWN, **_CONTENT, "_meta": _is_object},
}
"""The optional members of each kind that the schema types, and whether a value is what it wants."""
