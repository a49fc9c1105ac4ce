"""What a collector is sent, by the real exporter, over real HTTP."""

import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import anyio
import anyio.to_thread
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from prometheus_client import CollectorRegistry

from proxy.config.models import OtlpSettings
from proxy.events import CallFinished, Event, Notice
from proxy.relay.figures import Figures
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.otlp import MISSING, Pusher
from proxy.telemetry.published import this_process
from proxy.telemetry.pulled import Sources
from tests.support.client import PATIENCE

US = this_process("run", "5c40-6b")
CALL = CallFinished("client", "session", "1", "git", "status", "ok", 0.004, 1, 2)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has to do besides, the last figures are sent."""
    monkeypatch.setattr("proxy.telemetry.otlp.FAREWELL", PATIENCE)


class Collector:
    """Keeps what it is sent; `status` is what it answers."""

    def __init__(self, server: http.server.HTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/v1/metrics"
        self.status = 200
        self.got: Queue[tuple[dict[str, str], ExportMetricsServiceRequest]] = Queue()

    async def next(self) -> tuple[dict[str, str], ExportMetricsServiceRequest]:
        with anyio.fail_after(PATIENCE):
            return await anyio.to_thread.run_sync(self.got.get, abandon_on_cancel=True)


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(collector.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            collector.got.put(
                (
                    {name.lower(): value for name, value in self.headers.items()},
                    ExportMetricsServiceRequest.FromString(body),
                )
            )

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody asks."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def named(request: ExportMetricsServiceRequest) -> dict[str, Metric]:
    return {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}


async def pushed(settings: OtlpSettings, metrics: Metrics, collector: Collector, notices: list[Event]) -> Any:
    pusher = Pusher(settings, US, metrics.registry, notices.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pusher.run)
        found = await collector.next()
        tasks.cancel_scope.cancel()
    pusher.close()
    return found


async def test_a_collector_gets_the_same_figures_as_prometheus_under_the_same_names() -> None:
    metrics, notices = Metrics(), list[Event]()
    metrics(CALL)
    metrics(CALL)
    with collecting() as collector:
        settings = OtlpSettings(endpoint=collector.url, headers={"X-Key": "s3cr3t!"}, interval=0.01)
        headers, request = await pushed(settings, metrics, collector, notices)
    assert headers["x-key"] == "s3cr3t!"
    resource = attributes(request.resource_metrics[0].resource)
    assert resource["service.name"] == "mcp-manifold"
    assert (resource["process.pid"], resource["session"], resource["kind"]) == (US.pid, "5c40-6b", "run")
    found = named(request)
    calls = found["mcp_manifold_calls_total"]
    assert calls.sum.is_monotonic
    assert calls.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    [point] = calls.sum.data_points
    assert (point.as_double, attributes(point)) == (2.0, {"server": "git", "tool": "status", "outcome": "ok"})
    assert point.start_time_unix_nano < point.time_unix_nano
    assert found["mcp_manifold_build_info"].gauge.data_points[0].as_double == 1
    assert found["mcp_manifold_build_info"].unit == "", "with the unit 1 Prometheus adds _ratio to the name of a gauge"
    assert notices == []


async def test_a_histogram_counts_between_its_bounds_and_not_up_to_them() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.004, 0.004, 1000.0):
        metrics(CallFinished("client", "session", "1", "git", "status", "ok", seconds, 1, 2))
    with collecting() as collector:
        _, request = await pushed(OtlpSettings(endpoint=collector.url, interval=0.01), metrics, collector, [])
    durations = named(request)["mcp_manifold_call_duration_seconds"]
    assert durations.unit == "s"
    [point] = durations.histogram.data_points
    assert point.explicit_bounds[:3] == [0.001, 0.0025, 0.005]
    assert point.bucket_counts[:4] == [1, 0, 2, 0]
    assert (point.bucket_counts[-1], len(point.bucket_counts)) == (1, len(point.explicit_bounds) + 1)
    assert (point.count, point.sum) == (4, pytest.approx(1000.0085))
    assert not point.HasField("min")


async def test_figures_that_are_pulled_are_pushed_as_well() -> None:
    waiting = Figures(server="git", queued=2, queue_limit=100, retries=0, open=True)
    metrics = Metrics(Sources(figures=lambda: [waiting]))
    notices: list[Event] = []
    with collecting() as collector:
        settings = OtlpSettings(endpoint=collector.url, interval=0.01)
        _, request = await pushed(settings, metrics, collector, notices)
    found = named(request)
    assert [point.as_double for point in found["mcp_manifold_calls_queued"].gauge.data_points] == [2]
    assert [point.as_double for point in found["mcp_manifold_breaker_open"].gauge.data_points] == [1]
    assert notices == []


async def test_what_happened_since_is_pushed_at_the_end() -> None:
    metrics = Metrics()
    with collecting() as collector:
        pusher = Pusher(OtlpSettings(endpoint=collector.url, interval=0.01), US, metrics.registry, list[Event]().append)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pusher.run)
            await collector.next()
            tasks.cancel_scope.cancel()
        metrics(CALL)
        pusher.close()
        while "mcp_manifold_calls_total" not in named((await collector.next())[1]):
            pass


async def test_a_collector_that_does_not_take_the_last_figures_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    notices: list[Event] = []
    with collecting() as collector:
        settings = OtlpSettings(endpoint=collector.url, interval=0.01)
        pusher = Pusher(settings, US, CollectorRegistry(), notices.append)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pusher.run)
            await collector.next()
            collector.status = 404
            tasks.cancel_scope.cancel()
        pusher.close()
    assert notices == []
    [told] = caplog.messages
    assert told == "the last metrics were not sent over OTLP: the collector answers 404 Not Found"


async def test_a_collector_that_refuses_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    notices: list[Event] = []
    with collecting() as collector:
        collector.status = 307  # with the key it goes nowhere else
        settings = OtlpSettings(endpoint=collector.url, headers={"X-Key": "s3cr3t!"}, interval=0.01)
        pusher = Pusher(settings, US, CollectorRegistry(), notices.append)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pusher.run)
            for _ in range(3):
                await collector.next()
            collector.status = 200
            for _ in range(3):
                await collector.next()
            tasks.cancel_scope.cancel()
        pusher.close()
    bad, good = notices
    assert isinstance(bad, Notice)
    assert bad.level == "warning"
    assert bad.text == "no metrics over OTLP, which is tried again: the collector answers 307 Temporary Redirect"
    assert good == Notice("info", "the metrics are sent over OTLP again")
    assert caplog.text == ""


async def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)
    notices: list[Event] = []
    pusher = Pusher(OtlpSettings(endpoint="http://127.0.0.1:9"), US, CollectorRegistry(), notices.append)
    with anyio.fail_after(PATIENCE):
        await pusher.run()
    pusher.close()
    assert notices == [Notice("warning", MISSING)]
