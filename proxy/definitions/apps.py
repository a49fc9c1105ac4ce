"""MCP Apps (extension io.modelcontextprotocol/ui): the UI resources that a tool's definition refers to.

A tool names one in `_meta.ui.resourceUri` and, in the extension's older form, in `_meta["ui/resourceUri"]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Raw

from .. import wire
from .sound import members_of

_PATHS: Final = (("ui", "resourceUri"), ("ui/resourceUri",))

# Possessive, so that no text is tried again from every quote in it.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]')
_SPACE: Final = b" \t\r\n"


def ui_references(members: Mapping[str, Raw]) -> tuple[str, ...]:
    """The UI resources that a tool refers to, each once; what is no text is no reference."""
    found: dict[str, None] = {}
    for path in _PATHS:
        inner: Mapping[str, Raw] = members
        for name in ("_meta", *path[:-1]):
            inner = (members_of(inner[name]) if name in inner else None) or {}
        uri = wire.text(inner.get(path[-1]))
        if uri:
            found[uri] = None
    return tuple(found)


def with_ui_references(definition: bytes, rename: Callable[[str], str]) -> bytes:
    """A tool's definition with each UI resource that it refers to renamed; all else stays byte for byte.

    The very same object where nothing changes. `definition` is valid JSON, as `edit` makes it.
    """
    parts: list[bytes] = []
    done = 0
    for start, end in sorted(span for path in _PATHS for span in _spans(definition, 0, ("_meta", *path))):
        uri = wire.text(definition[start:end])
        renamed = rename(uri) if uri else uri
        if renamed and renamed != uri:
            parts += (definition[done:start], wire.encode_text(renamed))
            done = end
    return b"".join((*parts, definition[done:])) if parts else definition


def _spans(text: bytes, at: int, path: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where the values at a path of member names begin and end; a name given twice counts twice."""
    for name, start, end in _members(text, at):
        if name != path[0]:
            continue
        if len(path) == 1:
            yield start, end
        elif text[start : start + 1] == b"{":
            yield from _spans(text, start, path[1:])


def _members(text: bytes, at: int) -> Iterator[tuple[str | None, int, int]]:
    """The name of each member of the object that begins at `at`, and where its value begins and ends."""
    depth = 0
    name: bytes | None = None
    start = 0
    for token in _TOKEN.finditer(text, at):
        sign = token.group()
        if sign in (b"}", b"]"):
            depth -= 1
        if name is not None and (depth == 0 or (depth == 1 and sign == b",")):
            value = text[start : token.start()].lstrip(_SPACE)
            begin = token.start() - len(value)
            yield wire.text(name), begin, begin + len(value.rstrip(_SPACE))
            name = None
        elif depth == 1 and name is None and sign[:1] == b'"':
            name = sign
        elif depth == 1 and sign == b":":
            start = token.end()
        if sign in (b"{", b"["):
            depth += 1
        elif depth == 0:
            return
