"""The line of a call, for programs and for people: complete, without secrets, and one line whatever is in it."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.events import CallFinished, Noted
from proxy.telemetry.lines import console, of_calls, to_json
from proxy.telemetry.redact import MASK, Redactor
from proxy.tracecontext import Trace

AT = 1767323045.6789
SECRET = "4711-word"
FAILED = CallFinished(
    "claude", "8f3b", "17", "", "", "error", 0.0123456, 345, 99, name="gti__x", reason="no such tool", delivered="no"
)
TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "", "b7ad6b7169203331", "b9c7c989f97918e1", 1, "", 1.0)


def line_of(call: CallFinished) -> dict[str, object]:
    line: dict[str, object] = json.loads(to_json(of_calls([call], AT, Redactor([SECRET]), payloads=True)))
    return line


def test_a_call_that_failed_has_all_that_is_known_in_this_order() -> None:
    noted = Noted("hash", {"a": 1}, "{}", "none")
    line = line_of(msgspec.structs.replace(FAILED, noted=noted, trace=TRACE, waited=0.25))
    assert list(line.items()) == [
        ("time", "2026-01-02T03:04:05.678Z"), ("level", "info"), ("event", "call"), ("client", "claude"),
        ("session", "8f3b"), ("request_id", "17"), ("server", ""), ("tool", ""), ("outcome", "error"), ("ms", 12.346),
        ("bytes_in", 345), ("bytes_out", 99), ("name", "gti__x"), ("reason", "no such tool"), ("delivered", "no"),
        ("waited_ms", 250.0), ("trace_id", TRACE.trace_id), ("argument_bytes", {"a": 1}), ("arguments", "{}"),
        ("result", "none"),
    ]  # fmt: skip


def test_what_says_nothing_is_left_out() -> None:
    line = line_of(msgspec.structs.replace(FAILED, name="", reason="", noted=Noted("hash")))
    assert list(line)[-2:] == ["bytes_out", "delivered"]


@given(st.text(), st.text())
def test_no_secret_is_in_any_member(before: str, after: str) -> None:
    text = before + SECRET + after
    noted = Noted("hash", {text: 1}, text, text)
    call = CallFinished(text, text, text, text, text, "error", 0.1, 1, 2, name=text, reason=text, noted=noted)
    lines = of_calls([call], AT, Redactor([SECRET]), payloads=True)
    for shown in (to_json(lines), console(colours=False)(lines)):
        assert SECRET.encode() not in shown
        assert shown.count(MASK.encode()) >= 10
        assert shown.endswith(b"\n")
        assert len(shown.decode().splitlines()) == 1


def test_people_see_the_members_as_pairs() -> None:
    lines = of_calls([msgspec.structs.replace(FAILED, client="my client")], AT, Redactor(), payloads=True)
    assert console(colours=True)(lines).decode() == (
        "03:04:05.678 \x1b[32minfo   \x1b[0m call             "
        'client="my client" session=8f3b request_id=17 server="" tool="" outcome=error ms=12.346 bytes_in=345 '
        'bytes_out=99 name=gti__x reason="no such tool" delivered=no\n'
    )
