"""The same series over OTLP, pushed to an OpenTelemetry collector with the SDK's exporter.

The figures are those of the Prometheus registry, read once for each push: a call is counted in one place only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import anyio

from .. import __version__
from ..aside import aside
from ..events import Emit, Notice
from ..texts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.metrics.export import (
        HistogramDataPoint,
        MetricExporter,
        MetricsData,
        NumberDataPoint,
    )
    from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric
    from prometheus_client.samples import Sample

    from ..config.models import OtlpSettings
    from .published import Process

LONGEST: Final = 10.0
"""Seconds for one push, with the exporter's own attempts to repeat it."""
FAREWELL: Final = 0.3
"""Seconds for the last one: who ends us kills us half a second later."""
MISSING: Final = "no metrics over OTLP: the extra is missing, pip install 'mcp-manifold[otel]'"

_UNITS: Final = {"seconds": "s", "bytes": "By"}
_LONGEST_PROBLEM: Final = 300


class Pusher:
    """Sends what `registry` holds once in each interval, while `run` runs, and a last time on `close`."""

    def __init__(self, settings: OtlpSettings, process: Process, registry: CollectorRegistry, emit: Emit) -> None:
        self._settings = settings
        self._process = process
        self._registry = registry
        self._emit = emit
        self._began = time.time_ns()
        self._exporter: MetricExporter | None = None
        self._is_well = True
        self._problem = ""

    async def run(self) -> None:
        """Push until cancelled; without the SDK say so and end."""
        try:
            self._exporter = await aside(self._make, "otlp")
        except ImportError:
            self._emit(Notice("warning", MISSING))
            return
        while True:
            await anyio.sleep(self._settings.interval)
            self._tell(await aside(self._push, "otlp"))

    def close(self) -> None:
        """Push what has happened since, if that is possible at once."""
        if self._exporter is not None and self._is_well:
            last = threading.Thread(target=self._push, name="otlp", daemon=True)
            last.start()
            last.join(FAREWELL)
        if self._exporter is not None:
            self._exporter.shutdown(0)

    def _make(self) -> MetricExporter:
        # Here: together they take 0.2 s and 20 MB, which nobody else has to pay for.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from requests import RequestException, Response, Session

        def note(problem: str) -> None:
            self._problem = problem

        class NoRedirects(Session):
            """The headers hold keys, which are for the endpoint alone. The exporter takes a redirect for success."""

            def request(self, *args: Any, **kwargs: Any) -> Response:
                try:
                    response = super().request(*args, **{**kwargs, "allow_redirects": False})
                except RequestException as problem:
                    note(f"the collector can't be reached: {problem}")
                    raise
                note(f"the collector answers {response.status_code} {response.reason}")
                if response.is_redirect:
                    raise RequestException("it names another address")
                return response

        logging.getLogger(OTLPMetricExporter.__module__).addFilter(_told_by_us)
        return OTLPMetricExporter(
            endpoint=self._settings.endpoint,
            headers=dict(self._settings.headers),
            timeout=LONGEST,
            session=NoRedirects(),
        )

    def _push(self) -> bool:
        from opentelemetry.sdk.metrics.export import MetricExportResult  # loaded by now

        assert self._exporter is not None
        data = metrics_data(self._registry.collect(), self._process, self._began, time.time_ns())
        return self._exporter.export(data) is MetricExportResult.SUCCESS

    def _tell(self, went_well: bool) -> None:
        if went_well is not self._is_well:
            bad = f"no metrics over OTLP, which is tried again: {one_line(self._problem, _LONGEST_PROBLEM)}"
            text = "the metrics are sent over OTLP again" if went_well else bad
            self._emit(Notice("info" if went_well else "warning", text))
        self._is_well = went_well


def metrics_data(families: Iterable[Metric], process: Process, began: int, now: int) -> MetricsData:
    """The families of a Prometheus registry as OTLP has them, under the same names. Times are Unix nanoseconds."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics  # see `Pusher._make`
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    # Not Resource.create(): what OTEL_* variables say is said to other programs, and does not reach us in most clients.
    resource = Resource(
        {
            "service.name": "mcp-manifold",
            "service.version": __version__,
            "service.instance.id": process.name,
            "process.pid": process.pid,
            **{key: value for key, value in process.labels.items() if key != "pid" and value},
        }
    )
    metrics = [metric for family in families if (metric := _metric(family, began, now)) is not None]
    scope = ScopeMetrics(InstrumentationScope("mcp-manifold", __version__), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Metric, began: int, now: int) -> OtlpMetric | None:
    from opentelemetry.sdk.metrics.export import (  # see `Pusher._make`
        AggregationTemporality,
        Gauge,
        Histogram,
        Metric,
        Sum,
    )

    if not family.samples:
        return None
    name = family.name
    data: Any
    if family.type == "histogram":
        data = Histogram(list(_histograms(family.samples, began, now)), AggregationTemporality.CUMULATIVE)
    else:
        name = family.samples[0].name
        points = [_number(sample, began, now) for sample in family.samples]
        is_sum = family.type == "counter"
        data = Sum(points, AggregationTemporality.CUMULATIVE, True) if is_sum else Gauge(points)
    unit = _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "1")
    return Metric(name, family.documentation, unit, data)


def _number(sample: Sample, began: int, now: int) -> NumberDataPoint:
    from opentelemetry.sdk.metrics.export import NumberDataPoint  # see `Pusher._make`

    return NumberDataPoint(sample.labels, began, now, float(sample.value))  # one type for all, as it is in Prometheus


def _histograms(samples: Iterable[Sample], began: int, now: int) -> Iterator[HistogramDataPoint]:
    """One point for each set of labels: Prometheus counts up to each bound, OTLP between two."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint  # see `Pusher._make`

    found: dict[tuple[tuple[str, str], ...], tuple[list[tuple[float, float]], list[float]]] = {}
    for sample in samples:
        labels = tuple((key, value) for key, value in sample.labels.items() if key != "le")
        buckets, total = found.setdefault(labels, ([], []))
        if sample.name.endswith("_bucket"):
            buckets.append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            total.append(sample.value)
    for labels, (buckets, total) in found.items():
        buckets.sort()
        ups = [int(count) for _, count in buckets]
        counts = [up - before for up, before in zip(ups, [0, *ups], strict=False)]
        bounds = [bound for bound, _ in buckets[:-1]]
        # Smallest and largest are not known, which OTLP allows and the class does not.
        nothing: Any = None
        yield HistogramDataPoint(dict(labels), began, now, ups[-1], total[0], counts, bounds, nothing, nothing)


def _told_by_us(record: logging.LogRecord) -> bool:
    """Let nothing through that the exporter logs, of each attempt: a Notice tells of it once."""
    return False
