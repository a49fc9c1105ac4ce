"""One line a problem: file, JSON path, what is wrong, the nearest known key.

Values are never quoted, as they may be secret; keys are, and words chosen from a list.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .parse import Location

_PLAIN = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_SUGGESTIONS = 0.6
_SHOWN = 40


class Problem(NamedTuple):
    """Something wrong at a place of the file; `what` is a phrase that follows the path."""

    location: Location
    what: str


def render(file: str, problem: Problem) -> str:
    """The finished line. Control characters and the like, which keys may hold, are shown as escapes."""
    place = json_path(problem.location)
    return one_line(": ".join(part for part in (file, place, problem.what) if part))


def one_line(text: str) -> str:
    """`text` as a single line that any terminal shows harmlessly and any encoding can carry."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def json_path(location: Iterable[str | int]) -> str:
    """`mcpServers.github.args[0]`; keys that are no plain words are quoted: `mcpServers["my server"]`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            path += f".{part}" if path else part
        else:
            path += f"[{quoted(part)}]"
    return path


def quoted(text: str) -> str:
    """`text` as a short JSON string, for keys and for words chosen from a list."""
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return json.dumps(shown, ensure_ascii=False)


def kind(value: object) -> str:
    """The JSON type of a value, for "must be a string, is a number"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = ((str, "a string"), (int | float, "a number"), (list | tuple, "an array"), (dict, "an object"))
    return next((name for types, name in names if isinstance(value, types)), "something else")


def nearest(key: str, known: Sequence[str]) -> str | None:
    """The known key that `key` was probably meant to be. Case, `_` and `-` don't count."""
    # Only a mistake in the file costs this import.
    from difflib import get_close_matches

    def plain(word: str) -> str:
        return word.lower().replace("_", "").replace("-", "")

    by_plain = {plain(name): name for name in reversed(known)}
    found = get_close_matches(plain(key), list(by_plain), n=1, cutoff=_SUGGESTIONS)
    return by_plain[found[0]] if found else None


def known_keys(shape: type[msgspec.Struct]) -> tuple[str, ...]:
    """The keys that a shape has in the file."""
    return shape.__struct_encode_fields__


def unknown_key(key: str, shape: type[msgspec.Struct], others: Sequence[str] = ()) -> str:
    """What to say of `key`, which `shape` does not have. `others` are further keys that are accepted beside it."""
    for field in msgspec.structs.fields(shape):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and key in known_keys(inner):
            return f"unknown key; it belongs inside {quoted(field.encode_name)}"
    known = known_keys(shape)
    near = nearest(key, (*known, *others))
    if near is not None:
        return f"unknown key (did you mean {quoted(near)}?)"
    return f"unknown key (known: {', '.join(known)})"
