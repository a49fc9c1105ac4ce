"""The ways that the figures go out: a port, a file that names it, a text file, and OTLP. Each is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from ..aside import aside
from ..config.models import MetricsSettings
from ..events import Emit, Notice
from . import discovery, endpoint
from .loop import watch_lag
from .metrics import Metrics
from .otlp import Pusher
from .published import Process
from .textfile import Textfile

EVERY: Final = 15.0
"""Seconds between two looks at whether the file that names the port is there."""


class Outlets:
    """Those that the settings name, for `process`; `state` is the state directory.

    What they can't do is told, and never ends the proxy. `close` leaves nothing behind; it may be called in any state.
    """

    def __init__(self, settings: MetricsSettings, metrics: Metrics, process: Process, state: Path, emit: Emit) -> None:
        self._settings = settings
        self.metrics = metrics
        self._process = process
        self._state = state
        self._emit = emit
        self._closing = ExitStack()
        self._work: list[Callable[[], Coroutine[Any, Any, None]]] = [partial(watch_lag, metrics.observe_lag)]
        if settings.otlp.endpoint is not None:
            pusher = Pusher(settings.otlp, process, metrics.registry, emit)
            self._closing.callback(pusher.close)
            self._work.append(pusher.run)
        if settings.textfile is not None:
            textfile = Textfile(settings.textfile, process, metrics.registry, emit)
            self._closing.callback(textfile.close)
            self._work.append(textfile.run)
        if settings.enabled:
            self._listen()

    async def run(self) -> None:
        """Do what is to be done now and then, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for work in self._work:
                tasks.start_soon(work)

    def close(self) -> None:
        """End all of them."""
        self._closing.close()

    def is_at(self, address: str | None) -> None:
        """The figures are at this address of the hub's, too, behind its token; None where there is no hub."""
        if not self._settings.discovery or self._settings.enabled:
            return
        if address is None:
            self._emit(Notice("warning", "nothing for Prometheus to discover: `metrics.enabled` is false"))
        else:
            self._announce(discovery.OF_HUBS, address)

    def _listen(self) -> None:
        server = endpoint.serve(self._settings, self.metrics.registry, self._emit)
        self._closing.callback(server.close)
        if self._settings.discovery and server.address is not None:
            self._announce(discovery.FOLDER, server.address)

    def _announce(self, folder: str, address: str) -> None:
        directory = self._state / folder
        try:
            file = discovery.announce(directory, self._process, address)
        except OSError as problem:
            text = f"Prometheus can't discover this process: {directory}: {problem.strerror or problem}"
            self._emit(Notice("warning", text))
        else:
            self._closing.callback(file.remove)
            self._work.append(partial(_keep, file))


async def _keep(file: discovery.Announced) -> None:
    """Have it there again where somebody emptied the state directory, until cancelled."""
    while True:
        await anyio.sleep(EVERY)
        with suppress(OSError):  # it may work the next time
            await aside(file.renew, "discovery")
