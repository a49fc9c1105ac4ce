"""Lines of the log as people read them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.commands.readable import Readable
from proxy.config.models import LogSettings
from proxy.events import (
    CallFinished,
    CatalogueChanged,
    ClientConnected,
    ClientGone,
    Event,
    Noted,
    Notice,
    NotificationsDropped,
    QuestionFinished,
    RequestFinished,
    ServerOutput,
    ServerStartFinished,
    ServerStateChanged,
)
from proxy.telemetry.logs import build_logs
from proxy.telemetry.sink import LogSink

AT = 1767323045.6789
CALL = CallFinished("claude", "8f3b-11-22-33", "17", "git", "status", "ok", 1.2345, 345, 2345)
FAILED = CallFinished(
    "claude", "8f3b", "17", "", "", "error", 0.0, 1, 1, name="gti__x", reason="unknown tool", delivered="no"
)


@pytest.fixture(autouse=True)
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()


def logged(tmp_path: Path, event: Event) -> dict[str, Any]:
    """The record that the log has of an event."""
    sink = LogSink(tmp_path / "log")
    build_logs(LogSettings(level="debug", payloads="redacted"), sink=sink)(event, AT)
    sink.close()
    found: dict[str, Any] = json.loads((tmp_path / "log").read_text())
    return found


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (CALL, "git      status                       ok           1,234.5 ms #17 claude 8f3b-11-"),
        (
            FAILED,
            "gti__x                       error            0.0 ms unknown tool (delivered: no) #17 claude 8f3b",
        ),
        (
            RequestFinished("c", "s", "7", "git", "a://b", "ok", 0.001, 1, 2, method="resources/read"),
            "git      resources/read a://b         ok               1.0 ms #7 c s",
        ),
        (
            QuestionFinished("git", "s", "roots/list", "refused", 0.001, "nobody is there"),
            "git      asks roots/list              refused          1.0 ms nobody is there s",
        ),
        (ClientConnected("claude", "2.0", "s", "2025-11-25", "stdio"), "claude 2.0 connected (2025-11-25, stdio) s"),
        (ClientGone("claude", "s"), "claude is gone s"),
        (
            ServerStateChanged("git", "ready", "backoff", "it exited", 2.5),
            "ready -> backoff: it exited; again in 2.5 s",
        ),
        (ServerStartFinished("git", "ok", 0.5, "2025-11-25", "g", "1"), "started in 500 ms: g 1 2025-11-25"),
        (ServerStartFinished("git", "failed", 0.5), "did not start (500 ms)"),
        (CatalogueChanged("git", 5, 2, 1), "tools: 5 (+2 -1)"),
        (ServerOutput("git", "stderr", "warming up"), "git      | warming up"),
        (ServerOutput("git", "stdout", "hello"), "git      ! hello"),
        (Notice("warning", "mind the gap", "git"), "git      mind the gap"),
        (NotificationsDropped("s", "x/y", 3), "notifications_dropped method=x/y number=3"),
    ],
)
def test_each_kind_of_line_is_told_in_few_words(event: Event, shown: str, tmp_path: Path) -> None:
    date, line = Readable(colours=False)(logged(tmp_path, event)).split("\n")
    assert date == "-- 2026-01-02 --"
    assert line.startswith("08:34:05.678 ")
    assert shown in line


def test_payloads_and_tracebacks_stand_below_their_line(tmp_path: Path) -> None:
    show = Readable(colours=False)
    noted = Noted(arguments='{"a":1}', result="first\nsecond")
    call = CallFinished("c", "s", "1", "git", "status", "ok", 0.1, 1, 1, noted=noted)
    assert show(logged(tmp_path, call)).split("\n")[2:] == [
        '              arguments: {"a":1}',
        "              result: first",
        "              second",
    ]
    (tmp_path / "log").unlink()
    record = {"event": "log", "level": "error", "logger": "x.y", "text": "boom", "traceback": "Trace\n  File\nError"}
    assert show(record).split("\n") == [
        "                      x.y: boom",
        "              Trace",
        "                File",
        "              Error",
    ]


def test_sizes_of_arguments_are_told(tmp_path: Path) -> None:
    call = CallFinished("c", "s", "1", "git", "status", "ok", 0.1, 1, 1, noted=Noted(sizes={"path": 8, "n": 1}))
    assert "ms path:8 n:1 #1" in Readable(colours=False)(logged(tmp_path, call))


def test_the_date_is_told_where_it_changes() -> None:
    show = Readable(colours=False)
    shown = [show({"time": f"2026-01-02T{hour}:00:00.000Z", "event": "x"}) for hour in ("17", "18", "19", "20")]
    assert [text.count("\n") for text in shown] == [1, 0, 1, 0]
    assert shown[2].startswith("-- 2026-01-03 --\n00:30:00.000")
    assert "--" not in show({"event": "x"}), "it has no time"
    assert "\n" not in show({"time": "2026-01-02T20:00:01.000Z", "event": "x"})


def test_how_much_a_server_printed_beside_what_is_shown_is_told() -> None:
    record = {"event": "server_output_left_out", "server": "git", "lines": 300}
    assert "git      | (300 more lines, too many for the log)" in Readable(colours=False)(record)


def test_rows_of_the_audit_are_read_like_calls() -> None:
    row = {
        "time": "2026-01-02T03:04:05.678Z",
        "verdict": "refused",
        "tool": "",
        "name": "x",
        "outcome": "error",
        "ms": 1,
    }
    assert "x                            error" in Readable(colours=False)(row)


def test_colours_are_there_only_where_they_are_wanted(tmp_path: Path) -> None:
    record = logged(tmp_path, FAILED)
    plain, coloured = Readable(colours=False)(record), Readable(colours=True)(record)
    assert "\x1b" not in plain
    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("colours", [False, True])
def test_nothing_in_a_log_acts_on_the_terminal(colours: bool) -> None:
    show = Readable(colours=colours)
    evil = "a\x1b[2Jb\x07\r\u202ec\ud800"
    names = ("time", "level", "event", "server", "tool", "text", "reason", "arguments", "traceback", evil, "session")
    for event in ("call", "notice", "log", "server_output", "server_state", evil):
        text = show(dict.fromkeys(names, evil) | {"event": event, "argument_bytes": {evil: 1}}) + show.broken(
            evil.encode(errors="replace")
        )
        text.encode()
        assert not set(re.sub(r"\x1b\[[0-9;]*m", "", text)) & set("\x1b\x07\r\u202e")
        assert "\x1b[2J" not in text


@pytest.mark.parametrize(
    "record", [{}, {"time": 5, "ms": "x", "event": ["a"], "delay": None}, {"event": "catalogue"}, {"argument_bytes": 3}]
)
def test_a_record_of_any_shape_is_shown_somehow(record: dict[str, Any]) -> None:
    assert Readable(colours=False)(record) is not None


def test_a_line_that_is_none_of_ours_is_shown_as_it_is() -> None:
    assert Readable(colours=False).broken(b'{"time": 1, half \xff') == '{"time": 1, half \ufffd'
