"""Events -> Prometheus series, in a registry of their own.

What would cost time on each call (bytes, calls in flight) is asked of its owner when somebody scrapes.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..events import (
    CallFinished,
    CatalogueChanged,
    Event,
    NotificationsDropped,
    QuestionFinished,
    RequestFinished,
    ServerStartFinished,
    ServerStateChanged,
)
from .endpoint import MetricsServer, serve
from .redact import Redactor

if TYPE_CHECKING:
    from ..config.models import MetricsSettings
    from ..events import Emit


_T = TypeVar("_T")
Traffic = Callable[[], Iterable[tuple[str, int, int]]]
InFlight = Callable[[], Iterable[tuple[str, int]]]

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
MOST_TOOLS: Final = 200
"""Of one server; the calls of the tools beyond share the label "other"."""
OTHER: Final = "other"
METHODS: Final = frozenset(
    {
        "completion/complete", "elicitation/create", "prompts/get", "resources/read", "resources/subscribe",
        "resources/unsubscribe", "roots/list", "sampling/createMessage", "tasks/cancel", "tasks/get", "tasks/list",
        "tasks/result",
    }
)  # fmt: skip
NOTIFICATIONS: Final = frozenset(
    f"notifications/{name}" for name in ("message", "progress", "resources/updated", "tasks/status")
)
"""Those that are counted by name; what a peer invents is one of the others."""


class Metrics:
    """Takes events and counts them in a registry of its own.

    `traffic` yields (server, bytes received, bytes sent), counted over all restarts; `in_flight` yields (server,
    calls). Both are called in the thread that answers a scrape. `redactor` sees every label; without one, none is a
    secret. A series keeps the labels that it was first shown with, since those have been scraped: a secret that is
    learned later is hidden in new series alone.
    """

    def __init__(
        self,
        *,
        traffic: Traffic | None = None,
        in_flight: InFlight | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        # Otherwise each series has a second one beside it, `..._created`, with a time that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._label = redactor or Redactor()
        self._bound: dict[tuple[str, str, str], tuple[Callable[[], None], Callable[[float], None]]] = {}
        self._tools: dict[str, set[str]] = {}
        calls = ["server", "tool"]
        self._calls = Counter(
            "mcp_manifold_calls", "Tool calls that ended.", [*calls, "outcome"], registry=self.registry
        )
        self._durations = Histogram(
            "mcp_manifold_call_duration_seconds",
            "Time from a call's arrival to its answer.",
            calls,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._up = Gauge("mcp_manifold_server_up", "1 while the server is ready.", ["server"], registry=self.registry)
        self._requests = Counter(
            "mcp_manifold_requests",
            "Requests other than tool calls that were passed on and ended.",
            ["server", "method", "outcome"],
            registry=self.registry,
        )
        self._questions = Counter(
            "mcp_manifold_questions",
            "Requests of servers to clients that ended or were refused.",
            ["server", "method", "outcome"],
            registry=self.registry,
        )
        self._starts = Counter(
            "mcp_manifold_server_starts", "Starts of a server.", ["server", "outcome"], registry=self.registry
        )
        self._dropped = Counter(
            "mcp_manifold_notifications_dropped",
            "Notifications that a client did not read in time.",
            ["method"],
            registry=self.registry,
        )
        self._listed = Gauge(
            "mcp_manifold_catalogue_tools", "Tools of a server that clients see.", ["server"], registry=self.registry
        )
        Info("mcp_manifold_build", "What runs here.", registry=self.registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self.registry.register(_Pulled(self._label, traffic, in_flight))

    def __call__(self, event: Event, at: float | None = None) -> None:
        """Count one event; `at` is taken and ignored, since series carry no time of their own."""
        if type(event) is CallFinished:
            key = (event.server, event.tool, event.outcome)
            count, observe = self._bound.get(key) or self._bind(key)
            count()
            observe(event.seconds)
        elif isinstance(event, RequestFinished):
            self._requests.labels(self._label(event.server), _method(event.method), event.outcome).inc()
        elif isinstance(event, QuestionFinished):
            self._questions.labels(self._label(event.server), _method(event.method), event.outcome).inc()
        elif isinstance(event, ServerStateChanged):
            self._up.labels(self._label(event.server)).set(event.new == "ready")
        elif isinstance(event, ServerStartFinished):
            self._starts.labels(self._label(event.server), event.outcome).inc()
        elif isinstance(event, NotificationsDropped):
            self._dropped.labels(event.method if event.method in NOTIFICATIONS else OTHER).inc(event.number)
        elif isinstance(event, CatalogueChanged) and event.kind == "tools":
            self._listed.labels(self._label(event.server)).set(event.entries)

    def serve(self, settings: MetricsSettings, emit: Emit) -> MetricsServer:
        """Let them be scraped; see `endpoint.serve`."""
        return serve(settings, self.registry, emit)

    def _bind(self, key: tuple[str, str, str]) -> tuple[Callable[[], None], Callable[[float], None]]:
        server, tool, outcome = key
        tools = self._tools.setdefault(server, set())
        crowded = tool not in tools and len(tools) >= MOST_TOOLS
        if crowded:
            tool = OTHER
        else:
            tools.add(tool)
        labels = self._label(server), self._label(tool)
        bound = self._calls.labels(*labels, outcome).inc, self._durations.labels(*labels).observe
        if not crowded:  # a server that invents names would fill this table too
            self._bound[key] = bound
        return bound


def _method(name: str) -> str:
    return name if name in METHODS else OTHER


class _Pulled(Collector):
    """The series whose values somebody else keeps."""

    def __init__(self, label: Redactor, traffic: Traffic | None, in_flight: InFlight | None) -> None:
        self._label = label
        self._traffic = traffic
        self._in_flight = in_flight

    def collect(self) -> Iterator[Metric]:
        if self._traffic is not None:
            size = CounterMetricFamily(
                "mcp_manifold_bytes", "Bytes to and from a server.", labels=["server", "direction"]
            )
            for server, received, sent in _snapshot(self._traffic):
                size.add_metric([self._label(server), "received"], received)
                size.add_metric([self._label(server), "sent"], sent)
            yield size
        if self._in_flight is not None:
            running = GaugeMetricFamily("mcp_manifold_calls_in_flight", "Calls not answered yet.", labels=["server"])
            for server, calls in _snapshot(self._in_flight):
                running.add_metric([self._label(server)], calls)
            yield running

    def describe(self) -> Iterator[Metric]:
        """Asked at registration for names; the sources may not be there yet."""
        return iter(())


def _snapshot(source: Callable[[], Iterable[_T]]) -> list[_T]:
    for _ in range(5):
        # The owner changes its tables in another thread.
        with contextlib.suppress(RuntimeError):
            return list(source())
    return []
