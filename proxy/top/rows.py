"""What the tables of the view show: columns that fit the width, and a row of text for each process, server and call."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from rich.text import Text

from ..overview import ServerRow, UnderWay
from ..status import Call
from ..texts import one_line
from . import figures
from .machine import Seen

WIDE = 110
"""Columns of a terminal from which on there is room for more than the figures."""

_LONGEST = 200
_CURVE = 16
_NARROWEST = 8

SORTS = ("", "server", "state", "rate", "p50", "p99", "failed", "run", "memory")
"""Columns that servers can be sorted by; "" is the order of the configuration."""


class Column(NamedTuple):
    """A column and its width, in characters. `order` is what rows are sorted by when the column is chosen."""

    key: str
    label: str
    width: int
    right: bool = False
    order: str = ""


def plain(text: str, style: str = "") -> Text:
    """Whatever somebody sent, as one line that can do nothing to a terminal."""
    return Text(one_line(text, _LONGEST), style=style)


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
    return _stretched(columns, width)


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
    bad = any(row.state in ("failed", "backoff") for row in rows)
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
    return _stretched(columns, width)


def server(seen: Seen, row: ServerRow, columns: list[Column]) -> list[Text]:
    """One server."""
    sign, style = figures.sign(row.state)
    waiting = f"+{row.queued}" if row.queued else ""
    trouble = row.last_error.text if row.last_error is not None else ""
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
        "trouble": plain(trouble, "red" if row.state in ("failed", "backoff") else "dim"),
    }
    return [cells[column.key] for column in columns]


def in_order(found: list[tuple[Seen, ServerRow]], by: str) -> list[tuple[Seen, ServerRow]]:
    """Sorted by a column, what needs looking at first."""
    if by == "server":
        return sorted(found, key=lambda one: one[1].key.lower())
    if by == "state":
        bad = ("failed", "backoff", "stopped", "starting", "ready", "idle")
        return sorted(found, key=lambda one: bad.index(one[1].state) if one[1].state in bad else 0)
    if by == "memory":
        return sorted(found, key=lambda one: -one[0].memories.get(one[1].key, 0))
    if by in ("rate", "p50", "p99", "failed", "run"):
        return sorted(found, key=lambda one: -_figure(one[1], by))
    return found


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


def call_columns(width: int) -> list[Column]:
    """For a table of this width."""
    columns = [
        Column("time", "TIME", 9),
        Column("client", "CLIENT", min(24, max(10, width // 6))),
        Column("server", "SERVER", min(24, max(10, width // 6))),
        Column("tool", "CALL", 0),
        Column("outcome", "OUTCOME", 14 if width < WIDE else width // 4),
        Column("took", "AGE", 8, right=True),
    ]
    return _stretched(columns, width)


def calls(processes: Iterable[Seen], server_key: str, most: int, now: float) -> dict[str, list[Text]]:
    """The calls under way, the longest first, then the last ones that ended; of one server where one is given."""
    under_way = [(one.started, seen, one) for seen in processes for one in seen.under_way]
    ended = [(one.at, seen, one) for seen in processes for one in seen.calls]
    under_way.sort(key=lambda each: each[0])
    ended.sort(key=lambda each: -each[0])
    rows: dict[str, list[Text]] = {}
    for _, seen, running in under_way[:most]:
        if not server_key or running.server == server_key:
            rows[f"{seen.id} {running.session} {running.id} {running.started}"] = _running(running, now)
    for _, seen, done in ended:
        if len(rows) >= most:
            break
        if not server_key or done.server == server_key:
            rows[f"{seen.id} {done.number}"] = _ended(done)
    return rows


def _running(call: UnderWay, now: float) -> list[Text]:
    what = "◌ waits" if call.waits else "▶ running"
    return [
        Text(figures.clock(call.started)),
        plain(call.client),
        plain(call.server),
        plain(_named(call.tool, call.method), "bold"),
        Text(what, style="yellow" if call.waits else "green"),
        Text(figures.age(now - call.started), style="bold"),
    ]


def _ended(call: Call) -> list[Text]:
    good = call.outcome == "ok"
    outcome = "✓ ok" if good else f"✗ {call.outcome}"
    text = plain(f"{outcome}: {call.reason}" if call.reason else outcome, "dim" if good else "red")
    return [
        Text(figures.clock(call.at), style="dim"),
        plain(call.client, "dim"),
        plain(call.server, "dim"),
        plain(_named(call.tool, call.method), "dim"),
        text,
        Text(figures.duration(call.seconds), style="dim"),
    ]


def _named(tool: str, method: str) -> str:
    return tool if method == "tools/call" else f"{method} {tool}"


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
