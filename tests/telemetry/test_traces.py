"""The observer that sends spans: in a thread, as far as there is room, and telling once what is lost."""

import logging
import threading
import time

import msgspec
import pytest

from proxy.config.models import ServerEntry, TracesSettings
from proxy.events import (
    CallFinished,
    ClientConnected,
    ClientGone,
    Event,
    Notice,
    QuestionFinished,
    RequestFinished,
    ServerStartFinished,
)
from proxy.telemetry import traces as traces_module
from proxy.telemetry.redact import Redactor
from proxy.telemetry.traces import MOST_WAITING, Traces, begin_tracing
from proxy.tracecontext import Trace
from tests.support.client import PATIENCE
from tests.support.otlp import attributes, collecting


def trace(number: int = 1) -> Trace:
    return Trace(
        "0af7651916cd43dd8448eb211c80319c", "", f"{2 * number:016x}", f"{2 * number + 1:016x}", 3, "",
        time.monotonic(), "git__status", 0.0, 1, number,
    )  # fmt: skip


def call(number: int = 1) -> CallFinished:
    return CallFinished("editor", "s1", str(number), "git", "status", "ok", 0.5, 1, 2, trace=trace(number))


def observer(endpoint: str) -> Traces:
    return Traces(
        TracesSettings(endpoint=f"{endpoint}/v1/traces"),
        redactor=Redactor(),
        find=lambda server: ServerEntry(command="git") if server == "git" else None,
        offset=lambda: time.time() - time.monotonic(),
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has to do besides, what is sent at the end is there when it is over."""
    monkeypatch.setattr(traces_module, "AT_EXIT", PATIENCE)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is gathered for a moment, and one request makes a message."""
    monkeypatch.setattr(traces_module, "GATHERED", 0.0)
    monkeypatch.setattr(traces_module, "MOST_AT_ONCE", 1)


def test_what_ended_reaches_the_collector_with_what_is_known_of_both_sides() -> None:
    with collecting() as spans:
        traces = observer(spans.endpoint)
        traces(ClientConnected("editor", "1", "s1", "2025-11-25", "http"))
        traces(ServerStartFinished("git", "ok", 0.1, "2025-06-18"))
        traces(call())
        traces(ClientGone("editor", "s1"))
        traces.close()
        served, asked = spans.wait_for(2)
    near, far = attributes(served.attributes), attributes(asked.attributes)
    assert (near["mcp.protocol.version"], near["network.transport"], near["network.protocol.name"]) == (
        "2025-11-25",
        "tcp",
        "http",
    )
    assert (far["mcp.protocol.version"], far["network.transport"]) == ("2025-06-18", "pipe")
    assert abs(served.end_time_unix_nano - time.time_ns()) < PATIENCE * 1e9


def test_what_is_not_sampled_is_not_sent() -> None:
    with collecting() as spans:
        traces = observer(spans.endpoint)
        traces(CallFinished("editor", "s1", "1", "git", "status", "ok", 0.5, 1, 2))
        traces(QuestionFinished("git", "s1", "roots/list", "ok", 0.1))
        traces(QuestionFinished("git", "s1", "roots/list", "ok", 0.1, trace=trace()))
        traces.close()
        assert {span.name for span in spans.wait_for(2)} == {"roots/list"}


def test_what_waits_is_sent_at_the_end() -> None:
    with collecting() as spans:
        traces = observer(spans.endpoint)
        traces(call(1))
        traces.take_calls([call(number) for number in range(2, 1001)], time.time())
        traces.close()
        assert len({span.span_id for span in spans.wait_for(2000)}) == 2000


def test_an_end_does_not_wait_for_a_collector_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces_module, "AT_EXIT", 0.01)
    hung = threading.Event()
    with collecting() as spans:
        spans.hold = hung
        traces = observer(spans.endpoint)
        traces(call())
        spans.until(lambda: spans.held)
        traces.close()
        [thread] = [thread for thread in threading.enumerate() if thread.name == "traces"]
        hung.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert warnings(caplog) == ["the spans of 1 request were lost or not taken in time"]


@pytest.mark.usefixtures("hurried")
def test_a_request_that_cannot_be_encoded_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as spans:
        traces = observer(spans.endpoint)
        traces(msgspec.structs.replace(call(), trace=msgspec.structs.replace(trace(), trace_id="no hex")))
        traces(call(2))
        spans.wait_for(2)
        traces.close()
    assert "spans can't be encoded" in caplog.text
    assert warnings(caplog) == ["the spans of 1 request were lost"]


def test_of_a_client_that_is_gone_nothing_is_kept() -> None:
    with collecting() as spans:
        traces = observer(spans.endpoint)
        traces(ClientConnected("editor", "1", "s1", "2025-11-25", "stdio"))
        traces(ClientGone("editor", "s1"))
        traces(call())
        traces.close()
        served, _ = spans.wait_for(2)
    assert "mcp.protocol.version" not in attributes(served.attributes)


@pytest.mark.usefixtures("hurried")
def test_a_collector_that_is_away_is_told_once_and_gets_what_waited(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces_module, "FIRST_PAUSE", 0.001)
    with collecting() as spans:
        spans.status = 503
        traces = observer(spans.endpoint)
        for number in (1, 2):
            traces(call(number))
        spans.until(lambda: len(spans.requests) >= 3)
        spans.status = 200
        spans.until(lambda: len({span.span_id for span in spans.spans}) == 4)
        traces.close()
    assert len(warnings(caplog)) == 2
    assert "no spans can be delivered, and calls go on without: the collector answers 503" in warnings(caplog)[0]
    assert "delivered again" in warnings(caplog)[1]


@pytest.mark.usefixtures("hurried")
def test_what_a_collector_will_never_take_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as spans:
        spans.status = 400
        traces = observer(spans.endpoint)
        for number in (1, 2, 3):
            traces(call(number))
        spans.until(lambda: len(spans.requests) == 3)
        traces.close()
    assert len({span.span_id for span in spans.spans}) == len(spans.spans) == 6
    told, lost = warnings(caplog)
    assert "400" in told
    assert lost == "the spans of 3 requests were lost"


def test_more_than_there_is_room_for_is_lost_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces_module, "GATHERED", PATIENCE)
    with collecting() as spans:
        traces = observer(spans.endpoint)
        for number in range(1, MOST_WAITING + 8):
            traces(call(number))
        traces.close()
        assert len({span.span_id for span in spans.wait_for(2 * MOST_WAITING)}) == 2 * MOST_WAITING
    assert warnings(caplog) == ["the spans of 7 requests were lost"]


def test_keys_of_the_collector_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as spans:
        spans.status = 401
        settings = TracesSettings(endpoint=f"{spans.endpoint}/v1/traces", headers={"X-Key": "correct-horse"})
        traces = Traces(settings, redactor=Redactor(), find=lambda server: None, offset=lambda: 0.0)
        traces(call())
        traces.close()
        spans.until(lambda: bool(spans.requests))
    assert "correct-horse" not in repr(settings)
    assert "correct-horse" not in caplog.text


def test_tracing_begins_where_there_is_somebody_to_tell() -> None:
    told: list[Event] = []
    assert begin_tracing(TracesSettings(), told.append) is None
    assert begin_tracing(TracesSettings(endpoint="http://127.0.0.1:4318"), told.append) is not None
    assert told == []


def test_without_the_libraries_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "find_spec", lambda name: None)
    told: list[Event] = []
    assert begin_tracing(TracesSettings(endpoint="http://127.0.0.1:4318"), told.append) is None
    [notice] = told
    assert isinstance(notice, Notice)
    assert "mcp-manifold[otel]" in notice.text


def test_an_observer_takes_every_event() -> None:
    with collecting() as spans:
        traces = observer(spans.endpoint)
        for event in (Notice("info", "x"), RequestFinished("c", "s", "1", "", "", "error", 0.0, 1, 1)):
            traces(event, 1.0)
        traces.close()
        assert spans.requests == []
