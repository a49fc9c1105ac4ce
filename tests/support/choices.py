"""Bytes read as choices: JSON texts and cuts for whoever makes up bytes, hypothesis or a fuzzer.

Where the bytes are used up every choice is the first one, so fewer and smaller bytes make something simpler.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SPACES = (b"", b"", b"", b"", b" ", b"\t", b" \r ")
CHARACTERS = (
    *(bytes([code]) for code in b"aZ0 {}[],:/'\x7f"),
    *(character.encode() for character in ("é", "日", "😀", "\u202e", "\x85", "\u2028")),
    *(rb"\"", rb"\\", rb"\/", rb"\b", rb"\f", rb"\n", rb"\r", rb"\t", rb"\u0041", rb"\u00e9", rb"\u0000", rb"\u001b"),
    *(rb"\uD83D\uDE00", rb"\ud800", rb"\uDFFF", rb"\udc00\ud800"),
)
NUMBERS = (b"0", b"1", b"-0", b"7", b"-12", b"0.10", b"1.0", b"1e2", b"1e400", b"-1E-7", b"5e+0", b"9" * 19, b"9" * 40)
NAMES = (b'"a"', b'"id"', b'"method"', b'"params"', b'"result"', b'"error"', b'"jsonrpc"', rb'"\u0069d"', b'"_meta"')
DAMAGES = (
    b"",
    b"\\",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\xc3",
    b"\xff",
    b"\x00",
    b" ",
    b"0",
    b'"id":1,',
    b'"id":01,',
)
DEEPEST = 4


class Choices:
    """What a run of bytes decides, one byte for each choice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, limit: int) -> int:
        """A number from 0 to below `limit`, which is at most 65,536."""
        number = self._byte()
        if limit > 256:
            number += self._byte() << 8
        return number % limit

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def rest(self) -> bytes:
        """The bytes that have decided nothing yet."""
        rest = self._data[self._at :]
        self._at = len(self._data)
        return rest

    def _byte(self) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1]


def cut(data: bytes, choices: Choices, pieces: int) -> list[bytes]:
    """The data in at most so many pieces; some of them empty."""
    edges = sorted(choices.below(len(data) + 1) for _ in range(choices.below(pieces)))
    return [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]


def string(choices: Choices) -> bytes:
    return b'"' + b"".join(choices.one_of(CHARACTERS) for _ in range(choices.below(6))) + b'"'


def number(choices: Choices) -> bytes:
    return choices.one_of(NUMBERS)


def value(choices: Choices, depth: int = 0) -> bytes:
    """Any JSON value, with any spacing in it."""
    kind = choices.below(8 if depth < DEEPEST else 4)
    if kind == 0:
        return choices.one_of((b"{}", b"[]", b"null", b"true", b"false", b'""'))
    if kind == 1:
        return number(choices)
    if kind in (2, 3):
        return string(choices)
    space = choices.one_of(SPACES)
    if kind in (4, 5):
        items = [value(choices, depth + 1) for _ in range(choices.below(4))]
        return b"[" + space + (space + b"," + space).join(items) + space + b"]"
    return object_([(name(choices), value(choices, depth + 1)) for _ in range(choices.below(4))], space)


def name(choices: Choices) -> bytes:
    return string(choices) if choices.below(3) == 0 else choices.one_of(NAMES)


def object_(members: list[tuple[bytes, bytes]], space: bytes = b"") -> bytes:
    """An object of raw names and values; a name may be there twice."""
    return b"{" + space + b",".join(name + space + b":" + space + value + space for name, value in members) + b"}"


def damaged(text: bytes, choices: Choices) -> bytes:
    """The text with a few bytes gone, added or others, or cut off."""
    data = bytearray(text)
    for _ in range(1 + choices.below(3)):
        at = choices.below(len(data) + 1)
        if choices.below(6) == 5:
            del data[at:]
        else:
            data[at : at + choices.below(3)] = choices.one_of(DAMAGES)
    return bytes(data)
