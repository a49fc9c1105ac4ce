"""Lines and envelopes: bytes pass unchanged, ids keep their type, and nothing malformed does harm.

What holds of any bytes is tried in `test_wire_properties.py`.
"""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proxy import wire
from proxy.errors import InvalidMessage, ParseError, WireError
from tests.fuzz.codec import HALF, check_any_line
from tests.support.json_texts import SPACE, array, object_, strings, values
from tests.support.spans import members


def fed(framer: wire.Framer, chunks: list[bytes]) -> list[bytes]:
    return [line for chunk in chunks for line in framer.feed(chunk)]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Bounds the memory that is in use at any moment within."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= size


# Framing


@pytest.mark.parametrize("size", [1, 7, 4096, 100_000])
def test_the_start_of_a_line_that_is_too_long_is_kept(size: int) -> None:
    framer = wire.Framer(50_000)
    line = b'{"jsonrpc":"2.0","id":17,"result":"' + b"x" * 100_000 + b'"}\n'
    assert fed(framer, [line[at : at + size] for at in range(0, len(line), size)]) == []
    assert framer.take_overlong() == [line[:4096]]
    assert framer.feed(b"next\n") == [b"next"]


def test_a_stream_that_ends_within_a_line_has_a_rest() -> None:
    framer = wire.Framer(10)
    assert framer.feed(b"one\ntw") == [b"one"]
    assert framer.feed(b"o") == []
    assert framer.rest() == b"two"
    assert framer.rest() == b""
    framer.feed(b"  \t")
    assert framer.rest() == b""
    framer.feed(b"x" * 11)
    assert framer.rest() == b""


def test_an_endless_line_takes_bounded_memory() -> None:
    framer = wire.Framer(100_000)
    chunk = b"x" * 4096
    with at_most(1_000_000):
        for _ in range(5000):
            framer.feed(chunk)
    assert len(framer.take_overlong()) == 1


def test_a_line_that_comes_in_portions_of_two_bytes_takes_little_more_memory_than_it_has_bytes() -> None:
    framer = wire.Framer()
    with at_most(150_000):
        for at in range(50_000):
            framer.feed(b"x%c" % (at & 127 | 64))
    assert len(framer.rest()) == 100_000


def test_lines_that_are_too_long_are_told_in_their_order_and_blank_ones_too() -> None:
    framer = wire.Framer(3)
    assert framer.feed(b"first\n    \nok\nlast") == [b"ok"]
    assert framer.take_overlong() == [b"first", b"    ", b"last"]


def test_a_stream_of_lines_that_are_too_long_takes_bounded_memory() -> None:
    framer = wire.Framer(10_000)
    with at_most(1_000_000):
        for _ in range(1000):
            framer.feed(b"x" * 20_000 + b"\n")
            framer.take_overlong()


# Payloads


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 120 + b"]" * 120,
        b"-" + b"9" * 10_000 + b"." + b"9" * 10_000,
        b"[" + b"9" * 10_000 + b"," + HALF + b"]",
        b"[" * 120 + HALF + b"]" * 120,
    ],
    ids=["deep", "long number", "long number beside half", "deep half"],
)
def test_long_numbers_and_deep_payloads_pass_byte_for_byte(payload: bytes) -> None:
    read = wire.decode(b'{"jsonrpc":"2.0","id":1,"result":' + payload + b"}")
    assert bytes(read.result) == payload
    assert wire.result(read.id, read.result) == b'{"jsonrpc":"2.0","id":1,"result":' + payload + b"}\n"


@settings(max_examples=40)
@given(st.lists(st.tuples(strings(), values()), max_size=5), SPACE)
def test_an_object_is_opened_and_closed_without_a_change_to_its_values(
    written: list[tuple[bytes, bytes]], space: bytes
) -> None:
    opened = wire.open_object(object_(written, space))
    expected = {json.loads(name): value for name, value in written}
    assert {name: bytes(value) for name, value in opened.items()} == expected
    assert list(opened) == list(expected)
    closed = wire.close_object(opened)
    assert members(closed) == expected
    assert wire.open_object(closed) == opened


@settings(max_examples=40)
@given(st.lists(values(), max_size=5), SPACE)
def test_an_array_is_opened_without_a_change_to_its_elements(items: list[bytes], space: bytes) -> None:
    assert [bytes(item) for item in wire.open_array(array(items, space))] == items


@settings(max_examples=40)
@given(st.lists(st.tuples(strings(halves=False), values(halves=False)), max_size=5), SPACE)
def test_both_readers_see_the_same_object(written: list[tuple[bytes, bytes]], space: bytes) -> None:
    fast = wire.open_object(object_(written, space))
    slow = wire.open_object(object_([*written, (b'"half"', HALF)], space))
    assert bytes(slow.pop("half")) == HALF
    assert {name: bytes(value) for name, value in slow.items()} == {name: bytes(value) for name, value in fast.items()}


@settings(max_examples=40)
@given(st.lists(values(halves=False), max_size=5), SPACE)
def test_both_readers_see_the_same_array(items: list[bytes], space: bytes) -> None:
    fast = wire.open_array(array(items, space))
    slow = wire.open_array(array([*items, HALF], space))
    assert [bytes(item) for item in slow] == [*map(bytes, fast), HALF]


@given(strings())
def test_texts_are_read_and_written_whole(raw: bytes) -> None:
    value = wire.text(raw)
    assert value is not None
    assert value == json.loads(raw)
    assert json.loads(wire.encode_text(value)) == value
    assert members(b'{"first":1' + wire.member(value) + b"2}")[value] == b"2" or value == "first"


@pytest.mark.parametrize(
    "raw", [None, b"", b"null", b"7", b"[]", b'["a"]', b"{}", b'"open', b"nonsense", b'"\xff"', b'"\n"']
)
def test_what_is_no_text_is_none(raw: bytes | None) -> None:
    assert wire.text(raw) is None


# Ids


@pytest.mark.parametrize("id", [b"true", b"1.0", b"1e2", b"[]", b"{}", b"[1]", b'"' + b"x" * 255 + b'"', b"9" * 257])
def test_what_can_be_no_id_is_refused(id: bytes) -> None:
    with pytest.raises(InvalidMessage):
        wire.decode(b'{"jsonrpc":"2.0","id":' + id + b',"method":"ping"}')


@pytest.mark.parametrize(
    ("raw", "number"),
    [(b"7", 7), (b"0", 0), (b'"7"', 7), (b"9" * 18, 10**18 - 1), (b"", None), (b"-7", None), (b"7.0", None)]
    + [(raw, None) for raw in (b'""', b'"a"', b"null", b"9" * 400, b"[7]", rb'"\u0037"', "٣".encode())],
)
def test_only_plain_digits_are_a_number_of_ours(raw: bytes, number: int | None) -> None:
    assert wire.number(raw) == number


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"cut of', b"7"),
        (b'{"id" : -12 ,', b"-12"),
        (rb'{"id":"a\"b","x', rb'"a\"b"'),
        (b'{"jsonrpc":"2.0","id":1.0,"result":{}}', b"1"),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 25 + b",", None),
        (b'{"jsonrpc":"2.0","id":007,"method":"x"}', None),
        (b'{"jsonrpc":"2.0","id":-0,"method":', b"-0"),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 300 + b'","x', None),
        (b'{"jsonrpc":"2.0","id":null,', None),
        (b'{"jsonrpc":"2.0","id":', None),
        (b'{"idx":7', None),
        (b'{"result":{"id":5,"x":NaN},"id":7}', b"7"),
        (b'{"error":{"id":5,"x":NaN} , "id" : "a" , "jsonrpc":"2.0" } ', b'"a"'),
        (b'{"jsonrpc":"2.0","result":{"id":5,"x":"cut of', None),
        (b'{"jsonrpc":"2.0","method":"x","params":{"id":5,', None),
        (rb'{"id":"\x","result":', None),
        (b"x" * 5000 + b'"id":7', None),
        (b"", None),
    ],
)
def test_the_id_of_a_broken_line_is_read_where_it_is_plain(line: bytes, id: bytes | None) -> None:
    assert wire.readable_id(line) == id


def test_a_message_with_a_member_of_the_wrong_type_is_refused_under_its_own_id() -> None:
    for line, id in (
        (b'{"x":{"id":5},"id":7,"method":{}}', b"7"),
        (b'{"id":5,"id":"a","jsonrpc":2.0}', b'"a"'),
        (b'{"x":{"id":5},"method":{}}', None),
        (b'{"id":5,"id":[],"method":{}}', None),
        (b'{"id":null,"method":{}}', None),
    ):
        with pytest.raises(InvalidMessage) as caught:
            wire.decode(line)
        assert caught.value.id == id


def test_a_broken_line_carries_its_id_to_who_must_be_told() -> None:
    for line in (
        b'{"id":7,"method":',
        b'{"id":7,"method":5}',
        b'{"id":7,"method":"a","params":' + b"[" * 9000 + b"]" * 9000 + b"}",
    ):
        with pytest.raises(WireError) as caught:
            wire.decode(line)
        assert caught.value.id == b"7"


# What is malformed


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xef\xbb\xbf{}",
        b'{"\xff":1}',
        b'{"method":"\xff"}',
        b'"\x00a\x00"\x00',
        b"{" * 100_000,
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b'{"a":' + HALF + b',"b":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'"' * 10_000,
        b"{" + b"," * 100_000,
        b'{"id":' + b"9" * 100_000 + b',"x":' + HALF + b"}",
        b'{"id":7,"x":{"id":5},"method":{}}',
    ],
    ids=lambda line: repr(line[:20]),
)
def test_what_is_hard_to_read_is_read_or_refused(line: bytes) -> None:
    check_any_line(line)


fragments = (
    b'"a"',
    b":",
    b",",
    b"1",
    b"-",
    b".5",
    b"e1",
    b"0",
    b"null",
    b"[",
    b"]",
    b"{",
    b"}",
    b'{"a":',
    HALF,
    b"NaN",
    b" ",
)


@given(st.lists(st.sampled_from(fragments), max_size=8).map(b"".join))
def test_what_is_read_is_json_and_what_is_json_is_read(inner: bytes) -> None:
    text = b'{"x":' + inner + b"}"
    try:
        json.loads(text)
        is_json = b"NaN" not in text
    except ValueError:
        is_json = False
    try:
        wire.open_object(text)
        read = True
    except WireError:
        read = False
    assert read == is_json


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"{",
        b"}",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b'{"a":1}{"b":2}',
        b'{"a":"\n"}',
        b'{"a":"\xc3"}',
        rb'{"a":"\x"}',
        b'{"a":1}\x00',
        b"\xef\xbb\xbf{}",
        b'{"a":"\x1b[0m"}',
        rb'{"a":"\ud800"',
        b"[1",
        b'"a',
    ],
)
def test_what_is_no_json_is_a_parse_error(line: bytes) -> None:
    with pytest.raises(ParseError) as caught:
        wire.decode(line)
    assert caught.value.code == -32700


@pytest.mark.parametrize("shift", range(4))
def test_a_long_text_of_long_characters_is_read_and_damage_to_any_of_them_seen(shift: int) -> None:
    line = b'{"id":1,"result":"' + b"a" * shift + "😀".encode() * 40_000 + b'"}'
    assert wire.decode(line).result
    for at in (100, 65_535, 65_536, 65_537, 131_072, len(line) - 4):
        with pytest.raises(ParseError):
            wire.decode(line[:at] + b"\xff" + line[at + 1 :])
        with pytest.raises(ParseError):
            wire.decode(line[:at] + line[at + 1 :])


@pytest.mark.parametrize(
    "line", [b"[]", b"null", b"7", b'"text"', b"true", b'{"method":7}', b'{"jsonrpc":2.0}', b'{"id":[]}']
)
def test_what_is_json_but_no_message_is_an_invalid_one(line: bytes) -> None:
    with pytest.raises(InvalidMessage) as caught:
        wire.decode(line)
    assert caught.value.code == -32600


@pytest.mark.parametrize("half", [b"", HALF])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_nesting_passes_up_to_its_limit_and_is_refused_beyond(opening: bytes, closing: bytes, half: bytes) -> None:
    def nested(depth: int) -> bytes:
        return b'{"id":7,"result":' + opening * (depth - 1) + (half or b"1") + closing * (depth - 1) + b"}"

    assert wire.decode(nested(wire.MAX_DEPTH)).result
    for depth in (wire.MAX_DEPTH + 1, 5000, 200_000):
        with pytest.raises(InvalidMessage, match="nested deeper") as caught:
            wire.decode(nested(depth))
        assert caught.value.id == b"7"


def test_brackets_in_texts_and_beside_each_other_are_no_nesting() -> None:
    for inner in (b'"' + b"[{" * 500 + b'"', b'"\\"[[' + b"[" * 500 + b'"', b"[" + b"[],{}," * 500 + b'"]}"]'):
        assert wire.decode(b'{"id":1,"result":' + inner + b"}").result


# Several on one line


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        (b'{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
        ('{"a":"é"} \t{"b":"}{"}{}'.encode(), ['{"a":"é"}'.encode(), b'{"b":"}{"}', b"{}"]),
        (rb'{"a":"\ud800"}{"b": 1e400}', [rb'{"a":"\ud800"}', b'{"b": 1e400}']),
        (b"{}" * 16, [b"{}"] * 16),
    ],
)
def test_objects_behind_each_other_are_told_apart(line: bytes, pieces: list[bytes]) -> None:
    assert wire.split_glued(line) == pieces


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"{} x",
        b"x {}{}",
        b'{}{"a":',
        b"{}[]",
        b"{}7",
        b"[][]",
        b"{},{}",
        b"{}" * 17,
        b"{}\xff{}",
        b"{" * 9000,
    ],
)
def test_what_is_not_just_objects_behind_each_other_is_left_alone(line: bytes) -> None:
    assert wire.split_glued(line) == []


@pytest.mark.parametrize(
    ("text", "depth"),
    [(b"7", 0), (b'"[[["', 0), (b"[]", 1), (b'{"a":[1,{"]":[]}],"b":{}}', 4), (b"[[],[[]],[]]", 3), (rb'["\"[["]', 1)],
)
def test_depth_is_counted_in_levels(text: bytes, depth: int) -> None:
    assert wire.depth(text) == depth


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"text":"' + rb"\"a" * 500_000,
        b'{"jsonrpc":"2.0","id":1,"result":{"text":"' + b"x" * 2_000_000,
        b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 2_000_000,
        b"{" + b'"":' * 500_000,
        b"{" + b"," * 2_000_000,
        b'"' * 2_000_000,
        b"\\" * 2_000_000,
    ],
    ids=["escapes", "string", "arrays", "names", "commas", "quotes", "backslashes"],
)
def test_a_long_broken_line_is_refused_in_time_and_memory_of_its_length(line: bytes) -> None:
    """In more than linear time the suite would not come to an end."""
    with at_most(12 * len(line)), pytest.raises(WireError):
        wire.decode(line)


def test_a_long_line_with_half_a_character_is_read_in_memory_of_its_length() -> None:
    payload = b'{"text":"' + b"x" * 1_000_000 + rb"\n" * 500_000 + b'","half":' + HALF + b"}"
    line = b'{"jsonrpc":"2.0","id":1,"result":' + payload + b"}"
    with at_most(12 * len(line)):
        assert bytes(wire.decode(line).result) == payload


# What we write ourselves


@pytest.mark.parametrize(
    ("line", "written"),
    [
        (wire.request(7, "tools/list"), {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}),
        (wire.request(7, "ping", b"{}"), {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {}}),
        (wire.notification("x/y"), {"jsonrpc": "2.0", "method": "x/y"}),
        (wire.result(b'"a"', b"[1]"), {"jsonrpc": "2.0", "id": "a", "result": [1]}),
        (wire.error(b"null", b'{"code":1}'), {"jsonrpc": "2.0", "id": None, "error": {"code": 1}}),
    ],
)
def test_our_own_lines_are_json_rpc_and_end(line: bytes, written: object) -> None:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == written


def test_an_empty_object_is_closed() -> None:
    assert wire.close_object({}) == b"{}"


@pytest.mark.parametrize(
    ("line", "batch"), [(b"[]", True), (b" \t[1", True), (b"{}", False), (b"", False), (b'"["', False)]
)
def test_a_batch_is_told_by_its_bracket(line: bytes, batch: bool) -> None:
    assert wire.is_batch(line) is batch


@pytest.mark.parametrize(
    ("raw", "there"), [(None, False), (b"", False), (b"null", False), (b"{}", True), (b"0", True), (b"false", True)]
)
def test_null_is_the_same_as_nothing(raw: bytes | None, there: bool) -> None:
    assert (wire.given(None if raw is None else Raw(raw)) is not None) is there
