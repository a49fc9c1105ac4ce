"""What libraries and the interpreter print by themselves becomes lines of the log."""

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, sys, threading, warnings
from proxy.config.models import LogSettings
from proxy.telemetry.bridge import install_bridge
from proxy.telemetry.logs import LogSink, build_logs
from proxy.telemetry.redact import Redactor

settings = LogSettings(level={level!r})
sink = LogSink()
remove = install_bridge(build_logs(settings, sink=sink, redactor=Redactor(["s3cr3t!"])), settings.level)
log = logging.getLogger("a_library")
{body}
sink.close()
"""


def lines_of(body: str, level: str = "info") -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level, body=body)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_library_s_log_becomes_lines_with_its_name() -> None:
    (line,) = lines_of("log.warning('retrying %s with s3cr3t!', 'https://example.com')")
    assert (line["level"], line["event"], line["logger"]) == ("warning", "log", "a_library")
    assert line["text"] == "retrying https://example.com with ***"


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", ["debug", "info", "error"]), ("info", ["error"]), ("error", ["error"])]
)
def test_libraries_chatter_shows_only_when_debugging(level: str, shown: list[str]) -> None:
    body = "log.debug('a'); log.info('b'); log.critical('c')"
    assert [line["level"] for line in lines_of(body, level)] == shown


def test_what_the_sdk_says_of_a_connection_is_chatter_since_we_say_it_with_the_server() -> None:
    body = "logging.getLogger('mcp.client.sse').error('odd'); logging.getLogger('mcp.server').error('odd')"
    assert [line["logger"] for line in lines_of(body)] == ["mcp.server"]
    assert [line["level"] for line in lines_of(body, "debug")] == ["debug", "error"]


def test_an_exception_comes_with_its_traceback_in_the_same_line() -> None:
    (line,) = lines_of("try: 1 / 0\nexcept ZeroDivisionError: log.exception('it failed')")
    assert line["text"] == "it failed"
    assert line["traceback"].startswith("Traceback")
    assert "ZeroDivisionError" in line["traceback"]


def test_a_bad_format_string_is_told_and_no_error() -> None:
    (line,) = lines_of("log.error('%d files', 'many')")
    assert "%d files" in line["text"]


def test_warnings_become_lines() -> None:
    (line,) = lines_of("warnings.warn('old ways')")
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "old ways" in line["text"]


def test_what_a_thread_dies_of_becomes_a_line() -> None:
    (line,) = lines_of(
        "def die(): raise ValueError('thread')\n"
        "thread = threading.Thread(target=die, name='worker'); thread.start(); thread.join()"
    )
    assert line["text"] == "exception in thread worker"
    assert "ValueError: thread" in line["traceback"]


def test_what_cannot_be_raised_becomes_a_line() -> None:
    (line,) = lines_of("class Bad:\n  def __del__(self): raise ValueError('late')\nBad()")
    assert "ValueError: late" in line["traceback"]


def test_removing_it_gives_the_interpreter_its_own_ways_back() -> None:
    body = (
        "before = sys.unraisablehook\nremove()\n"
        "assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING\n"
        "assert sys.unraisablehook is not before and sys.unraisablehook is sys.__unraisablehook__\n"
        "assert threading.excepthook is threading.__excepthook__"
    )
    assert lines_of(body) == []
