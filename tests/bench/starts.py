"""The scenarios that start a side anew: time to the handshake and to the list, memory, processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.bed import Bed, EchoServer, Side, complete_list, echo_servers
from tests.bench.calls import Plan
from tests.bench.client import deadline
from tests.bench.figures import Figure, Samples, Spread
from tests.bench.processes import children, family, memory_mb, open_files, threads

CONFIGURED = (30, 10)
WARM, WARM_TOOLS = 30, 34
SLOWEST = 1.0
SETTLE = 1.0


def slow_starters(count: int, place: int, tools: int = 10) -> list[EchoServer]:
    """Most are ready in up to half of what the one at that place takes."""
    delays = [SLOWEST / 2 * n / count for n in range(count)]
    delays[place] = SLOWEST
    return [EchoServer(f"s{n}", tools=tools, delay=delay) for n, delay in enumerate(delays)]


def started(side: Side, servers: Sequence[EchoServer]) -> tuple[float, float]:
    """Milliseconds from the spawn to the handshake's answer and to the complete list."""
    with deadline(60, f"{side.name}: start with {len(servers)} servers"):
        side.connection.handshake()
        greeted = time.perf_counter()
        complete_list(side, servers)
        listed = time.perf_counter()
    return (greeted - side.connection.started) * 1000, (listed - side.connection.started) * 1000


class StartRows:
    """The rows of start-up for one number of servers."""

    def __init__(self, count: int) -> None:
        title, rows = f"5 start, slowest server {SLOWEST:g} s", f"{count} servers:"
        self.greeted = Samples(title, f"{rows} spawn to initialize answered", "ms", target=300)
        self.extra = Samples(title, f"{rows} complete list, more than the slowest alone", "ms", target=200)
        self.listed = Samples(title, f"{rows} spawn to complete list", "ms")
        self.ended = Samples(title, f"{rows} end of stdin to end of process", "ms")

    def figures(self) -> list[Figure]:
        return [samples.figure() for samples in (self.greeted, self.extra, self.listed, self.ended) if samples.values]


def start_up(bed: Bed, plan: Plan) -> list[Figure]:
    rows = {count: StartRows(count) for count in CONFIGURED}
    bare = Samples(f"5 start, slowest server {SLOWEST:g} s", "an interpreter that does nothing", "ms")
    behind = [name for name in bed.names if name != "direct"]
    for turn in range(plan.starts):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True, env=bed.env)
        if turn:
            bare.add("direct", (time.perf_counter() - begin) * 1000)
        for count, row in rows.items():
            place = (turn * 11 + 7) % count
            servers = slow_starters(count, place)
            _, alone, _ = start_once(bed, "direct", servers[place : place + 1])
            if turn:
                row.listed.add("direct", alone)
            for name in behind if turn % 2 else reversed(behind):
                greeted, listed, ended = start_once(bed, name, servers)
                if turn:
                    row.greeted.add(name, greeted)
                    row.extra.add(name, listed - alone)
                    row.listed.add(name, listed)
                    row.ended.add(name, ended)
    return [figure for row in rows.values() for figure in row.figures()] + [bare.figure()]


def start_once(bed: Bed, name: str, servers: Sequence[EchoServer]) -> tuple[float, float, float]:
    """As `started`, and milliseconds for the end. What was there before is given time to be gone."""
    time.sleep(SETTLE / 2)
    side = bed.connect(name, servers)
    greeted, listed = started(side, servers)
    begin = time.perf_counter()
    side.connection.close()
    return greeted, listed, (time.perf_counter() - begin) * 1000


def warm_start(bed: Bed, plan: Plan) -> list[Figure]:
    """Of servers that an earlier session listed, nothing is started: neither for the lists nor for a health check."""
    title = f"5 warm start, {WARM} servers and {WARM * WARM_TOOLS:,} tools, slowest server {SLOWEST:g} s"
    rows = {
        "cold": Samples(title, "the first time: spawn to complete list", "ms", target=1.3 * SLOWEST * 1000),
        "greeted": Samples(title, "spawn to initialize answered", "ms"),
        "listed": Samples(title, "spawn to complete list", "ms", target=250),
        "children": Samples(title, "children then", "", target=0),
        "checked": Samples(title, "health check: spawn, initialize, close, end of process", "ms", target=400),
        "checked by": Samples(title, "children during a health check", "", target=0),
    }
    if "proxy" not in bed.names:
        return []
    servers = slow_starters(WARM, 7, WARM_TOOLS)
    state = "warm-state"
    for turn in range(plan.starts):
        time.sleep(SETTLE / 2)
        side = bed.connect("proxy", servers, state=state)
        greeted, listed = started(side, servers)
        if turn == 0:
            rows["cold"].add("proxy", listed)
            time.sleep(SETTLE)  # for what was learned to be written
        else:
            rows["greeted"].add("proxy", greeted)
            rows["listed"].add("proxy", listed)
            rows["children"].add("proxy", len(children(side.pid)))
        side.connection.close()
        if turn:
            side = bed.connect("proxy", servers, state=state)
            side.connection.handshake()
            rows["checked by"].add("proxy", len(children(side.pid)))
            side.connection.close()
            rows["checked"].add("proxy", (time.perf_counter() - side.connection.started) * 1000)
    return [samples.figure() for samples in rows.values() if samples.values]


def idle_memory(bed: Bed) -> list[Figure]:
    """One side at a time, so that no other process of the bench shares its pages and makes it look small."""
    title = "7 memory, 10 idle servers"
    rows = {
        "pss": Samples(title, "PSS of the process alone", "MB", target=35),
        "private": Samples(title, "private", "MB"),
        "rss": Samples(title, "RSS", "MB"),
    }
    servers = echo_servers(10, tools=10)
    for name in bed.names:
        if name == "direct":
            continue
        side = bed.connect(name, servers)
        started(side, servers)
        time.sleep(SETTLE)
        for kind, value in memory_mb(side.pid).items():
            rows[kind].add(name, value)
        side.connection.close()
    return [samples.figure() for samples in rows.values() if samples.values]


def census(sides: Sequence[Side]) -> list[Figure]:
    """For the record: what a side consists of after all those calls."""
    title = "9 after all calls, 10 servers of 100 tools"
    figures: dict[str, dict[str, Spread]] = {}
    for side in sides:
        seen = {
            "threads": len(threads(side.pid)),
            "children": len(children(side.pid)),
            "all descendants": len(family(side.pid)) - 1,
            "open files": open_files(side.pid),
            "PSS, MB": memory_mb(side.pid)["pss"],
        }
        for name, value in seen.items():
            figures.setdefault(name, {})[side.name] = Spread.of([value])
    return [Figure(title, name, "", values) for name, values in figures.items()]
