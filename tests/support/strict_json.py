"""A strict reading of JSON, straight from the grammar of RFC 8259: what the codec's verdicts are compared with.

It shares nothing with the codec: neither msgspec nor the standard library's parser decides here what JSON is.
"""

import json
import re
from dataclasses import dataclass
from enum import Enum, auto

_TOKEN = re.compile(
    rb"""[ \t\r\n]*+(?:
    ("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+")
    |(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null)
    |([{}\[\],:])
    )""",
    re.VERBOSE,
)
_SPACE = b" \t\r\n"
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")


class NotJson(ValueError):
    """`depth` is how deep the part before the mistake is nested."""

    def __init__(self, depth: int) -> None:
        super().__init__("not JSON")
        self.depth = depth


@dataclass(frozen=True)
class Text:
    """A JSON text: the bytes of its outermost value, and of what that holds one level down."""

    value: bytes
    depth: int
    items: tuple[bytes, ...]
    names: tuple[bytes, ...]

    @property
    def is_object(self) -> bool:
        return self.value.startswith(b"{")

    @property
    def is_array(self) -> bool:
        return self.value.startswith(b"[")

    @property
    def members(self) -> dict[str, bytes]:
        """Of an object; of members with one name the last one counts."""
        return {unquote(name): item for name, item in zip(self.names, self.items, strict=True)}


class _Next(Enum):
    VALUE = auto()
    VALUE_OR_END = auto()
    NAME = auto()
    NAME_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


class _Reading:
    """A text on its way from token to token."""

    def __init__(self) -> None:
        self.due = _Next.VALUE
        self.open: list[bytes] = []
        self.deepest = 0
        self.names: list[bytes] = []
        self.spans: list[tuple[int, int]] = []
        """Of what stands one level down."""
        self._began = 0

    def string(self, start: int, end: int, string: bytes) -> bool:
        if self.due not in (_Next.NAME, _Next.NAME_OR_END):
            return self.scalar(start, end)
        if len(self.open) == 1:
            self.names.append(string)
        self.due = _Next.COLON
        return True

    def scalar(self, start: int, end: int) -> bool:
        """Each of these methods tells whether such a token may stand here."""
        if self.due not in (_Next.VALUE, _Next.VALUE_OR_END):
            return False
        self._begins(start)
        self._ended(end)
        return True

    def sign(self, start: int, end: int, sign: bytes) -> bool:
        if sign == b":" and self.due is _Next.COLON:
            self.due = _Next.VALUE
            return True
        if sign == b"," and self.due is _Next.COMMA_OR_END:
            self.due = _Next.NAME if self.open[-1] == b"{" else _Next.VALUE
            return True
        if sign in (b"{", b"["):
            return self._opened(start, sign)
        return sign in (b"}", b"]") and self._closed(end, sign)

    def _opened(self, start: int, sign: bytes) -> bool:
        if self.due not in (_Next.VALUE, _Next.VALUE_OR_END):
            return False
        self._begins(start)
        self.open.append(sign)
        self.deepest = max(self.deepest, len(self.open))
        self.due = _Next.NAME_OR_END if sign == b"{" else _Next.VALUE_OR_END
        return True

    def _closed(self, end: int, sign: bytes) -> bool:
        if not self.open:
            return False
        fitting, empty = (b"}", _Next.NAME_OR_END) if self.open[-1] == b"{" else (b"]", _Next.VALUE_OR_END)
        if sign != fitting or self.due not in (_Next.COMMA_OR_END, empty):
            return False
        self.open.pop()
        self._ended(end)
        return True

    def _begins(self, start: int) -> None:
        if len(self.open) == 1:
            self._began = start

    def _ended(self, end: int) -> None:
        if len(self.open) == 1:
            self.spans.append((self._began, end))
        self.due = _Next.COMMA_OR_END if self.open else _Next.NOTHING


def read(text: bytes) -> Text:
    """Read one JSON text. Raises NotJson."""
    reading = _Reading()
    at = 0
    while reading.due is not _Next.NOTHING:
        found = _TOKEN.match(text, at)
        if found is None:
            raise NotJson(reading.deepest)
        kind, at = found.lastindex or 0, found.end()
        token = found[kind]
        start = at - len(token)
        if kind == 1:
            fits = reading.string(start, at, token)
        else:
            fits = reading.scalar(start, at) if kind == 2 else reading.sign(start, at, token)
        if not fits:
            raise NotJson(reading.deepest)
    if text[at:].strip(_SPACE) or not is_utf8(text):
        raise NotJson(reading.deepest)
    items = tuple(text[start:end] for start, end in reading.spans)
    return Text(text.strip(_SPACE), reading.deepest, items, tuple(reading.names))


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_string(value: bytes) -> bool:
    return value.startswith(b'"')


def is_integer(value: bytes) -> bool:
    """Whether a value is a number without fraction and exponent."""
    return _INTEGER.fullmatch(value) is not None


def unquote(string: bytes) -> str:
    """The characters of a JSON string, halves of them included."""
    return str(json.loads(string.decode()))
