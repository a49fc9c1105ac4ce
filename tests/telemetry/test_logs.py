"""What a reader of the log finds, event by event."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.models import LogFormat, LogLevel, LogSettings, Payloads
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
    ServerRemoved,
    ServerStartFinished,
    ServerStateChanged,
)
from proxy.telemetry.logs import BURST, RATE, LogObserver, LogSink, build_logs
from proxy.telemetry.redact import Redactor
from proxy.texts import clean
from proxy.tracecontext import Trace

AT = 1767323045.6789

CALL = CallFinished(
    client="claude-code",
    session="8f3b",
    request_id="17",
    server="github",
    tool="create_issue",
    outcome="ok",
    seconds=0.0123456,
    bytes_in=345,
    bytes_out=2345,
)


class Log:
    """An observer with everything it has written, on a clock that is set by hand."""

    def __init__(
        self,
        folder: Path,
        *,
        level: LogLevel = "info",
        format: LogFormat = "json",
        redactor: Redactor | None = None,
        levels: dict[str, LogLevel] | None = None,
        payloads: Payloads = "redacted",
    ) -> None:
        self.now = 1000.0
        self.file = folder / "manifold.log"
        self.sink = LogSink(self.file)
        settings = LogSettings(level=level, format=format, levels=levels or {}, payloads=payloads)
        self.observer: LogObserver = build_logs(settings, sink=self.sink, redactor=redactor, clock=lambda: self.now)

    def __call__(self, *events: Event) -> list[dict[str, Any]]:
        """Observe; the lines that these events made."""
        before = len(self.text())
        for event in events:
            self.observer(event, AT)
        return [json.loads(line) for line in self.text()[before:].splitlines()]

    def text(self) -> str:
        return self.file.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


def test_a_call_is_one_line_with_its_keys_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log(CALL)
    assert log.text() == (
        '{"time":"2026-01-02T03:04:05.678Z","level":"info","event":"call","client":"claude-code","session":"8f3b",'
        '"request_id":"17","server":"github","tool":"create_issue","outcome":"ok","ms":12.346,'
        '"bytes_in":345,"bytes_out":2345}\n'
    )


def test_what_was_noted_of_the_payload_is_at_the_end_of_a_calls_line(tmp_path: Path) -> None:
    noted = Noted("a hash", {"pass-4711-word": 12, "n": 1}, '{"n":1}', "it is 4711-word")
    (line,) = Log(tmp_path, redactor=Redactor(["4711-word"]))(msgspec.structs.replace(CALL, noted=noted))
    assert list(line)[-3:] == ["argument_bytes", "arguments", "result"]
    assert line["argument_bytes"] == {"pass-***": 12, "n": 1}
    assert (line["arguments"], line["result"]) == ('{"n":1}', "it is ***")


def test_what_the_audit_alone_has_asked_for_is_not_in_the_log(tmp_path: Path) -> None:
    noted = Noted("a hash", {"n": 1}, '{"n":1}', "it is so")
    (line,) = Log(tmp_path, payloads=False)(msgspec.structs.replace(CALL, noted=noted))
    assert "a hash" not in line.values()
    assert not {"argument_bytes", "arguments", "result"} & line.keys()


@pytest.mark.parametrize("levels", [{}, {"github": "warning"}, {"github": "info", "other": "warning"}])
def test_calls_that_end_together_are_lines_like_those_of_each_alone(
    levels: dict[str, LogLevel], tmp_path: Path
) -> None:
    calls = [
        msgspec.structs.replace(CALL, server=server, request_id=str(number))
        for number, server in enumerate(("github", "other", "github"))
    ]
    (tmp_path / "alone").mkdir()
    alone, together = Log(tmp_path / "alone", levels=levels), Log(tmp_path, levels=levels)
    together.observer.take_calls(calls, AT)
    assert together.lines() == alone(*calls)
    assert [line["server"] for line in together.lines()] == [
        call.server for call in calls if levels.get(call.server) != "warning"
    ]


def test_a_call_that_only_the_audit_looked_at_has_the_same_line_as_any(tmp_path: Path) -> None:
    plain, hashed = Log(tmp_path)(CALL, msgspec.structs.replace(CALL, noted=Noted("a hash")))
    assert plain == hashed


@pytest.mark.parametrize("kind", [CallFinished, RequestFinished])
def test_what_failed_tells_whether_its_server_got_it(kind: type[RequestFinished], tmp_path: Path) -> None:
    failed = kind("c", "s", "7", "git", "x", "timeout", 0.001, 1, 2, reason="too slow", delivered="maybe")
    well = msgspec.structs.replace(failed, outcome="ok", reason="", delivered="yes")
    one, other = Log(tmp_path, level="debug")(failed, well)
    assert one["delivered"] == "maybe"
    assert "delivered" not in other


@pytest.mark.parametrize("kind", [CallFinished, RequestFinished])
def test_a_line_of_a_request_joins_with_its_session_its_server_and_its_trace(
    kind: type[RequestFinished], tmp_path: Path
) -> None:
    trace = Trace("0af7651916cd43dd8448eb211c80319c", "", "b7ad6b7169203331", "b9c7c989f97918e1", 1, "", 1.0)
    event = kind("c", "s", "7", "git", "x", "ok", 0.001, 1, 2, trace=trace, waited=0.5)
    (line,) = Log(tmp_path, level="debug")(event)
    joined = {"session": "s", "request_id": "7", "server": "git", "trace_id": trace.trace_id, "waited_ms": 500.0}
    assert joined.items() <= line.items()
    assert "trace" not in line


def test_a_file_that_cannot_be_moved_aside_is_told_in_the_logs_own_words(tmp_path: Path) -> None:
    (tmp_path / "manifold.log.1").mkdir()
    sink = LogSink(tmp_path / "manifold.log", most=10, keep=1)
    build_logs(LogSettings(), sink=sink)(CALL, AT)
    sink.write(b"more\n")
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "manifold.log").read_text().splitlines() if line != "more"]
    assert [(line["level"], line["event"]) for line in lines] == [("info", "call"), ("warning", "log_not_rotated")]


def test_a_call_that_found_no_tool_keeps_all_keys(tmp_path: Path) -> None:
    (line,) = Log(tmp_path)(msgspec.structs.replace(CALL, server="", tool="", outcome="error"))
    assert line["server"] == line["tool"] == ""
    assert line["level"] == "info"


def test_a_call_that_we_failed_says_why_and_what_was_asked_for(tmp_path: Path) -> None:
    failed = msgspec.structs.replace(CALL, server="", tool="", outcome="error", name="gti__x", reason="unknown tool")
    (line,) = Log(tmp_path)(failed)
    assert (line["name"], line["reason"]) == ("gti__x", "unknown tool")


@pytest.mark.parametrize(
    ("event", "level", "told"),
    [
        (
            RequestFinished("c", "s", "7", "git", "a://b", "ok", 0.001, 1, 2, method="resources/read"),
            "debug",
            {
                "event": "request",
                "client": "c",
                "session": "s",
                "request_id": "7",
                "server": "git",
                "tool": "a://b",
                "outcome": "ok",
                "ms": 1.0,
                "bytes_in": 1,
                "bytes_out": 2,
                "method": "resources/read",
            },
        ),
        (
            QuestionFinished("git", "s", "roots/list", "refused", 0.0, "several clients have calls in flight"),
            "info",
            {
                "event": "question",
                "server": "git",
                "session": "s",
                "method": "roots/list",
                "outcome": "refused",
                "ms": 0.0,
                "reason": "several clients have calls in flight",
            },
        ),
        (
            NotificationsDropped("8f3b", "notifications/message", 7),
            "warning",
            {
                "event": "notifications_dropped",
                "session": "8f3b",
                "method": "notifications/message",
                "number": 7,
            },
        ),
        (
            ClientConnected("claude-code", "2.1", "8f3b", "2025-11-25"),
            "info",
            {
                "event": "client_connected",
                "client": "claude-code",
                "version": "2.1",
                "session": "8f3b",
                "protocol": "2025-11-25",
            },
        ),
        (
            ClientGone("claude-code", "8f3b"),
            "info",
            {"event": "client_gone", "client": "claude-code", "session": "8f3b"},
        ),
        (
            ServerStateChanged("git", "idle", "starting"),
            "debug",
            {"event": "server_state", "server": "git", "old": "idle", "new": "starting"},
        ),
        (
            ServerStateChanged("git", "starting", "ready"),
            "info",
            {"event": "server_state", "server": "git", "old": "starting", "new": "ready"},
        ),
        (
            ServerStateChanged("git", "ready", "backoff", "it exited with code 3", 0.25012345),
            "warning",
            {
                "event": "server_state",
                "server": "git",
                "old": "ready",
                "new": "backoff",
                "reason": "it exited with code 3",
                "delay": 0.25,
            },
        ),
        (
            ServerStateChanged("git", "ready", "stopped", "its entry changed"),
            "info",
            {"event": "server_state", "server": "git", "old": "ready", "new": "stopped", "reason": "its entry changed"},
        ),
        (
            ServerStateChanged("git", "backoff", "failed", "no such command"),
            "error",
            {"event": "server_state", "server": "git", "old": "backoff", "new": "failed", "reason": "no such command"},
        ),
        (
            ServerStartFinished("git", "ok", 1.5, "2025-06-18", "mcp-git", "1.0"),
            "info",
            {
                "event": "server_start",
                "server": "git",
                "outcome": "ok",
                "ms": 1500.0,
                "protocol": "2025-06-18",
                "name": "mcp-git",
                "version": "1.0",
            },
        ),
        (
            ServerStartFinished("git", "failed", 30.0),
            "debug",
            {"event": "server_start", "server": "git", "outcome": "failed", "ms": 30000.0},
        ),
        (
            CatalogueChanged("git", 12, 2, 1),
            "info",
            {"event": "catalogue", "server": "git", "entries": 12, "added": 2, "removed": 1, "kind": "tools"},
        ),
        (
            ServerOutput("git", "stderr", "listening"),
            "info",
            {"event": "server_output", "server": "git", "stream": "stderr", "text": "listening"},
        ),
        (
            ServerOutput("git", "stdout", "banner"),
            "info",
            {"event": "server_output", "server": "git", "stream": "stdout", "text": "banner"},
        ),
        (Notice("error", "something"), "error", {"event": "notice", "text": "something"}),
        (
            Notice("debug", "something", "git"),
            "debug",
            {"event": "notice", "text": "something", "server": "git"},
        ),
    ],
)
def test_each_event_says_what_it_knows(event: Event, level: str, told: dict[str, Any], tmp_path: Path) -> None:
    (line,) = Log(tmp_path, level="debug")(event)
    assert line == {"time": "2026-01-02T03:04:05.678Z", "level": level, **told}


# Those that are no events of the proxy.
OF_ITS_OWN = {
    "server_output_left_out": {"server", "lines"},
    "log": {"logger", "text", "traceback"},
    "log_lines_dropped": {"lines"},
    "log_not_rotated": {"reason"},
}


def filled(kind: type[Event]) -> Event:
    """An event of this kind that has a value wherever it can."""
    known = {"outcome": "error", "seconds": 1.0, "waited": 1.0, "delay": 1.0, "age": 1.0, "level": "error"} | {
        "trace": Trace("a" * 32, "", "b" * 16, "c" * 16, 1, "", 1.0),
        "noted": Noted(sizes={"a": 1}, arguments="{}", result="{}"),
    }
    return kind(**{name: known.get(name, "x") for name in kind.__struct_fields__})


def test_the_documentation_names_each_event_with_all_its_members(tmp_path: Path) -> None:
    log = Log(tmp_path, level="debug")
    kinds = {*Event.__subclasses__(), *RequestFinished.__subclasses__()}
    told = OF_ITS_OWN | {line.pop("event"): set(line) for kind in kinds for line in log(filled(kind))}
    text = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
    table = text.partition("| `event` |")[2].partition("\n\n")[0]
    rows = [[set(re.findall(r"`(\w+)`", cell)) for cell in row.split(" | ")] for row in table.splitlines()[2:]]
    documented = dict[str, set[str]]()
    for names, _, members in rows:
        same = documented["call"] - {"argument_bytes", "arguments", "result"} if "request" in names else set[str]()
        for name in names:
            documented[name] = members - {"yes", "no", "maybe"} | same
        assert documented[min(names)] == set[str]().union(*(told[name] for name in names)) - {"time", "level"}, names
    assert documented.keys() == told.keys()


def test_a_server_that_stays_away_for_the_same_reason_is_told_of_once_and_again_when_it_was_back(
    tmp_path: Path,
) -> None:
    def backoff(reason: str) -> Event:
        return ServerStateChanged("git", "starting", "backoff", reason, 0.1)

    log = Log(tmp_path)
    assert len(log(backoff("it exited"), backoff("it exited"), backoff("it exited"))) == 1
    assert [line["reason"] for line in log(backoff("no licence"), backoff("no licence"))] == ["no licence"]
    assert len(log(ServerStateChanged("other", "starting", "backoff", "no licence", 0.1))) == 1
    given_up = log(ServerStateChanged("git", "starting", "failed", "no licence; it failed too often"))
    assert [line["level"] for line in given_up] == ["error"]
    for back in ("ready", "stopped"):
        log(ServerStateChanged("git", "starting", back))
        assert [line["level"] for line in log(backoff("no licence"))] == ["warning"]


def test_when_debugging_every_start_that_fails_is_told(tmp_path: Path) -> None:
    again = ServerStateChanged("git", "starting", "backoff", "it exited", 0.1)
    assert [line["level"] for line in Log(tmp_path, level="debug")(again, again)] == ["warning", "debug"]


def test_an_event_that_is_new_to_the_log_is_written_under_its_own_name(tmp_path: Path) -> None:
    class QuotaReached(Event, frozen=True):
        server: str
        seconds: float

    (line,) = Log(tmp_path)(QuotaReached("git", 1.0))
    assert (line["event"], line["server"], line["ms"]) == ("quota_reached", "git", 1000.0)


def test_an_event_without_a_time_happened_just_now(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.observer(CALL)
    assert log.lines()[0]["time"] > "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_what_reaches_the_level_is_written(level: LogLevel, shown: list[str], tmp_path: Path) -> None:
    every: list[LogLevel] = ["debug", "info", "warning", "error"]
    lines = Log(tmp_path, level=level)(*(Notice(each, "text") for each in every))
    assert [line["level"] for line in lines] == shown


def test_a_server_may_have_a_level_of_its_own(tmp_path: Path) -> None:
    log = Log(tmp_path, level="warning", levels={"git": "debug", "noisy": "error"})
    heard = log(
        CALL,
        msgspec.structs.replace(CALL, server="git"),
        RequestFinished("c", "s", "7", "git", "x", "ok", 0.001, 1, 2, method="prompts/get"),
        RequestFinished("c", "s", "7", "time", "x", "ok", 0.001, 1, 2, method="prompts/get"),
        ServerOutput("git", "stderr", "git says"),
        ServerOutput("noisy", "stderr", "noise"),
        ServerStateChanged("noisy", "ready", "backoff", "it ended"),
        ServerStateChanged("time", "ready", "backoff", "it ended"),
        ServerStateChanged("noisy", "backoff", "failed", "it ended"),
        Notice("warning", "of all"),
        Notice("info", "of all"),
    )
    assert [(line["event"], line.get("server", "")) for line in heard] == [
        ("call", "git"), ("request", "git"), ("server_output", "git"),
        ("server_state", "time"), ("server_state", "noisy"), ("notice", ""),
    ]  # fmt: skip
    log.observer.log("info", "log", text="of a library")
    assert log.lines()[len(heard) :] == []


def test_calls_are_not_written_above_info(tmp_path: Path) -> None:
    assert Log(tmp_path, level="warning")(CALL) == []


# -- a server that talks


def output(number: int, server: str = "loud") -> ServerOutput:
    return ServerOutput(server, "stderr", f"line {number}")


def test_a_flood_from_one_server_is_cut_and_told_of_once_a_second(tmp_path: Path) -> None:
    log = Log(tmp_path)
    burst = log(*(output(number) for number in range(1000)))
    assert [line["text"] for line in burst] == [f"line {number}" for number in range(int(BURST))]

    log.now += 0.5
    assert log(output(1000)) == []
    log.now += 0.5
    lines = log(*(output(number) for number in range(1001, 1100)))
    assert lines[0]["event"] == "server_output_left_out"
    assert (lines[0]["server"], lines[0]["lines"]) == ("loud", 901)
    assert [line["text"] for line in lines[1:]] == [f"line {number}" for number in range(1001, 1001 + int(RATE))]


def test_a_flood_from_one_server_costs_no_other_its_lines(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log(*(output(number) for number in range(1000)))
    assert [line["text"] for line in log(output(1, "quiet"))] == ["line 1"]


def test_a_flood_that_ended_is_told_of_with_the_next_event(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log(*(output(number) for number in range(150)))
    log.now += 1.0
    assert [line["event"] for line in log(CALL)] == ["call", "server_output_left_out"]
    assert [line["event"] for line in log(CALL)] == ["call"]


def test_a_flood_is_told_of_when_the_log_closes(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log(*(output(number) for number in range(150)))
    log.sink.close()
    assert (log.lines()[-1]["event"], log.lines()[-1]["lines"]) == ("server_output_left_out", 50)


def test_a_flood_of_a_server_that_is_no_more_is_told_of_before_that(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log(*(output(number) for number in range(int(BURST) + 5)))
    owed, gone = log(ServerRemoved("loud"))
    assert (owed["event"], owed["lines"], gone["event"]) == ("server_output_left_out", 5, "server_removed")


def test_twenty_lines_a_second_pass_for_ever(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(2000):
        log.now += 1 / 16
        assert len(log(output(number))) == 1


def test_lines_below_the_level_count_for_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path, level="warning")
    assert log(*(output(number) for number in range(1000))) == []
    assert log(Notice("error", "the flood is not told of either")) != []


# -- what is never shown


def _spoil(event: Event, text: str) -> Event:
    """The event with `text` wherever text can be."""
    strings = {
        field: text
        for field, value in msgspec.structs.asdict(event).items()
        if isinstance(value, str) and field not in ("outcome", "level", "stream")
    }
    return msgspec.structs.replace(event, **strings)


EVENTS: list[Event] = [
    CALL,
    ClientConnected("a", "b", "c", "d"),
    ClientGone("a", "b"),
    ServerStateChanged("a", "b", "c", "d", 1.0),
    ServerStartFinished("a", "ok", 1.0, "b", "c", "d"),
    CatalogueChanged("a", 1, 2, 3),
    ServerOutput("a", "stderr", "b"),
    Notice("warning", "a", "b"),
]


@pytest.fixture(scope="module", params=["json", "console"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LogFormat]:
    """Property tests run their body many times: a folder that outlives one."""
    return tmp_path_factory.mktemp("logs"), request.param


# Two letters that no line has anyhow: a secret "outcom" would be found in each.
made_up = (
    st.text(alphabet=st.characters(codec="ascii"), min_size=4, max_size=30)
    .map("Zq{}".format)
    .filter(lambda text: len(clean(text)) > 5)
)


@given(secret=made_up, around=st.text())
def test_no_secret_survives_in_any_field_of_any_event(shared: tuple[Path, LogFormat], secret: str, around: str) -> None:
    folder, format = shared
    (folder / "manifold.log").unlink(missing_ok=True)
    log = Log(folder, level="debug", format=format, redactor=Redactor([secret]))
    forms = {
        secret,
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(secret.encode()).decode(),
    }
    for form in forms:
        for event in EVENTS:
            log.now += 60
            log.observer(_spoil(event, f"{around}{form}{around}"), AT)
    log.observer.log("error", secret, text=secret, anything=f"x{secret}")
    log.sink.close()
    lines = log.text().splitlines()
    assert len(lines) == len(forms) * len(EVENTS) + 1
    shown = [str(text) for line in lines for text in (json.loads(line).values() if format == "json" else [line])]
    assert [(form, text) for form in {*forms, clean(secret)} for text in shown if form in text] == []


def test_a_secret_learned_later_is_hidden_from_the_next_line_on(tmp_path: Path) -> None:
    redactor = Redactor(["an old secret"])
    log = Log(tmp_path, redactor=redactor)
    (before,) = log(msgspec.structs.replace(CALL, tool="s3cr3t!"))
    redactor.learn(["s3cr3t!"])
    after, old = log(msgspec.structs.replace(CALL, tool="s3cr3t!"), msgspec.structs.replace(CALL, tool="an old secret"))
    assert (before["tool"], after["tool"], old["tool"]) == ("s3cr3t!", "***", "***")


def test_what_was_dropped_is_told_in_the_log_s_own_format(tmp_path: Path) -> None:
    log = Log(tmp_path)
    line = json.loads(log.sink.describe_dropped(7))
    assert (line["level"], line["event"], line["lines"]) == ("warning", "log_lines_dropped", 7)
    assert list(line)[:3] == ["time", "level", "event"]


# -- for people


def test_console_lines_are_short_and_plain_where_no_terminal_is(tmp_path: Path) -> None:
    log = Log(tmp_path, format="console")
    log.observer(CALL, AT)
    assert log.text() == (
        "03:04:05.678 info    call             client=claude-code session=8f3b request_id=17 server=github "
        "tool=create_issue outcome=ok ms=12.346 bytes_in=345 bytes_out=2345\n"
    )


def test_no_text_forges_a_second_console_line(tmp_path: Path) -> None:
    log = Log(tmp_path, format="console")
    log.observer(Notice("info", "a\n03:04:05.678 error  call server=forged"), AT)
    assert len(log.text().splitlines()) == 1


def test_colours_are_for_terminals() -> None:
    controller, terminal = os.openpty()
    sink = LogSink(terminal)
    build_logs(LogSettings(format="console"), sink=sink)(Notice("error", "text"), AT)
    sink.close()
    assert b"\x1b[31merror" in os.read(controller, 1000)
    os.close(controller)
    os.close(terminal)


def test_the_log_does_without_rich_and_leaves_it_usable() -> None:
    code = (
        "import sys, proxy.telemetry.logs as logs\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'rich']\n"
        "import rich; print(rich.__name__, logs.structlog.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "rich structlog\n"
