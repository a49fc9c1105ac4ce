"""The composition root: one task group owns everything, and only this module knows who listens to events."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from . import __version__
from .config.load import secrets, state_directory
from .config.models import Config
from .eras.handshake import Offer
from .errors import ManifoldError, innermost
from .events import Bus, Notice
from .fleet import Fleet
from .fronts.stdio import StandardStreams, StdioFront
from .names import Given
from .pump import Pump
from .relay import Relay
from .reload import Reloader
from .store.given import GivenNames
from .store.listings import Listings
from .store.unkept import UnkeptListings, UnkeptNames, why_unkept
from .telemetry.payloads import inspector
from .telemetry.redact import Redactor
from .telemetry.traces import Traces, begin_tracing
from .texts import one_line, printable
from .transports.channel import Graces
from .transports.connect import Connector
from .upkeep import Upkeep

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from .events import Observer
    from .overview import Overview
    from .telemetry.outlets import Outlets

SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_LONGEST_SESSION: Final = 200
_LATER: Final = 0.1
"""Seconds in which a client asks for the lists that are known: nothing should be in its way."""

_RELOAD: Final = getattr(signal, "SIGHUP", None)


class Hub:
    """The running parts: what fronts and commands need.

    With `afresh` all servers run, whatever is known of them. With `offer` servers are told that of their clients, and
    not what each of those says of itself. Without `remember` nothing is written to the state directory. With `traced`
    requests have their places in traces, if the configuration asks for it.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        *,
        afresh: bool = False,
        offer: Offer | None = None,
        remember: bool = True,
        traced: bool = False,
    ) -> None:
        self.config = config
        self.began = time.time()
        self.session = ""
        """The client's, where there is only one client."""
        self._afresh = afresh
        self.bus = Bus(time.time, asyncio.get_running_loop().call_soon)
        proxy = config.proxy
        self.relay = Relay(
            emit=self.bus,
            name=proxy.name,
            version=__version__,
            list_wait=proxy.list_wait,
            page_size=proxy.page_size,
            offer=offer,
        )
        self.pump = Pump(self.relay, self.bus)
        self.graces = Graces()
        self.connector = Connector(environ, self.graces)
        self.redactor = redactor_of(config)
        self.relay.inspect(inspector(proxy, self.redactor))
        tracing = begin_tracing(proxy.traces, self.bus) if traced else None
        self.relay.trace(tracing)
        self.is_traced = tracing is not None
        state = state_directory(proxy)
        unkept = why_unkept(state) if remember else ""
        if unkept:
            text = f"nothing can be remembered for the next session in {state} (`stateDir`): {unkept}"
            self.bus(Notice("warning", text))
        self.keeps = kept = remember and not unkept
        self.listings = (Listings if kept else UnkeptListings)(state, environ)
        names = (GivenNames if kept else UnkeptNames)(state, config.path)
        given = self._given(names)
        self.fleet = Fleet(
            config,
            self.pump,
            self.connector,
            self.bus,
            random.random,
            self.redactor,
            self.listings,
            given,
            afresh=afresh,
        )
        self.upkeep = Upkeep(self.fleet, given, names, proxy.refresh_after, self.bus)
        self.relay.on_first_use(self.upkeep.in_use)
        self.reloader = Reloader(config, environ, self.fleet, self.bus, self.redactor.learn)

    def _given(self, names: GivenNames) -> Given:
        """The names of earlier sessions; without them all are given anew, by the same rules."""
        try:
            return names.load()
        except ValueError as problem:
            self.bus(Notice("warning", f"the names that tools were given can't be read, and are given anew: {problem}"))
            return Given()

    @asynccontextmanager
    async def servers(self) -> AsyncIterator[None]:
        """Start all servers; leaving ends them, children and all."""
        for warning in self.config.warnings:
            self.bus(Notice("warning", warning))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.fleet.run)
                if not self._afresh:  # which is a look at the servers, and may be one at some of them
                    tasks.start_soon(self.upkeep.run)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            self.pump.close()
            self.connector.close()


def redactor_of(config: Config) -> Redactor:
    """Hides the secrets of this configuration in whatever is shown."""
    return Redactor(secrets(config))


async def run_stdio(config: Config, environ: Mapping[str, str], streams: StandardStreams) -> None:
    """Serve the client on stdin and stdout until it is gone or a signal comes."""
    # A variable may hold any bytes; this becomes a label, and goes into files that others read.
    given = one_line(printable(environ.get("CLAUDE_CODE_SESSION_ID", "")), _LONGEST_SESSION)
    label = given or f"{os.getpid():x}-{int(time.time()):x}"
    hub = Hub(config, environ, traced=True)
    hub.session = label
    front = StdioFront(hub.pump, streams, label)
    if sys.platform == "win32":  # no signals of this kind: a client closes stdin or ends us outright
        await _serve(hub, front, None)
        return
    with anyio.open_signal_receiver(*SIGNALS) as signals:  # around all: Claude Code's second signal comes while we end
        await _serve(hub, front, signals)


async def _serve(hub: Hub, front: StdioFront, signals: AsyncIterator[signal.Signals] | None) -> None:
    async with AsyncExitStack() as telemetry, anyio.create_task_group() as tasks:
        if signals is not None:
            tasks.start_soon(obey_signals, signals, hub, tasks)
        # The client's first request is mostly here already: it has its answer before the first server is started.
        await front.open()
        async with hub.servers():
            tasks.start_soon(_start_the_rest, hub, telemetry)
            await front.serve()
            hub.graces.conclude()
        tasks.cancel_scope.cancel()


async def obey_signals(signals: AsyncIterator[signal.Signals], hub: Hub, tasks: TaskGroup) -> None:
    """SIGHUP reads the configuration again. Any other ends us at once: who sent it kills us half a second later."""
    async for received in signals:
        if received == _RELOAD:
            tasks.start_soon(hub.reloader.reload)
        else:
            hub.graces.hurry()
            tasks.cancel_scope.cancel()


async def _start_the_rest(hub: Hub, stack: AsyncExitStack) -> None:
    """Telemetry and the watch over the file, a little later: their libraries take as long again."""
    overview = None
    try:
        await anyio.sleep(_LATER)
        if hub.config.proxy.control:
            overview = open_overview(hub)
    finally:
        # A session that is over by then is told of, too.
        outlets = _tell(hub, stack, *([overview.status] if overview is not None else []))
    async with anyio.create_task_group() as tasks:
        if overview is not None:
            tasks.start_soon(serve_control, hub, overview, "run")
        if outlets is not None:
            outlets.is_at(None)
            tasks.start_soon(publish, outlets)
        await hub.reloader.watch()


def open_overview(hub: Hub, ours: Collection[str] = ()) -> Overview:
    """What shows this process to who looks; its `status` wants to be told of events. `ours` are no clients."""
    from .overview import Overview  # here, with all that comes later
    from .status import Status

    status = Status(time.time, hub.redactor, ours)
    return Overview(hub.fleet, hub.pump, status, time.time, hub.redactor, lambda: hub.reloader.problem)


async def serve_control(hub: Hub, overview: Overview, kind: str) -> None:
    """Answer `top` until cancelled; `kind` is the command that runs."""
    from .control.server import Control  # the same

    if not hub.keeps:
        hub.bus(Notice("debug", "`top` will not show this process, whose state directory can't be used"))
        return
    proxy, path = hub.config.proxy, hub.config.path
    control = Control(overview, hub.bus, kind=kind, session=hub.session, config=path, log=proxy.log.file, at=hub.began)
    try:
        await control.run(state_directory(proxy))
    except Exception:
        # A defect of ours: nobody can look any more, and calls go on.
        sys.excepthook(*sys.exc_info())


def _tell(hub: Hub, stack: AsyncExitStack, *more: Observer) -> Outlets | None:
    try:
        telemetry = open_telemetry(hub, stack)
    except Exception:
        # Whatever is wrong with a log or an endpoint, calls go on; the traceback is all that can still be said.
        sys.excepthook(*sys.exc_info())
        telemetry = Telemetry([], None)
    hub.bus.open(*telemetry.observers, *more)
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it during calls
    return telemetry.outlets


@dataclass(frozen=True)
class Telemetry:
    """Who listens, and the ways that figures go out, if they are kept."""

    observers: list[Observer]
    outlets: Outlets | None


def open_telemetry(hub: Hub, stack: AsyncExitStack, *, measure: bool = False) -> Telemetry:
    """Make the observers that the configuration asks for, and with `measure` the figures in any case.

    `stack` closes them.
    """
    # Imported here and not above: together they take longer than everything else, and nobody waits for them.
    from .telemetry.audit import open_audit
    from .telemetry.bridge import install_bridge
    from .telemetry.logs import build_logs
    from .telemetry.sink import open_sink

    settings = hub.config.proxy
    sink = open_sink(settings.log, hub.bus)
    stack.callback(sink.close)
    logs = build_logs(settings.log, sink=sink, redactor=hub.redactor, clock=time.monotonic)
    stack.callback(install_bridge(logs, settings.log.level))
    stack.callback(hub.bus.flush)  # what the others have to say of their end
    observers: list[Observer] = [logs]
    # Closed the other way round: who may wait for a collector comes last, since we may be killed meanwhile, and those
    # who do wait together.
    traces = None
    if hub.is_traced:
        traces = Traces(
            settings.traces,
            redactor=hub.redactor,
            find=hub.fleet.entry,
            offset=lambda: time.time() - time.monotonic(),
        )
        stack.callback(traces.close)
        observers.append(traces)
    outlets = None
    if settings.metrics.is_wanted or measure:
        outlets = _open_outlets(hub, lambda: logs.left_out, "serve" if measure else "run")
        stack.callback(outlets.close)
        observers.append(outlets.metrics)
    if traces is not None:
        stack.callback(traces.hurry)
    if (opened := open_audit(settings.audit, hub.redactor, hub.bus, time.time)) is not None:
        audit, close = opened
        stack.callback(close)
        observers.append(audit)
    stack.callback(sink.flush)
    stack.callback(hub.bus.flush)  # what happened while ending is told
    return Telemetry(observers, outlets)


def _open_outlets(hub: Hub, left_out: Callable[[], Mapping[str, int]], kind: str) -> Outlets:
    """The figures and the ways that they go out; `kind` is the command that runs."""
    from .telemetry.metrics import Metrics  # the same
    from .telemetry.outlets import Outlets
    from .telemetry.published import this_process
    from .telemetry.pulled import Sources

    settings, relay = hub.config.proxy, hub.relay
    sources = Sources(
        traffic=relay.traffic,
        in_flight=relay.in_flight,
        figures=relay.figures,
        listed=hub.fleet.listed,
        sessions=relay.sessions,
        left_out=left_out,
        pids=lambda: [(one.key, one.pid) for one in hub.fleet.supervisors if one.pid is not None],
    )
    process = this_process(kind, hub.session)
    return Outlets(settings.metrics, Metrics(sources, hub.redactor), process, state_directory(settings), hub.bus)


async def publish(outlets: Outlets) -> None:
    """Let the figures out until cancelled."""
    try:
        await outlets.run()
    except Exception:
        # A defect of ours: there are no figures any more, and calls go on.
        sys.excepthook(*sys.exc_info())


def run(main: Callable[..., object], *args: object) -> object:
    """Run an async function on the fastest loop that there is. What is raised on purpose comes out as it is."""
    options = {"use_uvloop": sys.platform != "win32"}
    try:
        return anyio.run(main, *args, backend="asyncio", backend_options=options)  # type: ignore[arg-type]
    except BaseExceptionGroup as group:
        problem = innermost(group)
        if isinstance(problem, ManifoldError):
            raise problem from None
        raise
