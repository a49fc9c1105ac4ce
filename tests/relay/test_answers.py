"""What an answer of a server says, whatever it is."""

import pytest
from hypothesis import given
from msgspec import Raw

from proxy.relay import answers
from tests.support.json_texts import values


@pytest.mark.parametrize(
    ("error", "readable"),
    [
        (b'{"code":-32600,"message":"x"}', True),
        (b'{"code":0,"message":"","data":{"a":1}}', True),
        (b'{"code":-32600}', False),
        (b'{"message":"x"}', False),
        (b'{"code":"-32600","message":"x"}', False),
        (b'{"code":1.5,"message":"x"}', False),
        (b'{"code":1,"message":5}', False),
        (b'{"code":null,"message":"x"}', False),
        (b'"code message"', False),
        (b"[1]", False),
        (b"null", False),
    ],
)
def test_an_error_needs_a_code_and_a_message(error: bytes, readable: bool) -> None:
    assert answers.is_error(Raw(error)) is readable


@given(values())
def test_any_value_is_judged(value: bytes) -> None:
    answers.is_error(Raw(value))
    answers.is_tool_error(Raw(value))
    assert len(answers.shown(Raw(value)).encode()) <= 300


@pytest.mark.parametrize(("code", "read"), [(b"-32002", -32002), (b"7", 7), (b"1" * 5000, 0)])
def test_a_code_is_read_unless_it_is_none_that_anybody_knows(code: bytes, read: int) -> None:
    assert answers.code_of(b'{"code":' + code + b',"message":"x"}') == read


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        (b'{"isError":true}', True),
        (b'{"isError": true ,"content":[]}', True),
        (b'{"isError":false}', False),
        (b'{"isError":"true"}', False),
        (b'{"content":[{"isError":true}]}', False),
        (b'{"isError":1}', False),
        (b"[]", False),
    ],
)
def test_only_a_tool_that_says_so_has_failed(result: bytes, failed: bool) -> None:
    assert answers.is_tool_error(Raw(result)) is failed


def test_what_is_shown_of_an_error_hides_nothing_and_is_short() -> None:
    assert answers.shown(Raw(b'"\x1b[31mred\xff"')) == '"red\ufffd"'
    assert len(answers.shown(Raw(b'"' + b"x" * 10_000 + b'"')).encode()) <= 300
