"""Framing and the JSON-RPC envelope: lines in and out, payloads untouched.

Only the envelope is decoded; `params`, `result` and `error` stay raw JSON. What must be edited is opened one
level deep (`open_object`, `open_array`) and closed again from the same bytes.

msgspec does the work where it can. It refuses some JSON that RFC 8259 allows (a lone surrogate escape) and recurses
into nesting, so whatever it refuses is read once more by the scanner below, slower and complete.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NoReturn

import msgspec
from msgspec import Raw

from .errors import InvalidMessage, ParseError

MAX_LINE: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 128
"""Levels of nesting in a message; parsers of peers give up not far beyond."""

MAX_ID: Final = 256

_LOOKED_AT: Final = 4096
_OVERLONG_KEPT: Final = _LOOKED_AT
_PART: Final = 4096
_PIECE: Final = 64 * 1024
_MOST_GLUED: Final = 16
_LONGEST_LOOKED_THROUGH: Final = 64 * 1024


class Framer:
    """Cuts a byte stream into lines at `\\n`; linear in the bytes read, bounded by `limit` bytes a line."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._overlong: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their line end; blank ones are left out."""
        if b"\n" not in data:
            self._keep(data)
            return []
        lines = data.split(b"\n")
        tail = lines.pop()
        if lines and (self._parts or self._skipping):
            lines[0] = self._finish(lines[0])
        whole = [line for line in lines if line and self._fits(line) and not line.isspace()]
        if tail:
            self._keep(tail)
        return whole

    def rest(self) -> bytes:
        """What came after the last line end; asked once, when the stream has ended."""
        rest = self._finish(b"")
        return b"" if rest.isspace() else rest

    def take_overlong(self) -> list[bytes]:
        """The first 4 KiB of each line that was too long and is dropped, so that its id can be read."""
        taken, self._overlong = self._overlong, []
        return taken

    def _keep(self, data: bytes) -> None:
        if self._skipping:
            return
        parts = self._parts
        if parts and len(parts[-1]) + len(data) <= _PART:
            parts[-1] += data  # who writes a few bytes at a time shall not make us hold an object for each
        else:
            parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._overlong.append(b"".join(self._parts)[:_OVERLONG_KEPT])
            self._parts.clear()
            self._size = 0
            self._skipping = True

    def _finish(self, end: bytes) -> bytes:
        if self._skipping:
            self._skipping = False
            return b""
        self._parts.append(end)
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line

    def _fits(self, line: bytes) -> bool:
        if len(line) <= self._limit:
            return True
        self._overlong.append(line[:_OVERLONG_KEPT])
        return False


class Envelope(msgspec.Struct):
    """The members of a JSON-RPC message that matter here, as raw JSON; an absent one is empty (falsy bytes).

    A request has `id` and `method`, a notification only `method`, a response `id` and `result` or `error`.
    """

    id: Raw = Raw(b"")
    method: str = ""
    params: Raw = Raw(b"")
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")
    jsonrpc: str = ""


_NULL: Final = Raw(b"null")
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
encode = msgspec.json.encode


def decode(line: bytes) -> Envelope:
    """Read one line's envelope.

    Raises ParseError where it is no JSON, and InvalidMessage where it is JSON but no object with sensible envelope
    members; both carry the id where it can be read. An id of `null` is returned as it is.
    """
    try:
        envelope = _decode_envelope(line)
        if not line.isascii():
            _check_utf8(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        envelope = _decode_slowly(line)
    if envelope.id and not _is_id(envelope.id):
        raise InvalidMessage("an id is a string or an integer of at most 256 bytes")
    if _may_be_deep(line) and depth(line) > MAX_DEPTH:
        raise InvalidMessage(f"nested deeper than {MAX_DEPTH} levels", bytes(envelope.id) or None)
    return envelope


def _check_utf8(line: bytes) -> None:
    """Raise UnicodeDecodeError unless it is UTF-8. In pieces, since a text of many MiB costs more than reading it."""
    if len(line) <= _PIECE:
        line.decode()
        return
    view = memoryview(line)
    at = 0
    while at < len(line):
        end = at + _PIECE
        _, read = codecs.utf_8_decode(view[at:end], "strict", end >= len(line))
        at += read


def is_batch(line: bytes) -> bool:
    """Whether the line is a JSON array: a batch, which only revision 2025-03-26 knows."""
    return line.lstrip()[:1] == b"["


def open_object(raw: Raw | bytes) -> dict[str, Raw]:
    """The members of a JSON object, values raw, in order; of members with one name the last one counts.

    Raises InvalidMessage where `raw` is no JSON object.
    """
    try:
        return _decode_object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {key: Raw(value) for key, value in _scan_object(bytes(raw)).items()}


def open_array(raw: Raw | bytes) -> list[Raw]:
    """The elements of a JSON array, raw. Raises InvalidMessage where `raw` is no JSON array."""
    try:
        return _decode_array(raw)
    except (msgspec.DecodeError, RecursionError):
        return [Raw(value) for value in _scan_array(bytes(raw))]


def close_object(members: Mapping[str, Raw | bytes]) -> bytes:
    """A JSON object of raw values: the inverse of `open_object`."""
    parts: list[Raw | bytes] = []
    for key, value in members.items():
        parts.append(member(key))
        parts.append(value)
    if not parts:
        return b"{}"
    # The first member brings a comma too many.
    return b"{" + b"".join(parts)[1:] + b"}"


_COMMON: Final = ("name", "arguments", "_meta", "progressToken", "description", "inputSchema", "uri")
_MEMBERS: Final = {key: f',"{key}":'.encode() for key in _COMMON}


def member(key: str) -> bytes:
    """A member's name as it stands in an object behind another member: comma, name, colon."""
    known = _MEMBERS.get(key)
    return known if known is not None else b"," + encode_text(key) + b":"


def given(raw: Raw | None) -> Raw | None:
    """`raw`, or None where it is missing or null: some serializers write null for what is not there."""
    return raw if raw and raw != _NULL else None


def text(raw: Raw | bytes | None) -> str | None:
    """The string that a raw JSON value is, or None where it is no string. Lone surrogates survive."""
    if not raw:
        return None
    try:
        return _decode_text(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            value = json.loads(bytes(raw).decode())  # of bytes it would guess that they are UTF-16
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, str) else None


def encode_text(value: str) -> bytes:
    """A string as JSON; a lone surrogate, which only an escape can carry, included."""
    try:
        return encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def number(raw: Raw | bytes) -> int | None:
    """The number that a raw id or token of ours is, or None. Some servers make strings of numbers: `"1"` is 1 here."""
    digits = bytes(raw).strip(b'"')
    return int(digits) if digits.isdigit() and len(digits) < 19 else None


def request(id: int, method: str, params: bytes = b"") -> bytes:
    """A request of ours as a line."""
    tail = b',"params":' + params + b"}\n" if params else b"}\n"
    return b'{"jsonrpc":"2.0","id":%d,"method":%b' % (id, encode_text(method)) + tail


def notification(method: str, params: bytes | Raw = b"") -> bytes:
    """A notification as a line."""
    head = b'{"jsonrpc":"2.0","method":' + encode_text(method)
    return b"".join((head, b',"params":', params, b"}\n")) if params else head + b"}\n"


def result(id: bytes | Raw, payload: bytes | Raw) -> bytes:
    """An answer with a result, as a line; `payload` is copied byte for byte."""
    return b"".join((b'{"jsonrpc":"2.0","id":', id, b',"result":', payload, b"}\n"))


def error(id: bytes | Raw, payload: bytes | Raw) -> bytes:
    """An answer with an error, as a line; `payload` is copied byte for byte."""
    return b"".join((b'{"jsonrpc":"2.0","id":', id, b',"error":', payload, b"}\n"))


_ID: Final = rb'"id"\s*:\s*(-?(?:0|[1-9][0-9]{0,18})(?![0-9])|"(?:[^"\\\x00-\x1f]|\\.){0,254}")'
_ID_AHEAD: Final = re.compile(_ID)
_ID_BEHIND: Final = re.compile(_ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_PAYLOAD: Final = re.compile(rb'"(?:result|error|params)"\s*:')


def readable_id(line: bytes) -> bytes | None:
    """The id that a broken line seems to carry; good enough to fail that request, for nothing else.

    Only one before the payload or at the very end counts: within the payload an "id" may be anything.
    """
    payload = _PAYLOAD.search(line, 0, _LOOKED_AT)
    ahead = _ID_AHEAD.search(line, 0, payload.start() if payload else _LOOKED_AT)
    found = ahead or _ID_BEHIND.search(line[-_LOOKED_AT:])
    if found is None:
        return None
    id = found.group(1)
    return None if id.startswith(b'"') and text(id) is None else id


def _is_id(raw: Raw) -> bool:
    id = bytes(raw)
    return len(id) <= MAX_ID and (id.isdigit() or id[:1] == b'"' or id.removeprefix(b"-").isdigit() or id == b"null")


def _decode_slowly(line: bytes) -> Envelope:
    members = _scan_object(line)
    envelope = Envelope()
    for key, raw in members.items():
        if key in ("id", "params", "result", "error"):
            setattr(envelope, key, Raw(raw))
        elif key in ("method", "jsonrpc") and raw != b"null":
            value = text(raw)
            if value is None:
                id = Raw(members.get("id", b"null"))
                raise InvalidMessage(f"{key!r} is no string", bytes(id) if given(id) and _is_id(id) else None)
            setattr(envelope, key, value)
    return envelope


# The scanner. It trusts the standard library to say whether a text is JSON, and cuts it at the top level only.
# Possessive, so that a broken text is not tried again from every quote in it.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN: Final = re.compile(_STRING + rb"|[{}\[\],:]")
_SPACE: Final = b" \t\r\n"


def split_glued(line: bytes) -> list[bytes]:
    """The objects of a line that holds several behind each other: two threads printed at once. [] if it does not."""
    try:
        text = line.decode()
        pieces: list[bytes] = []
        at = 0
        while at < len(text) and len(pieces) <= _MOST_GLUED:
            _, end = _strict.raw_decode(text, at)
            pieces.append(text[at:end].encode())
            at = end + len(text[end:]) - len(text[end:].lstrip())
    except (ValueError, RecursionError):
        return []
    return pieces if 1 < len(pieces) <= _MOST_GLUED and all(piece[:1] == b"{" for piece in pieces) else []


_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))


def _may_be_deep(line: bytes) -> bool:
    """A quick look: whether the line has to be looked through. Long ones are not: that would hold up everybody."""
    if not 2 * MAX_DEPTH < len(line) <= _LONGEST_LOOKED_THROUGH or line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return False
    brackets = line.translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        inner = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(inner) == len(brackets):
            break
        brackets = inner
    return bool(brackets)  # too many levels, or brackets in strings that do not match: look closely


def depth(raw: bytes) -> int:
    """How deep valid JSON is nested: 0 for a string or number."""
    deepest = level = 0
    for found in _TOKEN.finditer(raw):
        token = found.group()
        if token in (b"{", b"["):
            level += 1
            deepest = max(deepest, level)
        elif token in (b"}", b"]"):
            level -= 1
    return deepest


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Numbers stay texts: making an int of a million digits takes for ever, and nobody looks at them here.
_strict = json.JSONDecoder(parse_constant=_reject, parse_float=str, parse_int=str)


def _scan_object(raw: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for piece in _scan(raw, b"{"):
        name = _TOKEN.match(piece)
        key = text(name.group()) if name else None
        if name is None or key is None:
            raise ParseError("this line is not JSON", readable_id(raw))
        members[key] = piece[piece.index(b":", name.end()) + 1 :].strip(_SPACE)
    return members


def _scan_array(raw: bytes) -> list[bytes]:
    return _scan(raw, b"[")


def _scan(raw: bytes, opening: bytes) -> list[bytes]:
    """The pieces between the top-level commas of an object or array."""
    raw = raw.strip(_SPACE)
    try:
        value = _strict.decode(raw.decode())
    except RecursionError as problem:
        raise InvalidMessage(f"nested deeper than {MAX_DEPTH} levels", readable_id(raw)) from problem
    except ValueError as problem:
        raise ParseError("this line is not JSON", readable_id(raw)) from problem
    if raw[:1] != opening:
        raise InvalidMessage("not a JSON object" if opening == b"{" else "not a JSON array")
    if not value:
        return []
    cuts: list[int] = []
    depth = 0
    for found in _TOKEN.finditer(raw):
        token = found.group()
        if token in (b"{", b"["):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidMessage(f"nested deeper than {MAX_DEPTH} levels", readable_id(raw))
        elif token in (b"}", b"]"):
            depth -= 1
        elif token == b"," and depth == 1:
            cuts.append(found.start())
    edges = [0, *cuts, len(raw) - 1]
    return [raw[start + 1 : end].strip(_SPACE) for start, end in pairwise(edges)]
