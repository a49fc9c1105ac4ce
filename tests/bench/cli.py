"""The bench's command line. It is no timed test: it fails on a wrong answer or a hang, never on a figure."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import calls, report, starts, watched, web
from tests.bench.bed import ROOT, SIDES, Bed, Side, counted_calls, echo_servers
from tests.bench.client import BenchError
from tests.bench.figures import Figure
from tests.bench.profiling import profile

HERE = Path(__file__).parent
SCENARIOS = {
    "1": "sequential calls",
    "2": "calls in flight",
    "3": "CPU time",
    "4": "large results",
    "5": "start",
    "6": "tools/list",
    "7": "memory",
    "8": "slow neighbours",
    "9": "processes and threads",
    "10": "the hub over HTTP",
    "11": "telemetry",
}


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "; ".join(f"{number} {what}" for number, what in SCENARIOS.items())
    parser = argparse.ArgumentParser(prog="bench.py", description=f"Measure the proxy. Scenarios: {listed}.")
    parser.add_argument("--quick", action="store_true", help="few rounds, for a look")
    parser.add_argument("--only", metavar="NAME", action="append", help="a number or a part of a name; repeatable")
    parser.add_argument("--sides", default=",".join(SIDES), help="what takes part (%(default)s)")
    parser.add_argument("--sockets", action="store_true", help="pairs of sockets in place of pipes, as Node does it")
    parser.add_argument("--ours", metavar="JSON", type=json.loads, help="more for the proxy section of its config")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the figures there as JSON")
    parser.add_argument("--write", action="store_true", help="renew RESULTS.md and results.json beside the bench")
    parser.add_argument("--profile", action="store_true", help="run the proxy under cProfile, print hot spots")
    chosen = parser.parse_args(arguments)
    chosen.sides = chosen.sides.split(",")
    if not set(chosen.sides) <= set(SIDES):
        parser.error(f"--sides takes {', '.join(SIDES)}")
    if chosen.write and (chosen.quick or chosen.only or chosen.sockets or chosen.sides != list(SIDES)):
        parser.error("--write keeps a full run only: without --quick, --only, --sides and --sockets")
    chosen.scenarios = [
        number
        for number, what in SCENARIOS.items()
        if not chosen.only or any(name == number or (len(name) > 1 and name in what) for name in chosen.only)
    ]
    if not chosen.scenarios:
        parser.error(f"no such scenario; there are {listed}")
    return chosen


def on_running_sides(bed: Bed, plan: calls.Plan, wanted: Sequence[str], notes: list[str]) -> list[Figure]:
    """The scenarios that share one bed of 10 servers with 100 tools each."""
    servers = echo_servers(10, tools=100)
    figures: list[Figure] = []
    with bed.sides(servers) as sides:
        for side in sides:
            calls.timed_echoes(side, 1000)
        steps: dict[str, Callable[[], list[Figure]]] = {
            "1": lambda: calls.sequential_calls(sides, plan),
            "2": lambda: calls.calls_in_flight(sides, plan),
            "3": lambda: calls.cpu_time(sides, plan),
            "4": lambda: calls.large_results(sides, plan),
            "6": lambda: calls.listings(sides, plan, servers),
            "8": lambda: calls.slow_neighbours(sides, plan),
            "9": lambda: starts.census(sides),
        }
        for number, step in steps.items():
            if number in wanted:
                say(number)
                figures += step()
        proxies = [side for side in sides if side.name == "proxy"]
        counts = {side.name: counted_calls(side.log) for side in proxies}
    notes += [account(side, counts[side.name]) for side in proxies]
    return figures


def account(side: Side, counted: float | None) -> str:
    """What the proxy itself says of the calls made, once it has ended and all is written."""
    text = side.log.read_text() if side.log.exists() else ""
    lines = text.count('"tool":')
    metrics = "no metrics were found" if counted is None else f"its metrics counted {counted:,.0f}"
    return f"{side.calls:,} calls were made through the proxy; {metrics}, its log has {lines:,} lines that name a tool."


def say(number: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {number} {SCENARIOS[number]} ...", file=sys.stderr, flush=True)


def measure(bed: Bed, plan: calls.Plan, wanted: Sequence[str]) -> tuple[list[Figure], list[str]]:
    notes = [f"Load average before the first scenario: {os.getloadavg()[0]:.2f}."]
    figures: list[Figure] = []
    if "7" in wanted:
        say("7")
        figures += starts.idle_memory(bed)
    if "5" in wanted:
        say("5")
        figures += starts.start_up(bed, plan)
        figures += starts.warm_start(bed, plan)
    if "10" in wanted:
        say("10")
        figures += web.over_http(bed.scratch, plan)
    if "11" in wanted:
        say("11")
        figures += watched.costs(bed, plan)
    if set(wanted) - {"5", "7", "10", "11"}:
        figures += on_running_sides(bed, plan, wanted, notes)
    return sorted(figures, key=lambda figure: int(figure.scenario.partition(" ")[0])), notes


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "proxy", "tests/bench"], cwd=ROOT, check=True)
    plan = calls.QUICK if chosen.quick else calls.Plan()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        try:
            with Bed(Path(scratch), chosen.sides, chosen.sockets, chosen.ours) as bed:
                if chosen.profile:
                    profile(bed, chosen.sides[-1])
                    return 0
                figures, notes = measure(bed, plan, chosen.scenarios)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    print(report.table(figures))
    print("\n".join(notes))
    results = json.dumps(report.as_json(figures, notes), indent=1) + "\n"
    if chosen.json:
        chosen.json.write_text(results)
    if chosen.write:
        (HERE / "results.json").write_text(results)
        (HERE / "RESULTS.md").write_text(report.page(figures, notes))
    return 0
