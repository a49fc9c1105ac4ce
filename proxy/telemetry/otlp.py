"""The same series over OTLP, encoded by OpenTelemetry's SDK and pushed to a collector.

The figures are those of the Prometheus registry, read once for each push: a call is counted in one place only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
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
        MetricsData,
        NumberDataPoint,
    )
    from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric
    from prometheus_client.samples import Sample

    from ..config.models import OtlpSettings
    from .collector import Collector
    from .published import Process

FAREWELL: Final = 0.3
"""Seconds for the last one: who ends us kills us half a second later."""
MISSING: Final = "no metrics over OTLP: the extra is missing, pip install 'mcp-manifold[otel]'"

_UNITS: Final = {"seconds": "s", "bytes": "By"}
_LONGEST_PROBLEM: Final = 300
_log: Final = logging.getLogger(__name__)


class Pusher:
    """Sends what `registry` holds once in each interval, while `run` runs, and a last time on `close`."""

    def __init__(self, settings: OtlpSettings, process: Process, registry: CollectorRegistry, emit: Emit) -> None:
        self._settings = settings
        self._process = process
        self._registry = registry
        self._emit = emit
        self._began = time.time_ns()
        self._encode: Callable[[MetricsData], bytes] | None = None
        self._collector: Collector | None = None
        self._is_well = True
        self._problem = ""

    async def run(self) -> None:
        """Push until cancelled; without the SDK say so and end."""
        try:
            self._encode = await aside(self._make, "otlp")
        except ImportError:
            self._emit(Notice("warning", MISSING))
            return
        while True:
            await anyio.sleep(self._settings.interval)
            self._tell(await aside(self._push, "otlp"))

    def close(self) -> None:
        """Push what has happened since, if that is possible at once."""
        if self._encode is not None and self._is_well:
            self._problem = ""
            taken: list[bool] = []
            last = threading.Thread(target=lambda: taken.append(self._push()), name="otlp", daemon=True)
            last.start()
            last.join(FAREWELL)
            if not any(taken):  # for many a session this push is the only one, and this line the only word
                why = one_line(self._problem or "the collector did not answer at once", _LONGEST_PROBLEM)
                _log.warning("the last metrics were not sent over OTLP: %s", why)

    def _make(self) -> Callable[[MetricsData], bytes]:
        # Here: together they take 0.2 s and 20 MB, which nobody else has to pay for.
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

        from .collector import Collector

        self._collector = Collector(self._settings, "data points")
        return lambda data: encode_metrics(data).SerializeToString()

    def _push(self) -> bool:
        assert self._encode is not None
        assert self._collector is not None
        try:
            body = self._encode(metrics_data(self._registry.collect(), self._process, self._began, time.time_ns()))
        except Exception as problem:  # a defect of ours, which must not end the other ways out
            self._problem = f"they can't be encoded: {problem}"
            return False
        verdict = self._collector.send(body)
        self._problem = verdict.problem
        return verdict.taken

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
    # Not "1": Prometheus would call such a gauge a ratio, in its name.
    unit = _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")
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
