"""What telemetry costs: the same proxy with its log alone and with each of the rest, side by side."""

from __future__ import annotations

import contextlib
import http.server
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.bed import Bed, EchoServer, Side, check_echoes, complete_list, rotated
from tests.bench.calls import LIMIT, WINDOW, Plan, timed_echoes
from tests.bench.client import BenchError, deadline, windowed
from tests.bench.figures import Figure, Samples, quantile
from tests.bench.processes import busy_seconds, one_cpu
from tests.bench.web import mcp_work, rush, web_hub

TITLE = "11 what telemetry adds to a proxy that has its log alone"
ALL = "all of it"
MOST = 10.0
"""Per cent that all of it together may cost."""
ROUNDS = 3
"""Of few rounds so many times more: these are differences of a few per cent."""

Settings = Mapping[str, object]


def variants(folder: Path, collector: str) -> dict[str, Settings]:
    """What the `proxy` section has, by what it is called in the report. The first one is what others are compared to.

    A tenth of the calls is traced where it is one thing among others, as one does with many calls.
    """
    off: dict[str, object] = {"metrics": {"enabled": False}, "control": False}
    otlp = {"endpoint": f"{collector}/v1/metrics", "interval": 1}
    metrics = {"enabled": True, "port": 0, "discovery": True, "textfile": str(folder), "otlp": otlp}
    traces = {"endpoint": f"{collector}/v1/traces", "ratio": 0.1}
    audit = {"file": str(folder / "audit.jsonl")}
    return {
        "the log alone": off,
        "metrics in all four ways": {**off, "metrics": metrics},
        "the audit": {**off, "audit": audit},
        "traces of a tenth": {**off, "traces": traces},
        "traces of all": {**off, "traces": {**traces, "ratio": 1}},
        '`log.payloads: "names"`': {**off, "log": {"payloads": "names"}},
        '`log.payloads: "redacted"`': {**off, "log": {"payloads": "redacted"}},
        "`top`, looking": {**off, "control": True},
        ALL: {"metrics": metrics, "audit": audit, "traces": traces, "control": True},
    }


class _Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: somebody measures."""


@contextlib.contextmanager
def collecting() -> Iterator[str]:
    """The address of a collector in a process of its own, which takes all and keeps nothing."""
    with subprocess.Popen([sys.executable, "-m", "tests.bench.watched"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()


def look(bed: Bed, side: Side) -> None:
    """Watch it, as `top` does. The news stay unread: the proxy does not wait for who looks."""
    sockets = list((bed.scratch / f"{side.log.stem}-state").rglob("*.sock"))
    if len(sockets) != 1:
        raise BenchError(f"{side.name}: no control socket was found: {sockets}")
    watcher = socket.socket(socket.AF_UNIX)
    bed.stack.callback(watcher.close)
    watcher.connect(str(sockets[0]))
    watcher.sendall(b'{"op":"watch"}\n')


def costs(bed: Bed, plan: Plan) -> list[Figure]:
    """Per cent of calls a second lost, and of CPU time and latency added, by each of the variants."""
    with collecting() as collector:
        wanted = variants(bed.scratch, collector)
        return [*_measured(bed, plan, wanted), _of_hubs(bed.scratch, plan, wanted)]


def _of_hubs(folder: Path, plan: Plan, wanted: Mapping[str, Settings]) -> Figure:
    """The same of hubs, over `/mcp`: with all of it, compared to the log alone."""
    alone = next(iter(wanted))
    samples = Samples(f"{TITLE}; the hub, {WINDOW} calls in flight: calls a second", ALL, "fewer, %", target=MOST)
    each, first = max(plan.windowed // WINDOW, 1), 10
    with contextlib.ExitStack() as stack:
        hubs = {}
        for number, name in enumerate((alone, ALL)):
            hub = stack.enter_context(web_hub(folder / f"hub{number}", [EchoServer("s0")], **wanted[name]))
            session = hub.session()
            hubs[name] = [hub.connection(**session) for _ in range(WINDOW)]
            for connection in hubs[name]:
                stack.callback(connection.socket.close)
        for turn in range(plan.few_rounds * ROUNDS):
            took = {}
            for name in sorted(hubs, reverse=bool(turn % 2)):
                work = [mcp_work(one, each, first + index * each) for index, one in enumerate(hubs[name])]
                first += each * WINDOW
                with deadline(LIMIT, f"{name}: {each * WINDOW} calls over HTTP"):
                    took[name] = rush(hubs[name], work)
            if turn:
                samples.add("proxy", (1 - took[alone] / took[ALL]) * 100)
    return samples.figure()


def _measured(bed: Bed, plan: Plan, wanted: Mapping[str, Settings]) -> list[Figure]:
    server = EchoServer("s0")
    sides: list[Side] = []
    before, names = bed.ours, list(wanted)
    for name, settings in wanted.items():
        bed.ours = {**before, **settings}
        side = bed.connect("proxy", [server])
        side.name = name
        with deadline(LIMIT, f"{name}: start"):
            side.connection.handshake()
            complete_list(side, [server])
            timed_echoes(side, 1000)
        if settings["control"]:
            look(bed, side)
        sides.append(side)
    bed.ours = before
    found = _rounds(sides, plan)
    figures = []
    for name in (names[0], ALL):
        samples = Samples(f"{TITLE}; {WINDOW} calls in flight: calls a second, as they are", name, "calls/s")
        for rate in found.rates[name]:
            samples.add("proxy", rate)
        figures.append(samples.figure())
    for what, unit, values in (
        (f"{WINDOW} calls in flight: calls a second", "fewer, %", found.rates),
        (f"{WINDOW} calls in flight: CPU time of the proxy", "more, %", found.busy),
        ("calls one by one, all on one CPU: CPU time of the proxy", "more, %", found.busy_alone),
        ("calls one by one: p50", "more, %", found.times),
        ("calls one by one, all on one CPU: p50", "more, %", found.times_on_one),
    ):
        sign = -1 if values is found.rates else 1
        for name in names[1:]:
            samples = Samples(f"{TITLE}; {what}", name, unit, target=MOST if name == ALL else None)
            for ours, plain in zip(values[name], values[names[0]], strict=True):
                samples.add("proxy", sign * (ours / plain - 1) * 100)
            figures.append(samples.figure())
    for side in sides:
        side.connection.close()
    return figures


class _Found:
    """Of each variant and round: calls a second, seconds of CPU for them, for the same one by one, and their p50.

    `busy_alone` and `times_on_one` are on one CPU, where what is told of a call delays the client's next one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.rates: dict[str, list[float]] = {name: [] for name in names}
        self.busy: dict[str, list[float]] = {name: [] for name in names}
        self.busy_alone: dict[str, list[float]] = {name: [] for name in names}
        self.times: dict[str, list[float]] = {name: [] for name in names}
        self.times_on_one: dict[str, list[float]] = {name: [] for name in names}


def _rounds(sides: Sequence[Side], plan: Plan) -> _Found:
    found = _Found([side.name for side in sides])
    for turn in range(plan.few_rounds * ROUNDS):
        for side in rotated(sides, turn):
            lines, expected = side.echoes(plan.windowed)
            began = busy_seconds(side.pid)
            with deadline(LIMIT, f"{side.name}: {len(lines)} calls, {WINDOW} in flight"):
                seconds, answers = windowed(side.connection, lines, WINDOW)
            between = busy_seconds(side.pid)
            check_echoes(side, answers, expected)
            times = timed_echoes(side, plan.sequential)
            idle = busy_seconds(side.pid)
            with one_cpu([side.pid]):
                times_on_one = timed_echoes(side, plan.sequential)
            alone = busy_seconds(side.pid) - idle
            if turn:
                found.rates[side.name].append(len(lines) / seconds)
                found.busy[side.name].append(between - began)
                found.busy_alone[side.name].append(alone)
                found.times[side.name].append(quantile(times, 0.5))
                found.times_on_one[side.name].append(quantile(times_on_one, 0.5))
    return found


def serve() -> None:
    """Be the collector."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
