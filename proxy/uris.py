"""Resource URIs: the other form of one that two servers claim, and what a template could have become.

A URI passes unchanged. Only where two servers have the same one (or the same template), one server's is shown in a
form of ours: a first segment `~{tag}/` behind the scheme, which stays, so that what a client does for `ui://` or
`file://` it does for both. The form is the same for a URI and for a template (RFC 6570), and what a client makes of a
derived template leads back to what it would have made of the server's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

LONGEST: Final = 8192
"""Characters of a URI that are looked at closely; see `Template`."""
LONGEST_TEMPLATE: Final = 1024
MOST_STEPS: Final = 64
"""A template that is longer, or has more pieces, is nothing that a person wrote."""

_OURS: Final = "mcp-manifold://"
# With an empty authority the segment stands behind it: made an authority, it would swallow one of three slashes in
# clients that normalize URIs.
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:///?)?")
_TAG: Final = re.compile(r"~([A-Za-z0-9_-]*)/")


def derive(uri: str, tag: str) -> str:
    """The other form of a URI or template: `test://a/{id}` -> `test://~{tag}/a/{id}`.

    `tag` is made of `[A-Za-z0-9_-]` and may be empty. What does not begin with a plain scheme (`{+uri}`) stands whole
    behind a scheme of ours, and so does what has that scheme already, or else the way back would be ambiguous.
    """
    scheme = _SCHEME.match(uri)
    head = scheme.group() if scheme else _OURS
    rest = uri if head == _OURS else uri[len(head) :]
    return f"{head}~{tag}/{rest}"


def restore(uri: str) -> tuple[str, str] | None:
    """The tag and the server's own URI of a derived one; None where it has another form.

    A server may have URIs of this form by itself: look first whether somebody listed the URI as it is.
    """
    scheme = _SCHEME.match(uri)
    tag = _TAG.match(uri, scheme.end()) if scheme else None
    if scheme is None or tag is None:
        return None
    head, rest = scheme.group(), uri[tag.end() :]
    return tag.group(1), rest if head == _OURS else head + rest


def is_absolute(uri: str) -> bool:
    """Whether it begins with a scheme, as each URI has to; some clients refuse a whole list for one that does not."""
    return _SCHEME.match(uri) is not None


class Template:
    """An RFC 6570 template, asked whether a URI could be an expansion of it.

    Lenient: variables may be empty or absent, and neither the names in a query nor percent-escapes are looked at. A
    malformed template, or one beyond `LONGEST_TEMPLATE` or `MOST_STEPS`, matches its own text alone. A URI longer than
    `LONGEST` matches a template with expressions by the literal text before the first of them, if there is any.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps = _steps(text) or ()
        self._head = self._steps[0].literal if self._steps else text

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def matches(self, uri: str) -> bool:
        """Whether `uri` could be an expansion. Never raises; takes time linear in the URI times the template."""
        if not uri.startswith(self._head):
            return False
        if len(self._steps) < 2:
            return uri == self.text
        if len(uri) > LONGEST:
            return bool(self._head)
        characters = _characters(uri)
        # Bit i stands for the place before character i: all ways to read the template are followed at once.
        places = 1 << len(self._head)
        for step in self._steps[1:]:
            places = step.ahead(places, characters)
            if not places:
                return False
        return bool(places >> len(uri) & 1)


class _Characters:
    """Where in a URI which characters are, as sets of places: bit i stands for character i."""

    def __init__(self, uri: str) -> None:
        self.at: dict[str, int] = {}
        for place, character in enumerate(uri):
            self.at[character] = self.at.get(character, 0) | 1 << place
        self._all = (1 << len(uri)) - 1
        self._without: dict[str, int] = {}

    def without(self, stops: str) -> int:
        """All characters but the ones in `stops`."""
        found = self._without.get(stops)
        if found is None:
            found = self._all
            for character in stops:
                found &= ~self.at.get(character, 0)
            self._without[stops] = found
        return found


# A read asks many templates about one URI.
_characters: Final[Callable[[str], _Characters]] = lru_cache(maxsize=1)(_Characters)


class _Step(msgspec.Struct, frozen=True):
    """A piece of a template: literal text, or else one variable, perhaps absent.

    A variable is `prefix` and a run of any length without the characters of `stops`.
    """

    literal: str = ""
    prefix: str = ""
    stops: str | None = None

    def ahead(self, places: int, characters: _Characters) -> int:
        """The places that this step can end at, when it begins at `places`."""
        if self.stops is None:
            return _past(self.literal, places, characters)
        begun = _past(self.prefix, places, characters)
        allowed = characters.without(self.stops)
        # Where a run may begin, the carry of the addition goes through to the first character that ends it, and
        # whatever it passed differs from `allowed` afterwards.
        return places | begun | ((allowed + (begun & allowed)) ^ allowed)


def _past(text: str, places: int, characters: _Characters) -> int:
    for character in text:
        places = (places & characters.at.get(character, 0)) << 1
        if not places:
            break
    return places


_PIECES: Final = re.compile(r"\{([^{}]*)\}|([^{}]+)")
_EXPRESSION: Final = re.compile(r"([+#./;?&]?)([^=,!@|:*+#./;?&][^,:*]*(?:\*|:[0-9]+)?(?:,[^,:*]+(?:\*|:[0-9]+)?)*)")
_STOPS: Final = {"": "/?#", "+": "", "#": "", ".": "/?#", ";": "/?#", "?": "#", "&": "#"}


def _steps(text: str) -> tuple[_Step, ...] | None:
    """The pieces of a template, the first of them literal; None where it is malformed or too long."""
    if len(text) > LONGEST_TEMPLATE:
        return None
    steps = [_Step()] if text.startswith("{") else []
    at = 0
    while at < len(text):
        piece = _PIECES.match(text, at)
        if piece is None:
            return None
        at = piece.end()
        if piece.group(1) is None:
            steps.append(_Step(literal=piece.group(2)))
            continue
        expression = _EXPRESSION.fullmatch(piece.group(1))
        if expression is None:
            return None
        for step in _variables(expression.group(1), expression.group(2)):
            if step != steps[-1] or step.prefix:  # two runs of one sort behind each other are one
                steps.append(step)
        if len(steps) > MOST_STEPS:
            return None
    return tuple(steps)


def _variables(operator: str, names: str) -> list[_Step]:
    """The steps of one expression."""
    if operator == "/":
        # Each name is one segment, an exploded one is any number of them.
        return [_Step(prefix="/", stops="?#" if name.endswith("*") else "/?#") for name in names.split(",")]
    # The separators between several values belong to the run.
    return [_Step(prefix="" if operator == "+" else operator, stops=_STOPS[operator])]


template: Final[Callable[[str], Template]] = lru_cache(maxsize=4096)(Template)
"""The same, made once for each text: listings come again and again."""
