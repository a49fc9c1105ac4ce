"""An entry of a list: what of it clients can read, and its edited form.

A client reads a list as a whole: one definition that its models refuse, and all tools of all servers are gone. So a
member that the specification's schema rules out is dropped, and an entry that could not be read at all is left out.
Everything else passes byte for byte, members that nobody knows yet included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from .. import texts, wire
from ..errors import WireError
from . import sound

KEYS: Final = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}
"""The member that a request names an entry by, for each kind."""

DEEPEST: Final = 64
"""Levels of nesting in one definition: some clients' parsers give up at about 200 for the whole list."""

_CALLED: Final = {"tools": "tool", "prompts": "prompt", "resources": "resource", "templates": "resource template"}
_METHODS: Final = {kind: f"{kind}/list" for kind in KEYS} | {"templates": "resources/templates/list"}
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG_NUMBER: Final = re.compile(rb"[0-9]{4300}")
_NULL: Final = Raw(b"null")
_FORBIDDEN: Final = b'"forbidden"'


def read(kind: str, item: Raw) -> tuple[str | None, dict[str, Raw] | None, list[str]]:
    """The entry's own key, the members of its definition that clients can read, and remarks in whole sentences.

    The key is None where there is none, the members are None where the entry has to be left out.
    """
    members = sound.members_of(item)
    key = wire.text(members.get(KEYS[kind])) if members else None
    if members is None or not key:
        return None, None, [f"an entry of {_METHODS[kind]} has no {KEYS[kind]} and is left out"]
    entry = f"{_CALLED[kind]} {key!r}"
    problem = _unreadable(kind, members) or _unsound(kind, members)
    if problem:
        return key, None, [f"{entry} is left out: {problem}"]
    if kind == "tools":
        members["inputSchema"] = sound.with_type(members.get("inputSchema", _NULL))
    odd = [name for name, is_sound in sound.OPTIONAL[kind].items() if name in members and not is_sound(members[name])]
    for name in odd:
        del members[name]
    return key, members, [f"{name!r} of {entry} is left out: clients could not read it" for name in odd]


def edit(kind: str, members: Mapping[str, Raw], public: str, described: str | None) -> tuple[bytes, str]:
    """A definition under its public key, and its description as text."""
    edited: dict[str, Raw | bytes] = dict(members)
    cleaned = ["title", "description"]
    if _is_shown_as_it_is(kind):
        cleaned.append("name")  # text for people here
    for name in cleaned:
        if name in members:
            edited[name] = _clean(members[name])
    if not _is_shown_as_it_is(kind) or wire.text(members[KEYS[kind]]) != public:
        edited[KEYS[kind]] = wire.encode_text(public)
    if kind == "tools" and "annotations" in members:
        edited["annotations"] = _clean_title(members["annotations"])
    if described is not None:
        edited["description"] = wire.encode_text(described)
    return wire.close_object(edited), texts.printable(wire.text(edited.get("description")) or "")


def is_harmless(members: Mapping[str, Raw]) -> bool:
    """Whether a tool says of itself that calling it twice is no worse than once: it only reads, or is idempotent."""
    try:
        hints = wire.open_object(members.get("annotations", Raw(b"{}")))
    except WireError:
        return False
    return b"true" in (bytes(hints.get("readOnlyHint", b"")), bytes(hints.get("idempotentHint", b"")))


def without_task_support(members: Mapping[str, Raw]) -> dict[str, Raw]:
    """A tool's members without `execution.taskSupport`, for a server that declared no tasks for tool calls.

    The proxy declares them for those that did, and clients would take it for all. "forbidden" stays: it says the same.
    """
    execution = sound.members_of(members["execution"]) if "execution" in members else None
    if execution is None or bytes(execution.get("taskSupport", _FORBIDDEN)) == _FORBIDDEN:
        return dict(members)
    del execution["taskSupport"]
    if execution:
        return {**members, "execution": Raw(wire.close_object(execution))}
    return {name: value for name, value in members.items() if name != "execution"}


def _is_shown_as_it_is(kind: str) -> bool:
    """Whether clients see the entry's own key, a URI; of what has a name, they see another name."""
    return KEYS[kind] != "name"


def _unreadable(kind: str, members: Mapping[str, Raw]) -> str:
    """Why some client's JSON parser would refuse what clients see of an entry, if so."""
    item = wire.close_object(members if _is_shown_as_it_is(kind) else {**members, "name": _NULL})
    if item.count(b"{") + item.count(b"[") > DEEPEST and wire.depth(item) > DEEPEST:
        return f"it is nested deeper than {DEEPEST} levels"
    if _SURROGATE.search(item) and _has_half_character(item):
        return "it holds half a character (a lone surrogate)"
    if _LONG_NUMBER.search(item):
        return "it holds a number of thousands of digits"
    return ""


def _has_half_character(item: bytes) -> bool:
    try:
        json.dumps(json.loads(item, parse_int=str, parse_float=str), ensure_ascii=False).encode()
    except (UnicodeEncodeError, ValueError, RecursionError):
        return True
    return False


def _unsound(kind: str, members: Mapping[str, Raw]) -> str:
    """What is wrong with the members that an entry of its kind must have, as a reason; "" if nothing is."""
    if kind == "tools":
        schema = members.get("inputSchema", _NULL)
        return "" if bytes(schema) == b"null" else sound.schema_problem(schema)
    return "" if wire.text(members.get("name")) is not None else "it has no name"


def _clean(raw: Raw) -> Raw | bytes:
    if not texts.may_need_cleaning(bytes(raw)):
        return raw
    value = wire.text(raw)
    if value is None:
        return raw
    cleaned = texts.clean(value)
    return raw if cleaned == value else wire.encode_text(cleaned)


def _clean_title(annotations: Raw) -> Raw | bytes:
    members = sound.members_of(annotations) if texts.may_need_cleaning(bytes(annotations)) else None
    if members is None or "title" not in members:
        return annotations
    title = _clean(members["title"])
    return annotations if title is members["title"] else wire.close_object({**members, "title": title})
