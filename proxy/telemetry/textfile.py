"""A file with all series for node_exporter's textfile collector, written anew every few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ..aside import aside
from ..events import Emit, Notice
from .published import Process, Published, sweep

EVERY: Final = 15.0
"""Seconds between two files."""


class Textfile:
    """The file of `process` in `directory`, for others to read. The directory must be there."""

    def __init__(self, directory: Path, process: Process, registry: CollectorRegistry, emit: Emit) -> None:
        self._directory = directory
        self._published = Published(directory, process, ".prom", 0o644)
        # node_exporter puts the files of all processes together: the same series twice, and it shows none.
        self._series = _Labelled(registry, process.labels)
        self._emit = emit
        self._problem = ""

    async def run(self) -> None:
        """Keep it up to date until cancelled."""
        while True:
            # Each time: what a killed process was like when it ended would be told for ever.
            await aside(partial(sweep, self._directory), "textfile")
            try:
                await aside(self._write, "textfile")
                self._tell("")
            except OSError as problem:
                self._tell(problem.strerror or str(problem))
            await anyio.sleep(EVERY)

    def close(self) -> None:
        """Remove it: what is gone has no figures."""
        self._published.remove()

    def _tell(self, problem: str) -> None:
        """Of each problem once, and of its end."""
        if problem != self._problem:
            bad = f"no metrics in {self._directory}, which is tried again: {problem}"
            text = bad if problem else f"there are metrics in {self._directory} again"
            self._emit(Notice("warning" if problem else "info", text))
        self._problem = problem

    def _write(self) -> None:
        self._published.write(generate_latest(self._series))


class _Labelled(Collector):
    """A registry's series with further labels."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            named = Metric(family.name, family.documentation, family.type)
            named.samples = [
                sample._replace(labels={**sample.labels, **self._labels}, timestamp=None) for sample in family.samples
            ]
            yield named
