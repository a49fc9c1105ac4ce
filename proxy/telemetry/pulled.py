"""The series whose values somebody else keeps, and is asked for when somebody looks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import add
from typing import Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from .. import memory
from ..relay.figures import Figures
from ..texts import cut
from .redact import Redactor

_T = TypeVar("_T")
_LONGEST_VERSION: Final = 100
_FLAGS: Final = frozenset({"mcp_manifold_server", "mcp_manifold_breaker_open"})
"""Families whose values are 0 or 1."""


def _nothing() -> tuple[()]:
    return ()


def _nobody() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Who is asked, in any thread: one that raises RuntimeError, since it changed meanwhile, is asked again.

    `traffic` yields (server, bytes received, bytes sent), counted over all restarts; `in_flight` (server, calls);
    `listed` (server, tools that clients see of it), for each whose list is known; `sessions` their number by front;
    `left_out` the lines of each server that were not logged; `pids` (server, pid).
    """

    traffic: Callable[[], Iterable[tuple[str, int, int]]] = _nothing
    in_flight: Callable[[], Iterable[tuple[str, int]]] = _nothing
    figures: Callable[[], Iterable[Figures]] = _nothing
    listed: Callable[[], Iterable[tuple[str, int]]] = _nothing
    sessions: Callable[[], Mapping[str, int]] = _nobody
    left_out: Callable[[], Mapping[str, int]] = _nobody
    pids: Callable[[], Iterable[tuple[str, int]]] = _nothing


class Pulled(Collector):
    """Their series. `infos` are what servers said of themselves: version and protocol."""

    def __init__(self, sources: Sources, label: Redactor) -> None:
        self.infos: dict[str, tuple[str, str]] = {}
        self._sources = sources
        self._label = label
        self._fronts: set[str] = set()

    def describe(self) -> Iterator[Metric]:
        """Asked at registration for names; the sources may not be there yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The series. Servers that look alike are one: the same series twice, and node_exporter shows none at all."""
        return map(_without_doubles, self._families())

    def _families(self) -> Iterator[Metric]:
        yield from self._of_traffic()
        yield from self._of_queues()
        yield self._of_sessions()
        yield self._of_servers()
        listed = _gauge("catalogue_tools", "Tools of a server that clients see.", "server")
        for server, tools in self._snapshot(self._sources.listed):
            listed.add_metric([self._label(server)], tools)
        yield listed
        dropped = _counter("server_stderr_lines_dropped", "Lines that were printed too fast to be logged.", "server")
        for server, lines in self._snapshot(lambda: self._sources.left_out().items()):
            dropped.add_metric([self._label(server)], lines)
        yield dropped
        if sys.platform == "linux":  # elsewhere it would take a process for each look
            yield from self._of_memory()

    def _of_traffic(self) -> Iterator[Metric]:
        size = _counter("bytes", "Bytes to and from a server.", "server", "direction")
        for server, received, sent in self._snapshot(self._sources.traffic):
            size.add_metric([self._label(server), "received"], received)
            size.add_metric([self._label(server), "sent"], sent)
        yield size
        running = _gauge("calls_in_flight", "Calls not answered yet.", "server")
        for server, calls in self._snapshot(self._sources.in_flight):
            running.add_metric([self._label(server)], calls)
        yield running

    def _of_queues(self) -> Iterator[Metric]:
        queued = _gauge("calls_queued", "Requests that wait for their server.", "server")
        limit = _gauge("queue_limit", "How many may wait for their turn.", "server")
        opened = _gauge("breaker_open", "1 while calls are refused at once.", "server")
        retries = _counter("retries", "Requests that were sent once more.", "server")
        for one in self._snapshot(self._sources.figures):
            server = [self._label(one.server)]
            queued.add_metric(server, one.queued)
            limit.add_metric(server, one.queue_limit)
            opened.add_metric(server, one.open)
            retries.add_metric(server, one.retries)
        yield from (queued, limit, opened, retries)

    def _of_sessions(self) -> Metric:
        sessions = _gauge("sessions", "Sessions of clients that are open.", "front")
        found = dict(self._snapshot(lambda: self._sources.sessions().items()))
        self._fronts |= found.keys()
        for front in sorted(self._fronts):  # where the last one has gone there is none, which is a figure too
            sessions.add_metric([front], found.get(front, 0))
        return sessions

    def _of_servers(self) -> Metric:
        info = InfoMetricFamily("mcp_manifold_server", "What a server said of itself.", labels=["server"])
        for server, (version, protocol) in self._snapshot(self.infos.items):
            said = {"version": cut(self._label(version), _LONGEST_VERSION), "protocol": self._label(protocol)}
            info.add_metric([self._label(server)], said)
        return info

    def _of_memory(self) -> Iterator[Metric]:
        own = _gauge("memory_bytes", "Resident memory of the proxy itself.")
        resident = memory.of(os.getpid())
        if resident is not None:
            own.add_metric([], resident)
        yield own
        trees = _gauge("server_memory_bytes", "Resident memory of a server and all that it started.", "server")
        pids = dict(self._snapshot(self._sources.pids))
        if pids:
            found = memory.of_trees(pids.values())
            for server, pid in pids.items():
                if pid in found:
                    trees.add_metric([self._label(server)], found[pid])
        yield trees

    def _snapshot(self, source: Callable[[], Iterable[_T]]) -> Collection[_T]:
        for _ in range(5):
            # The owner changes its tables in another thread.
            with contextlib.suppress(RuntimeError):
                return list(source())
        return []


def _without_doubles(family: Metric) -> Metric:
    combine = max if family.name in _FLAGS else add
    found: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
    for sample in family.samples:
        key = sample.name, frozenset(sample.labels.items())
        same = found.get(key)
        found[key] = sample if same is None else sample._replace(value=combine(same.value, sample.value))
    family.samples = list(found.values())
    return family


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"mcp_manifold_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"mcp_manifold_{name}", text, labels=labels)
