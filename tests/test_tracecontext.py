"""W3C Trace Context: what is well-formed is read, anything else is none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy.tracecontext import TraceParent, parse, state

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
HEX = "0123456789abcdef"


def test_a_parent_is_read() -> None:
    assert parse(f"00-{TRACE}-{SPAN}-01") == TraceParent(TRACE, SPAN, 1)
    assert parse(f"00-{TRACE}-{SPAN}-00") == TraceParent(TRACE, SPAN, 0)


def test_only_flags_that_are_known_are_taken() -> None:
    parent = parse(f"00-{TRACE}-{SPAN}-ff")
    assert parent is not None
    assert parent.sampled
    assert str(parent) == f"00-{TRACE}-{SPAN}-03"


@pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-bring", "-\n"])
def test_of_a_later_version_as_much_is_taken_as_ours_has(more: str) -> None:
    assert parse(f"01-{TRACE}-{SPAN}-01{more}") == TraceParent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "null",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_anything_else_is_no_parent(text: str | None) -> None:
    assert parse(text) is None


@given(
    st.text()
    | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True)
    | st.from_regex(r"00-[0-9a-g]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}", fullmatch=True)
)
def test_no_text_makes_it_raise_and_what_is_read_can_be_written(text: str) -> None:
    parent = parse(text)
    if parent is None:
        return
    assert parse(str(parent)) == parent
    assert text[3:52] == str(parent)[3:52]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", str(parent))


@given(
    st.builds(
        "-".join,
        st.tuples(
            st.sampled_from(["00", "01", "cc", "ff"]),
            st.text(HEX, min_size=32, max_size=32) | st.just("0" * 32),
            st.text(HEX, min_size=16, max_size=16) | st.just("0" * 16),
            st.text(HEX, min_size=2, max_size=2),
        ),
    )
)
def test_it_agrees_with_the_sdk(text: str) -> None:
    context = TraceContextTextMapPropagator().extract({"traceparent": text})
    theirs = get_current_span(context).get_span_context()
    ours = parse(text)
    assert (ours is not None) == theirs.is_valid
    if ours is not None:
        assert (int(ours.trace_id, 16), int(ours.span_id, 16)) == (theirs.trace_id, theirs.span_id)
        assert ours.sampled == theirs.trace_flags.sampled


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("fw529a3039@dt=FfAAAQ,\t a=b ", "fw529a3039@dt=FfAAAQ,a=b"),
        ("a=b,,c=d,", "a=b,c=d"),
        (",".join(f"k{number}=v" for number in range(32)), ",".join(f"k{number}=v" for number in range(32))),
        (",".join(f"k{number}=v" for number in range(33)), ""),
        ("a=b,a=c", ""),
        ("A=b", ""),
        ("a=", ""),
        ("a=b=c", ""),
        ("a=\x1b[31m", ""),
        ("größe=b", ""),
        ("a", ""),
        ("", ""),
        (None, ""),
        ("a=" + "b" * 257, ""),
        ("a=b" + "," * 9000, ""),
    ],
)
def test_a_state_is_taken_if_it_is_well_formed(text: str | None, read: str) -> None:
    assert state(text) == read


@given(st.text() | st.lists(st.from_regex(r"[a-z@=]{1,5}=[ -~]{0,9}", fullmatch=True)).map(",".join))
def test_what_is_taken_of_a_state_stays_as_it_is(text: str) -> None:
    read = state(text)
    assert state(read) == read
    assert read.isascii()
    assert read.isprintable()
