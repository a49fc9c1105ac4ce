"""The rows of the audit, and what becomes of those that can't be written."""

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.config.models import AuditSettings
from proxy.events import CallFinished, Event, Noted, Notice, RequestFinished
from proxy.telemetry.audit import Audit, open_audit
from proxy.telemetry.redact import Redactor

AT = 1767323045.6789
CALL = CallFinished("claude-code", "8f3b", "17", "github", "create_issue", "ok", 0.0123456, 345, 2345)
SAME = msgspec.structs.replace
SECRET = "s3cr3t-of-the-configuration"


class Written:
    """An audit into a file, and what it tells the log."""

    def __init__(self, file: Path, *secrets: str) -> None:
        self.told: list[Event] = []
        self.file = file
        opened = open_audit(AuditSettings(file=file), Redactor(secrets), self.told.append, lambda: AT)
        assert opened is not None
        self.audit, self.close = opened

    def __call__(self, *events: Event) -> list[dict[str, Any]]:
        for event in events:
            self.audit(event)
        return [json.loads(line) for line in self.file.read_text().splitlines()]


def test_a_call_is_one_row_that_says_who_what_and_how_it_ended(tmp_path: Path) -> None:
    [row] = Written(tmp_path / "audit")(SAME(CALL, noted=Noted("abc")))
    assert row == {
        "time": "2026-01-02T03:04:05.678Z",
        "client": "claude-code",
        "session": "8f3b",
        "request_id": "17",
        "server": "github",
        "tool": "create_issue",
        "verdict": "allowed",
        "outcome": "ok",
        "delivered": "yes",
        "ms": 12.346,
        "arguments_sha256": "abc",
    }


def test_calls_that_end_together_are_rows_like_those_of_each_alone(tmp_path: Path) -> None:
    calls = [CALL, SAME(CALL, request_id='"a"', delivered="no", outcome="error", reason="no"), SAME(CALL, tool="b")]
    together, alone = Written(tmp_path / "together"), Written(tmp_path / "alone")
    together.audit.take_calls(calls, AT)
    assert together() == alone(*calls)


def test_the_time_is_that_of_the_event(tmp_path: Path) -> None:
    written = Written(tmp_path / "audit")
    written.audit(CALL, at=AT + 1)
    [row] = written()
    assert row["time"] == "2026-01-02T03:04:06.678Z"


@pytest.mark.parametrize(
    ("outcome", "delivered", "verdict"),
    [
        ("ok", "yes", "allowed"),
        ("tool_error", "yes", "allowed"),
        ("error", "maybe", "allowed"),
        ("error", "no", "refused"),
        ("timeout", "no", "refused"),
        ("timeout", "maybe", "allowed"),
        ("cancelled", "no", "allowed"),  # by the client: nobody here refused it
    ],
)
def test_a_call_that_was_given_to_no_server_was_refused(
    outcome: Any, delivered: Any, verdict: str, tmp_path: Path
) -> None:
    [row] = Written(tmp_path / "audit")(SAME(CALL, outcome=outcome, delivered=delivered, reason="it is down"))
    assert (row["verdict"], row["delivered"], row["reason"]) == (verdict, delivered, "it is down")


def test_rows_tell_how_and_from_where_a_call_came(tmp_path: Path) -> None:
    [row] = Written(tmp_path / "audit")(SAME(CALL, front="http", peer="10.0.0.7"))
    assert (row["front"], row["peer"]) == ("http", "10.0.0.7")


def test_nothing_but_tool_calls_has_a_row(tmp_path: Path) -> None:
    other = RequestFinished("c", "s", "1", "git", "a://b", "ok", 0.1, 1, 1, method="resources/read")
    assert Written(tmp_path / "audit")(other, Notice("error", "boom")) == []


def test_configured_secrets_are_masked(tmp_path: Path) -> None:
    call = SAME(CALL, outcome="error", tool="", name=f"x {SECRET}", reason=f"unknown {SECRET}", client=SECRET)
    call = SAME(call, request_id=f'"{SECRET}"')
    text = json.dumps(Written(tmp_path / "audit", SECRET)(call))
    assert SECRET not in text
    assert text.count("***") == 4


def test_the_file_is_private_and_only_ever_appended_to(tmp_path: Path) -> None:
    for _ in range(2):
        written = Written(tmp_path / "new" / "audit")
        written(CALL)
        written.close()
    assert len(Written(tmp_path / "new" / "audit")()) == 2
    assert stat.S_IMODE((tmp_path / "new" / "audit").stat().st_mode) == 0o600


def test_no_file_means_no_audit() -> None:
    assert open_audit(AuditSettings(), Redactor(), print, lambda: AT) is None


def test_a_file_that_cannot_be_opened_is_told_and_calls_go_on(tmp_path: Path) -> None:
    told: list[Event] = []
    assert open_audit(AuditSettings(file=tmp_path), Redactor(), told.append, lambda: AT) is None
    [notice] = told
    assert isinstance(notice, Notice)
    assert notice.level == "error"
    assert notice.text.startswith(f"no audit: {tmp_path}")


def test_rows_that_cannot_be_written_are_told_once_and_counted_once_there_is_room(tmp_path: Path) -> None:
    full = Written(Path("/dev/full"))
    for _ in range(3):
        full.audit(CALL)
    [notice] = full.told
    assert isinstance(notice, Notice)
    assert "rows are missing in the audit /dev/full: No space left" in notice.text
    assert json.loads(Audit(full.audit._sink, Redactor(), lambda: AT)._missing(3)) == {
        "time": "2026-01-02T03:04:05.678Z",
        "event": "rows_missing",
        "rows": 3,
    }
