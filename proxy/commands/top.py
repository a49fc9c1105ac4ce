"""`mcp-manifold top`: all running proxies of this user, as they are."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from rich.table import Table
from rich.text import Text

from ..config.load import load, locate, state_directory, state_of_a_broken
from ..config.models import ProxySettings
from ..control import peer, place
from ..errors import ConfigError, ManifoldError
from ..texts import printable
from ..top import attention, figures
from ..top.machine import Machine, Seen
from ..top.rows import named, now, plain, under_way
from .local import output
from .readable import Readable

if TYPE_CHECKING:
    from ..overview import ServerRow


_MOST_TROUBLES = 50


def main(arguments: argparse.Namespace) -> int:
    """Show the view until it is left, or print once what there is."""
    if not peer.SUPPORTED:
        raise ManifoldError("`top` needs Unix sockets and users, which this system does not have")
    state = _state(arguments.config)
    if arguments.once or arguments.json:
        machine = Machine(state)
        anyio.run(machine.ask_once)
        if arguments.json:
            print(msgspec.json.format(msgspec.json.encode({"processes": list(map(_told, machine.processes))})).decode())
        else:
            _print(machine)
        return 0
    # Keys are read from stdin, and what is shown is written to stderr.
    if os.environ.get("TERM") == "dumb" or not all(each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr)):
        raise ManifoldError(
            "`top` needs a terminal; `top --once` prints what there is, and `--json` does so for scripts"
        )
    from ..top.app import Top  # a quarter of a second, which scripts need not wait

    app = Top(state, reader)
    app.run()
    return app.return_code or 0


def reader() -> Callable[[bytes], str]:
    """What makes one log's lines readable, one after the other."""
    readable = Readable(colours=True)

    def read(line: bytes) -> str:
        try:
            return readable(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return readable.broken(line)

    return read


def _state(given: str | None) -> Path:
    """The state directory of the configuration, or the user's own: who runs proxies without --config has none here.

    What runs goes on with a file that was broken since, and just then one wants to look.
    """
    path = locate(given, os.environ)
    try:
        return state_directory(load(path, os.environ).proxy)
    except ConfigError:
        if given is None:
            return state_directory(ProxySettings())
        state = state_of_a_broken(path, os.environ)
        if state is None and _runs_with(path, state_directory(ProxySettings())):
            state = state_directory(ProxySettings())  # it is gone, mostly
        if state is None:
            raise
        return state


def _runs_with(path: Path, state: Path) -> bool:
    """Whether a process with this configuration, by its name, has this state directory."""
    return any(card.config == printable(str(path)) for card in place.find(state))


def _told(seen: Seen) -> dict[str, Any]:
    """A process for scripts: times are Unix times, durations seconds, memory bytes."""
    card = seen.card
    return {
        "pid": card.pid,
        "kind": card.kind,
        "session": card.session,
        "started": card.at,
        "version": card.version,
        "config": card.config,
        "log": seen.process.log if seen.process is not None else "",
        "problem": seen.problem,
        "misconfigured": seen.misconfigured,
        "clients": seen.process.clients if seen.process is not None else [],
        "memory": seen.own_memory,
        "memory_in_all": seen.memory,
        "in_flight": seen.in_flight,
        "under_way": seen.under_way,
        "servers": [_told_server(seen, row) for row in seen.servers],
    }


def _told_server(seen: Seen, row: ServerRow) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in row.__struct_fields__}, "memory": seen.memories.get(row.key)}


def _print(machine: Machine) -> None:
    console = output()
    if not machine.processes:
        where = place.directory(machine.state)
        console.print(f"no proxy is running (looked in {where})", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("process", "pid", "server", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("calls/s", "p50", "p99", "calls", "failed", "running", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for seen in machine.processes:
        for cells in _rows(seen):
            table.add_row(*cells)
    console.print(table)
    for seen, call in under_way(machine.processes):
        what = "waits" if call.waits else "runs"
        since = figures.age(max(0.0, now() - call.started))
        console.print(plain(f"▶ {seen.card.pid}: {call.server} {named(call)} {what} for {since}"), soft_wrap=True)
    for line in attention.lines(machine.processes, now(), _MOST_TROUBLES):
        console.print(line, soft_wrap=True)


def _rows(seen: Seen) -> list[list[Text]]:
    who = [plain(seen.name), Text(str(seen.card.pid))]
    if not seen.servers:
        return [[*who, Text("-"), plain(seen.problem or "no servers")]]
    return [
        [
            *who,
            plain(row.key),
            Text(*figures.sign(row.state)),
            Text(figures.rate(row.rate)),
            Text(figures.duration(row.p50)),
            Text(figures.duration(row.p99)),
            Text(str(row.calls)),
            Text(str(row.failures)),
            Text(str(row.in_flight)),
            Text(figures.size(seen.memories.get(row.key))),
        ]
        for row in seen.servers
    ]
