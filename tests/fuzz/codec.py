"""What must hold of the framer and the codec whatever bytes decide; each check raises AssertionError where it does not.

`tests/test_wire_properties.py` lets hypothesis make the bytes up, `python -m tests.fuzz` a fuzzer.
"""

import sys

from msgspec import Raw

from proxy import wire
from proxy.errors import InvalidMessage, ParseError, WireError
from tests.support import strict_json
from tests.support.choices import DAMAGES, NAMES, NUMBERS, SPACES, Choices, cut, damaged, number, object_, string, value
from tests.support.strict_json import NotJson, Text, is_integer, is_string, unquote

HALF = rb'"\ud800"'
"""Half a character: msgspec refuses it, so that whatever holds it is read by the codec's own scanner."""

KEPT_START = 4096
PIECES = (b"\n", b"\r\n", b"a", b" ", b"\t", b"{}", b"0123456789", b"\xff", b"\x0b", b"", b"ab", b'{"id":1}')
FRAGMENTS = (
    *NAMES,
    *NUMBERS,
    *DAMAGES,
    HALF,
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"-",
    b".5",
    b"e1",
    b'"\x00a\x00"\x00',
)
Seen = tuple[bytes, str, bytes, bytes, bytes, str]


# The framer


def check_chunking(data: bytes) -> None:
    """However a stream is cut into chunks, the lines, the rest and what is too long are the same."""
    choices = Choices(data)
    limit = choices.one_of((1000, 1, 5, 12, 20))
    stream = b"".join(choices.one_of(PIECES) for _ in range(choices.below(30)))
    chunks = cut(stream, choices, 10) if choices.below(4) else [stream[at : at + 1] for at in range(len(stream))]
    framer = wire.Framer(limit)
    lines: list[bytes] = []
    starts: list[bytes] = []
    for chunk in chunks:
        lines += framer.feed(chunk)
        starts += framer.take_overlong()
    rest = framer.rest()
    *written, last = stream.split(b"\n")
    assert lines == [line for line in written if line.strip() and len(line) <= limit], (stream, chunks, limit)
    assert rest == (last if last.strip() and len(last) <= limit else b""), (stream, chunks, limit)
    too_long = [line for line in (*written, last) if len(line) > limit]
    assert len(starts) == len(too_long), (stream, chunks, limit)
    for start, line in zip(starts, too_long, strict=True):
        assert line.startswith(start), (stream, chunks, limit)
        assert len(start) > limit, (stream, chunks, limit)
    assert framer.rest() == b"", "the rest is given once"


def check_memory(data: bytes) -> None:
    """What a framer holds is bounded by its limit, in whatever portions the bytes come."""
    choices = Choices(data)
    limit = choices.one_of((3000, 300, 12_000))
    framer = wire.Framer(limit)
    most = limit + limit // 8 + 1024
    for _ in range(1 + choices.below(4)):
        portion = choices.one_of((b"xy", b"x", b"abc", b" ", b"x" * 17, b"x\ny", b"x" * 999, b"xyz\n", b"x" * 6000))
        for at in range(1 + choices.below(100)):
            # A name of its own for each portion: equal bytes that are one object would cost nothing.
            framer.feed(b"%c" % (at & 127 | 64) + portion)
            assert all(len(start) <= KEPT_START for start in framer.take_overlong())
        held = _held(framer)
        assert held <= most, f"{held} bytes are held with a limit of {limit}"


def _held(framer: wire.Framer) -> int:
    """The bytes of memory of all that a framer refers to."""
    held = 0
    for part in vars(framer).values():
        held += sys.getsizeof(part)
        if isinstance(part, list):
            held += sum(map(sys.getsizeof, part))
    return held


# The codec


def check_any_line(line: bytes) -> None:
    """Any bytes are read as a strict reading reads them, or refused with the right verdict; nothing else is raised."""
    line = line.replace(b"\n", b" ")
    text: Text | None = None
    try:
        text = strict_json.read(line)
    except NotJson as problem:
        _check_no_json(line, problem)
    else:
        _check_envelope(line, text)
        _check_opened(line, text)
    _check_bits(line, text)


def check_message(data: bytes) -> None:
    """`check_any_line` of a message, of other JSON, and of what is nearly such."""
    choices = Choices(data)
    kind = choices.below(6)
    if kind == 0:
        line = value(choices)
    elif kind == 1:
        line = b"".join(choices.one_of(FRAGMENTS) for _ in range(choices.below(8)))
    elif kind == 2:
        line = b'{"a":' + b"".join(choices.one_of(FRAGMENTS) for _ in range(choices.below(6))) + b"}"
    else:
        members = [(choices.one_of(NAMES), _usual(choices)) for _ in range(choices.below(7))]
        line = object_(members, choices.one_of(SPACES))
    space = choices.one_of(SPACES)
    check_any_line(space + (damaged(line, choices) if choices.below(3) == 2 else line) + space)


def check_payload(data: bytes) -> None:
    """The bytes of params, a result or an error pass through reading and writing as they are."""
    choices = Choices(data)
    member = choices.one_of(("params", "result", "error"))
    space = choices.one_of(SPACES)
    payload = value(choices)
    envelope = [(b'"jsonrpc"', b'"2.0"'), (b'"id"', b"1"), (b'"%b"' % member.encode(), payload)]
    first = choices.below(len(envelope))
    line = object_(envelope[first:] + envelope[:first], space)
    read = wire.decode(space + line + space)
    raw = {"params": read.params, "result": read.result, "error": read.error}
    assert {name: bytes(value) for name, value in raw.items() if value} == {member: payload}, line
    assert wire.result(read.id, raw[member]) == b'{"jsonrpc":"2.0","id":1,"result":' + payload + b"}\n"
    assert wire.error(read.id, raw[member]) == b'{"jsonrpc":"2.0","id":1,"error":' + payload + b"}\n"
    assert wire.notification("x", raw[member]) == b'{"jsonrpc":"2.0","method":"x","params":' + payload + b"}\n"
    _check_envelope(line, strict_json.read(line))
    _check_opened(payload, strict_json.read(payload))


def check_id(data: bytes) -> None:
    """An id is a string or an integer, and keeps its type, value and spelling; anything else is refused."""
    choices = Choices(data)
    id = _id(choices)
    space = choices.one_of(SPACES)
    members = [(b'"id"', id), (b'"jsonrpc"', b'"2.0"'), (b'"method"', string(choices))]
    line = object_(members if choices.below(2) else members[::-1], space)
    fits = (is_string(id) or is_integer(id) or id == b"null") and len(id) <= wire.MAX_ID
    try:
        read = wire.decode(line)
    except InvalidMessage:
        assert not fits, line
        return
    assert fits, line
    assert bytes(read.id) == id, line
    for written in (wire.result(read.id, b"{}"), wire.error(read.id, b"{}")):
        assert strict_json.read(written).members["id"] == id, line
    own = wire.number(read.id)
    assert own is None or b"%d" % own == id.strip(b'"').lstrip(b"0") or own == 0, line


def check_damaged_answer(data: bytes) -> None:
    """An answer that is broken anywhere behind its id, or before it at its end, still tells whose it is, and why."""
    choices = Choices(data)
    id = choices.one_of((b"7", b"0", b'"7"', b"123456789012345678", b'"a-b"', rb'"a\"b"'))
    member = choices.one_of((b'"result":', b'"error":'))
    payload = damaged(value(choices), choices)
    if choices.below(3) < 2:
        line = b'{"jsonrpc":"2.0","id":' + id + b"," + member + payload + choices.one_of((b"}", b"", b"}}", b","))
    else:
        line = b'{"jsonrpc":"2.0",' + member + payload + b',"id":' + id + b"}"
    try:
        text = strict_json.read(line)
    except NotJson:
        text = None
    if text is not None:  # so little damage that it is JSON: its members count, whatever they are now
        _check_envelope(line, text)
        return
    problem = verdict(line)
    assert isinstance(problem, WireError), f"read, but no JSON: {line!r}"
    assert problem.id == id, (line, problem.id)
    assert str(problem), line


def _id(choices: Choices) -> bytes:
    kind = choices.below(8)
    if kind < 3:
        return string(choices)
    if kind < 5:
        return choices.one_of((b"", b"-")) + b"%d" % (choices.below(65536) ** (1 + choices.below(60)))
    if kind == 5:
        return number(choices)
    if kind == 6:
        return value(choices)
    return choices.one_of((b"null", b'"0"', b'"-0"', b'"' + b"x" * 254 + b'"', b'"' + b"x" * 255 + b'"', b"9" * 257))


def _usual(choices: Choices) -> bytes:
    """A member's value, as often as not one that fits."""
    usual = (b'"2.0"', b'"ping"', b"1", b"{}", b'"1"', b"null", rb'"\u0070ing"', b"[]", b"-0", b"1.0")
    return choices.one_of(usual) if choices.below(3) else value(choices)


def verdict(line: bytes) -> Seen | WireError:
    """Everything that the codec reads of a line, or why it refuses it."""
    try:
        read = wire.decode(line)
    except WireError as problem:
        return problem
    return bytes(read.id), read.method, bytes(read.params), bytes(read.result), bytes(read.error), read.jsonrpc


def due(text: Text) -> Seen | None:
    """What has to be read of a JSON text; None where it is no message. Nesting aside."""
    if not text.is_object:
        return None
    members = text.members
    id = members.get("id", b"")
    if id and not ((is_string(id) or is_integer(id) or id == b"null") and len(id) <= wire.MAX_ID):
        return None
    words: list[str] = []
    for name in ("method", "jsonrpc"):
        word = members.get(name, b"null")
        if not is_string(word) and word != b"null":
            return None
        words.append(unquote(word) if is_string(word) else "")
    method, jsonrpc = words
    return id, method, members.get("params", b""), members.get("result", b""), members.get("error", b""), jsonrpc


def _check_no_json(line: bytes, problem: NotJson) -> None:
    read = verdict(line)
    assert isinstance(read, WireError), f"read, but no JSON: {line!r}"
    assert isinstance(read, ParseError) or problem.depth > wire.MAX_DEPTH, f"called JSON, but is none: {line!r}"


def _check_envelope(line: bytes, text: Text) -> None:
    """Both of the codec's readers see what is there."""
    expected = due(text) if text.depth <= wire.MAX_DEPTH else None
    lines = [line]
    if text.is_object:
        comma = b"," if text.names else b""
        lines.append(line.rstrip(b" \t\r")[:-1] + comma + b'"half":' + HALF + b"}")
    for one in lines:
        read = verdict(one)
        if isinstance(read, WireError):
            assert expected is None, f"refused: {one!r}"
            assert isinstance(read, InvalidMessage), f"called no JSON: {one!r}"
            assert read.id == due_id(text) or text.depth > wire.MAX_DEPTH, f"under another id: {one!r}"
        else:
            assert read == expected, one
    if expected is not None:
        _check_spliced(expected)


def due_id(text: Text) -> bytes | None:
    """The id under which an object that is no message has to be refused."""
    id = text.members.get("id", b"") if text.is_object else b""
    return id if (is_string(id) or is_integer(id)) and len(id) <= wire.MAX_ID else None


def _check_spliced(read: Seen) -> None:
    """What is written with the parts of a line has those parts."""
    id, method, params, result, error, _ = read
    told = strict_json.read(wire.notification(method, params)).members
    assert unquote(told["method"]) == method
    assert told.get("params", b"") == params
    asked = strict_json.read(wire.request(5, method, params)).members
    assert (asked["id"], asked.get("params", b"")) == (b"5", params)
    for write, name, payload in ((wire.result, "result", result), (wire.error, "error", error)):
        if id and payload:
            answer = strict_json.read(write(Raw(id), payload)).members
            assert (answer["id"], answer[name]) == (id, payload)


def _check_opened(line: bytes, text: Text) -> None:
    """Objects and arrays are opened to the bytes of what is in them, and closed again."""
    try:
        opened = wire.open_object(line)
    except WireError:
        assert not text.is_object or text.depth > wire.MAX_DEPTH, f"not opened: {line!r}"
    else:
        assert text.is_object, line
        assert {name: bytes(item) for name, item in opened.items()} == text.members, line
        assert strict_json.read(wire.close_object(opened)).members == text.members, line
    try:
        items = wire.open_array(line)
    except WireError:
        assert not text.is_array or text.depth > wire.MAX_DEPTH, f"not opened: {line!r}"
    else:
        assert text.is_array, line
        assert tuple(map(bytes, items)) == text.items, line


def _check_bits(line: bytes, text: Text | None) -> None:
    """What is read of a line that may be no message at all."""
    if text is None:
        for opened in (wire.open_object, wire.open_array):
            try:
                opened(line)
            except WireError:
                continue
            assert not strict_json.is_utf8(line), f"opened, but no JSON: {line!r}"
    string = unquote(text.value) if text is not None and is_string(text.value) else None
    assert wire.text(line) == string, line
    own = wire.number(line)
    assert own is None or own >= 0, line
    assert wire.is_batch(line) or text is None or not text.is_array, line
    id = wire.readable_id(line)
    if id is not None:
        try:
            whole = strict_json.read(id)
        except NotJson:
            raise AssertionError(f"{id!r} is no id, but read of {line!r}") from None
        assert is_string(whole.value) or is_integer(whole.value), line
        assert len(id) <= wire.MAX_ID, line
    pieces = wire.split_glued(line)
    assert text is None or not pieces, f"one text, but taken apart: {line!r}"
    assert all(strict_json.read(piece).is_object for piece in pieces), line
    assert text is None or text.depth == wire.depth(line), line
