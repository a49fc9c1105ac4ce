"""Events -> Prometheus series, in a registry of their own; `docs/metrics.md` has a table of all.

Tool calls are counted in `tallies`. What somebody else knows (bytes, calls in flight) is asked of its owner when
somebody looks: see `pulled`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from .. import __version__
from ..events import (
    CallFinished,
    Event,
    ListingRecalled,
    ListingRefreshed,
    NotificationsDropped,
    QuestionFinished,
    RequestFinished,
    ServerOutput,
    ServerRemoved,
    ServerStartFinished,
    ServerStateChanged,
)
from ..lifecycle import State
from .pulled import Pulled, Sources
from .redact import Redactor
from .tallies import BUCKETS, OTHER, Tallies

STARTS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
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
STATES: Final[tuple[str, ...]] = get_args(State)
CAUSES: Final = ("lost", "hung", "start_failed", "unreachable", "hopeless", "stopped")
"""Why a server that is started had ended."""

_Inc = Callable[[], None]
_Observe = Callable[[float], None]
_Family = TypeVar("_Family", Counter, Gauge, Histogram)


class Metrics:
    """Takes events and counts them in a registry of its own.

    `sources` are asked in the thread of whoever looks. `redactor` sees every label; without one, none is a secret. A
    series keeps the labels that it was first shown with, since those have been scraped: a secret that is learned later
    is hidden in new series alone.
    """

    def __init__(self, sources: Sources | None = None, redactor: Redactor | None = None) -> None:
        # Otherwise each series has a second one beside it, `..._created`, with a time that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._label = redactor or Redactor()
        self._tallies = Tallies(self._label)
        self._servers: dict[str, _Server] = {}
        self._of_a_server: list[Counter | Gauge | Histogram] = []
        self._pulled = Pulled(sources or Sources(), self._label)
        self._make_series_of_requests()
        self._make_series_of_servers()
        self.observe_lag: _Observe = Histogram(
            "mcp_manifold_event_loop_lag_seconds",
            "How much too late a timer fired, looked at once a second.",
            buckets=LAGS,
            registry=self.registry,
        ).observe
        Info("mcp_manifold_build", "What runs here.", registry=self.registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self.registry.register(self._tallies)
        self.registry.register(self._pulled)
        self._others: dict[type[Event], Callable[[Any], None]] = {
            RequestFinished: self._request,
            QuestionFinished: self._question,
            NotificationsDropped: self._drop,
            ServerOutput: self._output,
            ServerStateChanged: self._move,
            ServerStartFinished: self._start,
            ListingRecalled: self._recall,
            ListingRefreshed: self._refresh,
            ServerRemoved: self._forget,
        }

    def __call__(self, event: Event, at: float | None = None) -> None:
        """Count one event; `at` is taken and ignored, since series carry no time of their own."""
        if type(event) is CallFinished:
            self.take_calls((event,))
        elif (take := self._others.get(type(event))) is not None:
            take(event)

    def take_calls(self, calls: Sequence[CallFinished], at: float | None = None) -> None:
        """Count tool calls that ended together."""
        self._tallies.count(calls)
        for call in calls:
            if call.waited is not None:
                self._wait(call.server, call.waited)

    def _request(self, event: RequestFinished) -> None:
        self._requests.labels(self._label(event.server), _method(event.method), event.outcome).inc()
        if event.waited is not None:
            self._wait(event.server, event.waited)

    def _wait(self, server: str, seconds: float) -> None:
        if server:  # otherwise it waited for a name that nobody has
            self._of(server).waited(seconds)

    def _question(self, event: QuestionFinished) -> None:
        self._questions.labels(self._label(event.server), _method(event.method), event.outcome).inc()

    def _drop(self, event: NotificationsDropped) -> None:
        self._dropped.labels(event.method if event.method in NOTIFICATIONS else OTHER).inc(event.number)

    def _output(self, event: ServerOutput) -> None:
        server = self._of(event.server)
        (server.printed if event.stream == "stderr" else server.misparsed)()

    def _move(self, event: ServerStateChanged) -> None:
        self._of(event.server).moved(event)

    def _recall(self, event: ListingRecalled) -> None:
        self._of(event.server)  # it may sleep for the whole session, and is to be seen all the same
        self._lookups.labels(self._label(event.server), event.outcome).inc()

    def _refresh(self, event: ListingRefreshed) -> None:
        self._refreshes.labels(self._label(event.server), event.outcome).inc()

    def _start(self, event: ServerStartFinished) -> None:
        server = self._label(event.server)
        self._starts.labels(server, event.outcome).inc()
        if event.outcome == "ok":
            self._start_durations.labels(server).observe(event.seconds)
            self._pulled.infos[event.server] = event.version, event.protocol

    def _forget(self, event: ServerRemoved) -> None:
        """Its series would stay for ever, and be more with each change of the configuration."""
        self._tallies.forget(event.server)
        self._pulled.infos.pop(event.server, None)
        gone = self._servers.pop(event.server, None)
        if gone is not None and all(other.label != gone.label for other in self._servers.values()):
            for family in self._of_a_server:
                family.remove_by_labels({"server": gone.label})

    def _of(self, server: str) -> _Server:
        found = self._servers.get(server)
        if found is None:
            found = self._servers[server] = _Server(self._label(server), self)
        return found

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return self._kept(Counter(f"mcp_manifold_{name}", text, labels, registry=self.registry), labels)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return self._kept(Gauge(f"mcp_manifold_{name}", text, labels, registry=self.registry), labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        made = Histogram(f"mcp_manifold_{name}", text, labels, buckets=buckets, registry=self.registry)
        return self._kept(made, labels)

    def _kept(self, family: _Family, labels: tuple[str, ...]) -> _Family:
        if "server" in labels:
            self._of_a_server.append(family)
        return family

    def _make_series_of_requests(self) -> None:
        self._waits = self._histogram(
            "queue_wait_seconds", "Time that requests waited for their server, if they had to.", BUCKETS, "server"
        )
        self._requests = self._counter(
            "requests", "Requests other than tool calls that were passed on and ended.", "server", "method", "outcome"
        )
        self._questions = self._counter(
            "questions", "Requests of servers to clients that ended or were refused.", "server", "method", "outcome"
        )
        self._dropped = self._counter(
            "notifications_dropped", "Notifications that a client did not read in time.", "method"
        )

    def _make_series_of_servers(self) -> None:
        self._up = self._gauge("server_up", "1 while the server is ready.", "server")
        self._state = self._gauge("server_state", "1 for the state that the server is in.", "server", "state")
        self._starts = self._counter("server_starts", "Starts of a server.", "server", "outcome")
        self._start_durations = self._histogram(
            "server_start_duration_seconds", "Time from a start to the list of tools.", STARTS, "server"
        )
        self._restarts = self._counter(
            "server_restarts", "Starts of a server that had ended, by why it had.", "server", "reason"
        )
        self._printed = self._counter("server_stderr_lines", "Lines that a server printed on stderr.", "server")
        self._misparsed = self._counter("parse_errors", "What a server sent that is no message.", "server")
        self._lookups = self._counter(
            "cache_lookups", "Lists of a server that a client needed and that may have been known.", "server", "outcome"
        )
        self._refreshes = self._counter(
            "cache_refreshes", "Lists that had become old and were read again.", "server", "outcome"
        )


class _Server:
    """The series of one server that are there, at 0, from when it is first heard of: nothing before may be missed."""

    def __init__(self, label: str, of: Metrics) -> None:
        self.label = label
        self.waited: _Observe = of._waits.labels(label).observe
        self.printed: _Inc = of._printed.labels(label).inc
        self.misparsed: _Inc = of._misparsed.labels(label).inc
        self._up = of._up.labels(label)
        self._states = {state: of._state.labels(label, state) for state in STATES}
        self._states["idle"].set(1)  # as every one begins
        self._restarts = {cause: of._restarts.labels(label, cause) for cause in CAUSES}
        self._ended = ""
        for outcome in ("ok", "failed"):
            of._starts.labels(label, outcome)

    def moved(self, event: ServerStateChanged) -> None:
        """It is in another state."""
        self._up.set(event.new == "ready")
        for name, gauge in self._states.items():
            gauge.set(name == event.new)
        if event.new == "starting":
            if self._ended in self._restarts:
                self._restarts[self._ended].inc()
            self._ended = ""
        elif event.new != "ready":
            self._ended = event.cause


def _method(name: str) -> str:
    return name if name in METHODS else OTHER
