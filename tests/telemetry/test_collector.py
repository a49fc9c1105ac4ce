"""What a collector answers, and what becomes of the message then."""

import socket

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from proxy.config.models import TracesSettings
from proxy.telemetry.collector import Collector, Verdict
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
