"""What a collector answers, and what becomes of the message then."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from proxy.config.models import TracesSettings
from proxy.telemetry.collector import Collector, Verdict
from tests.support.client import PATIENCE
from tests.support.otlp import collecting


def collector(endpoint: str, **headers: str) -> Collector:
    return Collector(TracesSettings(endpoint=f"{endpoint}/v1/traces", headers=headers))


def test_a_message_is_posted_with_the_headers_of_the_configuration() -> None:
    with collecting() as spans:
        assert collector(spans.endpoint, Authorization="Bearer abc").send(b"") == Verdict(True)
        [request] = spans.requests
    assert request[""] == "/v1/traces"
    assert request["authorization"] == "Bearer abc"
    assert request["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize(("status", "passing"), [(429, True), (503, True), (400, False), (401, False), (404, False)])
def test_a_status_says_whether_to_try_again(status: int, passing: bool) -> None:
    with collecting() as spans:
        spans.status = status
        verdict = collector(spans.endpoint).send(b"")
    assert (verdict.taken, verdict.passing) == (False, passing)
    assert str(status) in verdict.problem


def test_headers_go_to_no_other_place() -> None:
    with collecting() as spans, collecting() as other:
        for spans.status in (301, 302, 303, 307, 308):
            spans.headers = {"Location": f"{other.endpoint}/v1/traces"}
            verdict = collector(spans.endpoint, Authorization="Bearer abc").send(b"")
            assert (verdict.taken, verdict.passing) == (False, False)
        assert other.requests == []


def test_spans_that_are_refused_are_told() -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 3
    answer.partial_success.error_message = "too old"
    with collecting() as spans:
        spans.body = answer.SerializeToString()
        verdict = collector(spans.endpoint).send(b"")
    assert verdict == Verdict(False, "the collector refused 3 spans: too old")


def test_an_answer_that_is_none_is_good_enough() -> None:
    with collecting() as spans:
        spans.body = b"thank you"
        assert collector(spans.endpoint).send(b"").taken


def test_a_collector_that_is_away_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    verdict = collector(f"http://127.0.0.1:{port}").send(b"")
    assert (verdict.taken, verdict.passing) == (False, True)
    assert "refused" in verdict.problem


@pytest.mark.parametrize("endpoint", ["http://[::1", "http://x:99999", "http://nobody.invalid:1"])
def test_an_address_that_leads_nowhere_raises_nothing(endpoint: str) -> None:
    assert not collector(endpoint).send(b"").taken


@contextmanager
def saying(head: bytes, more: bytes) -> Iterator[str]:
    """A collector that takes a message, and then says these over and over for as long as anybody listens."""

    def talk() -> None:
        with listener.accept()[0] as connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while more:
                connection.sendall(more)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "somebody still listens"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\n", b""])
def test_an_answer_without_an_end_is_given_up(head: bytes) -> None:
    more = {b"": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000}.get(head, b"A" * 65536)
    with saying(head, more) as endpoint:
        assert not collector(endpoint).send(b"").taken


def test_a_long_answer_is_not_read_to_its_end() -> None:
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"\0" * 65536) as endpoint:
        assert collector(endpoint).send(b"").taken


def test_an_answer_that_comes_byte_by_byte_has_no_more_time_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.collector.PATIENCE", 0.05)
    monkeypatch.setattr("proxy.telemetry.collector._LARGEST", 1 << 40)
    with saying(b"", b"HTTP/1.1 100 Continue\r\n\r\n") as endpoint:
        verdict = collector(endpoint).send(b"")
    assert verdict.passing
    assert verdict.problem == "the collector can't be reached: it takes too long"


def test_what_a_collector_says_is_told_on_one_line_and_cut() -> None:
    with saying(b"HTTP/1.1 500 \x1b[31m" + b"x" * 5000 + b"\r\nContent-Length: 0\r\n\r\n", b"") as endpoint:
        problem = collector(endpoint).send(b"").problem
    assert problem.startswith("the collector answers 500 xxx")
    assert len(problem) < 300
