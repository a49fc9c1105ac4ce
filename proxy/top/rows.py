"""What the tables of the view show: columns that fit the width, and a row of text for each process, server and call."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from rich.text import Text

from ..overview import ServerRow, UnderWay
from ..status import Call
from ..texts import one_line
from . import figures
from .machine import DOWN, Seen

WIDE = 110
"""Columns of a terminal from which on there is room for more than the figures."""

_LONGEST = 200
_OUTLOOK = re.compile(r"; it (failed too often and )?is not started again .*", re.DOTALL)
_CURVE = 16
_NARROWEST = 8
_NAME = 12
_AGE = 8

SORTS = ("", "server", "state", "rate", "p50", "p99", "failed", "run", "memory")
"""Columns that servers can be sorted by; "" is the order of the configuration, with what is down before all others."""

# What a narrow terminal does without, the first that goes first.
_LESS_OF_PROCESSES = ("run", "memory", "age", "rate", "pid")
_LESS_OF_SERVERS = ("p50", "p99", "memory", "rate", "pid", "run", "failed")
_LESS_OF_CALLS = ("client", "time", "took")


class Column(NamedTuple):
    """A column and its width, in characters. `order` is what rows are sorted by when the column is chosen."""

    key: str
    label: str
    width: int
    right: bool = False
    order: str = ""


def plain(text: str, style: str = "", longest: int = _LONGEST) -> Text:
    """Whatever somebody sent, as one line that can do nothing to a terminal."""
    return Text(one_line(text, longest), style=style)


def brief(reason: str) -> str:
    """Why a server is down, where there is one line for it: without what becomes of it now."""
    return _OUTLOOK.sub("", reason).replace("; its last words: ", ": ")


# Processes


def process_columns(width: int) -> list[Column]:
    """For a table of this width."""
    columns = [
        Column("name", "PROCESS", 0),
        Column("pid", "PID", 9, right=True),
        Column("age", "AGE", 8, right=True),
        Column("up", "SERVERS", 9, right=True),
        Column("rate", "CALLS/S", 9, right=True),
        Column("run", "RUNNING", 9, right=True),
        Column("memory", "MEMORY", 8, right=True),
    ]
    if width >= WIDE:
        columns.append(Column("config", "  CONFIGURATION", (width - 52) // 2))
    return _stretched(_fitting(columns, width, _LESS_OF_PROCESSES), width)


def all_processes(processes: list[Seen], columns: list[Column]) -> list[Text]:
    """The row for all of them together."""
    totals = {
        "name": Text("all", style="bold"),
        "up": _up([row for seen in processes for row in seen.servers]),
        "rate": Text(figures.rate(sum(seen.rate for seen in processes))),
        "run": Text(figures.number(sum(seen.in_flight for seen in processes))),
        "memory": Text(figures.size(sum(seen.memory or 0 for seen in processes) or None)),
    }
    return [totals.get(column.key, Text("")) for column in columns]


def process(seen: Seen, columns: list[Column], now: float) -> list[Text]:
    """One process."""
    cells = {
        "name": plain(seen.name),
        "pid": Text(str(seen.card.pid)),
        "age": Text(figures.age(now - seen.card.at)),
        "up": _up(seen.servers),
        "rate": Text(figures.rate(seen.rate)),
        "run": Text(figures.number(seen.in_flight)),
        "memory": Text(figures.size(seen.memory)),
        "config": Text("  ").append_text(plain(seen.card.config, "dim")),
    }
    if seen.problem or seen.hangs:
        why = (seen.problem or "it does not answer").removeprefix("it ")
        cells["name"] = plain(f"! {why}: {seen.name}", "yellow")
    return [cells[column.key] for column in columns]


def _up(rows: list[ServerRow]) -> Text:
    """How many of its servers run, and in which way the rest does not."""
    ready = sum(row.state == "ready" for row in rows)
    bad = any(row.state in DOWN for row in rows)
    return Text(f"{'!' if bad else ''}{ready}/{len(rows)}", style="red" if bad else "")


# Servers


def server_columns(width: int, *, of_all: bool) -> list[Column]:
    """For a table of this width; `of_all`: rows of several processes stand together."""
    columns = [Column("server", "SERVER", 0), Column("state", "STATE", 12)]
    if of_all:
        columns.append(Column("pid", "PROXY", 8))
    columns += [
        Column("rate", "CALLS/S", 8 + 2, right=True),
        Column("p50", "P50", 7, right=True),
        Column("p99", "P99", 7, right=True),
        Column("failed", "FAILED", 8, right=True),
        Column("run", "RUN", 6, right=True),
        Column("memory", "MEMORY", 8, right=True),
    ]
    if width >= WIDE:
        columns.append(Column("curve", "  LAST 4 MIN", _CURVE + 4))
        left = width - sum(column.width for column in columns)
        columns.append(Column("trouble", "LAST ERROR", left - max(14, left // 3)))
    return _stretched(_fitting(columns, width, _LESS_OF_SERVERS), width)


def server(seen: Seen, row: ServerRow, columns: list[Column]) -> list[Text]:
    """One server."""
    sign, style = figures.sign(row.state)
    waiting = f"+{row.queued}" if row.queued else ""
    trouble = brief(row.last_error.text) if row.last_error is not None else ""
    cells = {
        "server": plain(row.key, "bold"),
        "state": Text(sign, style=style),
        "pid": Text(str(seen.card.pid)),
        "rate": Text(figures.rate(row.rate)),
        "p50": Text(figures.duration(row.p50)),
        "p99": Text(figures.duration(row.p99)),
        "failed": Text(figures.number(row.failures), style="red" if row.failures else ""),
        "run": Text(f"{row.in_flight}{waiting}" if row.in_flight or waiting else "-"),
        "memory": Text(figures.size(seen.memories.get(row.key))),
        "curve": Text(f"  {figures.bars(_halved(row.spark), _CURVE)}", style="cyan"),
        "trouble": plain(trouble, "red" if row.state in DOWN else "dim"),
    }
    return [cells[column.key] for column in columns]


def in_order(found: list[tuple[Seen, ServerRow]], by: str) -> list[tuple[Seen, ServerRow]]:
    """Sorted by a column, what needs looking at first; without one only that is put first."""
    if by == "server":
        return sorted(found, key=lambda one: one[1].key.lower())
    if by == "state":
        bad = ("failed", "backoff", "stopped", "starting", "ready", "idle")
        return sorted(found, key=lambda one: bad.index(one[1].state) if one[1].state in bad else 0)
    if by == "memory":
        return sorted(found, key=lambda one: -one[0].memories.get(one[1].key, 0))
    if by in ("rate", "p50", "p99", "failed", "run"):
        return sorted(found, key=lambda one: -_figure(one[1], by))
    return sorted(found, key=lambda one: not _is_troubled(one[1]))


def _is_troubled(row: ServerRow) -> bool:
    """Whether it is down, or is just being tried again: it keeps its place meanwhile."""
    return row.state in DOWN or (row.state == "starting" and row.last_error is not None)


def _figure(row: ServerRow, by: str) -> float:
    figure = {
        "rate": row.rate,
        "p50": row.p50,
        "p99": row.p99,
        "failed": row.failures,
        "run": row.in_flight + row.queued,
    }[by]
    return figure or 0.0


def _halved(counts: list[int]) -> list[int]:
    """Three spans as one: the curve is to fit."""
    return [sum(counts[at : at + 3]) for at in range(0, len(counts), 3)]


# Calls


def call_columns(width: int, *, of_one: bool) -> list[Column]:
    """For a table of this width; `of_one`: all of them are one client's, whom nobody needs to be told."""
    part = min(24, max(10, width // 6))
    columns = [Column("time", "TIME", 9), Column("server", "SERVER", part)]
    if not of_one or width >= WIDE:
        columns.insert(1, Column("client", "CLIENT", part))
    left = width - sum(column.width for column in columns) - _AGE
    columns += [
        Column("tool", "CALL", 0),
        Column("outcome", "OUTCOME", max(14, left * 3 // 5)),
        Column("took", "AGE", _AGE, right=True),
    ]
    return _stretched(_fitting(columns, width, _LESS_OF_CALLS), width)


def calls(
    processes: Iterable[Seen], columns: list[Column], most: int, now: float, *, failed: bool
) -> dict[str, list[Text]]:
    """The calls under way, the longest first, then the last ones that ended; only those that failed, if so wanted."""
    rows: dict[str, list[Text]] = {}
    for seen, one in under_way(processes) if not failed else ():
        if len(rows) < most:
            rows[call_key(seen, one)] = _picked(_running(one, now), columns)
    for seen, done in ended(processes, failed=failed):
        if len(rows) >= most:
            break
        rows[call_key(seen, done)] = _picked(_ended(done), columns)
    return rows


def under_way(processes: Iterable[Seen]) -> list[tuple[Seen, UnderWay]]:
    """The longest first."""
    return sorted(((seen, one) for seen in processes for one in seen.under_way), key=lambda each: each[1].started)


def ended(processes: Iterable[Seen], *, failed: bool = False) -> list[tuple[Seen, Call]]:
    """The newest first."""
    found = [(seen, one) for seen in processes for one in (seen.failures if failed else seen.calls)]
    return sorted(found, key=lambda each: -each[1].at)


def call_key(seen: Seen, call: UnderWay | Call) -> str:
    """What tells a call apart from all others."""
    if isinstance(call, Call):
        return f"{seen.id} {call.number}"
    return f"{seen.id} {call.session} {call.id} {call.started}"


def _picked(cells: dict[str, Text], columns: list[Column]) -> list[Text]:
    return [cells[column.key] for column in columns]


def _running(call: UnderWay, now: float) -> dict[str, Text]:
    what = "◌ waits" if call.waits else "▶ running"
    return {
        "time": Text(figures.clock(call.started)),
        "client": plain(call.client),
        "server": plain(call.server),
        "tool": plain(named(call), "bold"),
        "outcome": Text(what, style="yellow" if call.waits else "green"),
        "took": Text(figures.age(now - call.started), style="bold"),
    }


def _ended(call: Call) -> dict[str, Text]:
    good = call.outcome == "ok"
    return {
        "time": Text(figures.clock(call.at), style="dim"),
        "client": plain(call.client, "dim"),
        "server": plain(call.server, "dim"),
        "tool": plain(named(call), "dim"),
        "outcome": plain(f"✓ {outcome(call)}" if good else f"✗ {outcome(call)}", "dim" if good else "red"),
        "took": Text(figures.duration(call.seconds), style="dim"),
    }


def outcome(call: Call) -> str:
    """How it ended, and why."""
    return f"{call.outcome}: {call.reason}" if call.reason else call.outcome


def named(call: UnderWay | Call) -> str:
    """What was asked for."""
    return call.tool if call.method == "tools/call" else f"{call.method} {call.tool}"


def _fitting(columns: list[Column], width: int, less: Iterable[str]) -> list[Column]:
    """As many of them as have room."""
    for key in less:
        if sum(column.width for column in columns) + _NAME <= width:
            break
        columns = [column for column in columns if column.key != key]
    return columns


def _stretched(columns: list[Column], width: int) -> list[Column]:
    """The column without a width gets what is left."""
    left = max(_NARROWEST, width - sum(column.width for column in columns))
    return [column if column.width else column._replace(width=left) for column in columns]


def matches(wanted: str, *texts: str) -> bool:
    """Whether a filter lets something pass: all of its words are in one of the texts."""
    found = "\n".join(texts).lower()
    return all(word in found for word in wanted.lower().split())


def now() -> float:
    """The Unix time."""
    return time.time()
