"""The series of tool calls: counted by hand, since each call has to be, and made into series when somebody looks.

The library's own counters and histograms take a lock and some checks each: five of them cost a call 3 us, this 0.6.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ..events import CallFinished
from .redact import Redactor

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SIZES: Final = tuple(4**power for power in range(4, 14))
"""Bytes: 256 B to 64 MiB, the longest line that there is."""
BYTES_OF_A_TOKEN: Final = 4
"""What most tokenizers come to in English text and JSON; an estimate, and no more."""
MOST_TOOLS: Final = 200
"""Of one server; the calls of the tools beyond share the label "other"."""
OTHER: Final = "other"
_key: Final = attrgetter("server", "tool")
_WITH_RESULT: Final = frozenset({"ok", "tool_error"})


class _Tally:
    """The calls of one tool, or of all that share a label."""

    __slots__ = ("bytes", "durations", "outcomes", "seconds", "sizes")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.durations = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.sizes = [0] * (len(SIZES) + 1)
        self.bytes = 0

    def add(self, calls: Iterable[CallFinished]) -> None:
        outcomes, durations, sizes = self.outcomes, self.durations, self.sizes
        for call in calls:
            outcome, seconds = call.outcome, call.seconds
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            durations[bisect_left(BUCKETS, seconds)] += 1
            self.seconds += seconds
            if outcome in _WITH_RESULT:
                size = call.bytes_out
                sizes[bisect_left(SIZES, size)] += 1
                self.bytes += size


class Tallies(Collector):
    """Counts the calls of each tool. `label` sees every label, once: see `Metrics`."""

    def __init__(self, label: Redactor) -> None:
        self._label = label
        self._found: dict[tuple[str, str], _Tally] = {}
        """By server and tool, but for the tools beyond the most of a server."""
        self._tools: dict[str, set[str]] = {}
        self._labels: dict[str, str] = {}
        """That of each server, as it was first shown."""
        self._shown: dict[tuple[str, str], _Tally] = {}
        """By their labels: several that look alike are one."""

    def count(self, calls: Iterable[CallFinished]) -> None:
        """These ended."""
        for key, ended in groupby(calls, _key):
            (self._found.get(key) or self._find(key)).add(ended)

    def forget(self, server: str) -> None:
        """It is no more, and neither are its series; those of another server with the same label stay."""
        self._tools.pop(server, None)
        self._found = {key: tally for key, tally in self._found.items() if key[0] != server}
        label = self._labels.pop(server, None)
        if label not in self._labels.values():
            self._shown = {key: tally for key, tally in self._shown.items() if key[0] != label}

    def describe(self) -> Iterator[Metric]:
        """Asked at registration for names that others must not have."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The series. From any thread: what is counted meanwhile is in this answer or in the next."""
        shown = list(self._shown.items())
        calls = CounterMetricFamily(
            "mcp_manifold_calls", "Tool calls that ended.", labels=["server", "tool", "outcome"]
        )
        durations = HistogramMetricFamily(
            "mcp_manifold_call_duration_seconds",
            "Time from a call's arrival to its answer.",
            labels=["server", "tool"],
        )
        tokens = CounterMetricFamily(
            "mcp_manifold_result_tokens",
            "Estimate of the tokens in the results of tool calls: bytes / 4.",
            labels=["server", "tool"],
        )
        for labels, tally in shown:
            for outcome, number in list(tally.outcomes.items()):
                calls.add_metric([*labels, outcome], number)
            durations.add_metric(labels, _cumulative(BUCKETS, tally.durations), tally.seconds)
            if any(tally.sizes):
                tokens.add_metric(labels, tally.bytes / BYTES_OF_A_TOKEN)
        return iter((calls, durations, tokens, _sizes(shown)))

    def _find(self, key: tuple[str, str]) -> _Tally:
        server, tool = key
        tools = self._tools.setdefault(server, set())
        crowded = tool not in tools and len(tools) >= MOST_TOOLS
        if crowded:
            tool = OTHER
        else:
            tools.add(tool)
        labels = self._labels.setdefault(server, self._label(server)), self._label(tool)
        tally = self._shown.get(labels)
        if tally is None:
            tally = self._shown[labels] = _Tally()
        if not crowded:  # a server that invents names would fill this table too
            self._found[key] = tally
        return tally


def _sizes(shown: Iterable[tuple[tuple[str, str], _Tally]]) -> Metric:
    """Of each server, all its tools together."""
    family = HistogramMetricFamily(
        "mcp_manifold_result_size_bytes", "Size of the results of tool calls.", labels=["server"]
    )
    servers: dict[str, list[_Tally]] = {}
    for (server, _), tally in shown:
        servers.setdefault(server, []).append(tally)
    for server, tallies in servers.items():
        counts = [sum(column) for column in zip(*(tally.sizes for tally in tallies), strict=True)]
        if any(counts):
            family.add_metric([server], _cumulative(SIZES, counts), sum(tally.bytes for tally in tallies))
    return family


def _cumulative(bounds: Sequence[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """How many there are up to each bound and in all, as Prometheus counts them."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, accumulate(list(counts)), strict=True))
