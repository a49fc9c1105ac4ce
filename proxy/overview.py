"""What there is to see of servers and calls, and what of it changed since somebody looked last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from . import __version__
from .fleet import Fleet
from .pump import Pump
from .status import Figures, Status
from .supervisor import Supervisor

EVERY: Final = 0.25
"""Seconds between two looks at what changed."""

MOST_SHOWN: Final = 250
"""Calls that one message carries; a reader who is slower than the calls come misses some, and is told how many."""

PATIENCE: Final = 30.0
"""Seconds in which a reader has to take a message."""

_NAMES: Final = {
    "tools": "tool_names",
    "prompts": "prompt_names",
    "resources": "resource_names",
    "templates": "resource_names",
}


class ServerRow(Figures, frozen=True, kw_only=True):
    """A server as it is shown. Counts are of what clients see; `name`, `version`, `protocol` are "" until known.

    `start_seconds` is how long its last start took, None where there was none. `in_flight` calls are with it, `queued`
    ones wait for it. `pid` is that of its process, while it runs as a child of ours.
    """

    key: str
    name: str
    version: str
    protocol: str
    transport: str
    state: str
    tools: int
    prompts: int
    resources: int
    in_flight: int
    queued: int
    restarts: int
    start_seconds: float | None
    pid: int | None


class UnderWay(msgspec.Struct, frozen=True):
    """A call that has not ended; `started` is a Unix time, `waits`: no server has it yet."""

    client: str
    session: str
    id: str
    server: str
    tool: str
    method: str
    started: float
    waits: bool


class Overview:
    """`clock` gives Unix time; `redact` masks configured secrets in a text.

    `problem` tells why the configuration file as it is now can't be used, "" where it can.
    """

    def __init__(
        self,
        fleet: Fleet,
        pump: Pump,
        status: Status,
        clock: Callable[[], float],
        redact: Callable[[str], str],
        problem: Callable[[], str] = str,
    ) -> None:
        self.status = status
        self._fleet = fleet
        self._pump = pump
        self._clock = clock
        self._redact = redact
        self._problem = problem
        self._offset = 0.0
        self._rows: dict[str, bytes] = {}
        self._looked = float("-inf")

    def rows(self) -> dict[str, bytes]:
        """Each server's row as JSON, in the order of the configuration; the same for all who look at a time."""
        now = self._pump.now()
        if now - self._looked >= EVERY / 2:
            self._looked = now
            self._rows = {one.key: msgspec.json.encode(self._row(one)) for one in self._fleet.supervisors}
        return self._rows

    @property
    def problem(self) -> str:
        """Why what runs is not what the configuration file says, in lines; "" where it is."""
        return self._redact(self._problem())

    def servers(self) -> list[dict[str, Any]]:
        """All servers, with the names of what they list."""
        names = self._names()
        return [{**msgspec.structs.asdict(self._row(one)), **names[one.key]} for one in self._fleet.supervisors]

    def server(self, key: str) -> dict[str, Any] | None:
        """One server, with what it printed last and how its state changed; None where there is no such server.

        `listed` counts what it lists, by kind, before any rule of the user's; `odd` says what of it was left out or
        changed since clients could not read it.
        """
        for one in self._fleet.supervisors:
            if one.key == key:
                inventory = one.inventory
                odd = [self._redact(line) for listing in inventory.listings.values() for line in listing.odd]
                more = {"listed": inventory.counts, "odd": odd}
                told = {"stderr": self.status.output(key), "steps": self.steps(key)}
                return {**msgspec.structs.asdict(self._row(one)), **self._names()[key], **more, **told}
        return None

    def _names(self) -> dict[str, dict[str, dict[str, str]]]:
        """For each server the public name, URI or template and the own one of all that clients see of it."""
        found: dict[str, dict[str, dict[str, str]]] = {
            one.key: {member: {} for member in _NAMES.values()} for one in self._fleet.supervisors
        }
        for kind, member in _NAMES.items():
            for route in self._pump.relay.catalogue.routes(kind):
                if route.server in found:
                    found[route.server][member][route.public] = route.own
        return found

    def steps(self, key: str) -> list[Any]:
        """How a server's state changed, the newest first."""
        return list(self.status.steps(key))

    def restart(self, key: str) -> bool:
        """Start a server anew; False if there is none."""
        return self._fleet.restart(key)

    def under_way(self) -> dict[str, Any]:
        """The calls that have not ended, the newest first, and how many there are."""
        redact, offset = self._redact, self._wall()
        number, calls = self._pump.relay.under_way(MOST_SHOWN)
        shown = [
            UnderWay(
                redact(call.client),
                call.session,
                redact(call.request_id[:64]),
                redact(call.server),
                redact(call.tool),
                call.method,
                round(call.started + offset, 3),
                call.waits,
            )
            for call in calls
        ]
        return {"under_way": shown, "in_flight": number}

    def _wall(self) -> float:
        """What makes a Unix time of the relay's; the same until one of the two clocks was set, or stood still."""
        fresh = self._clock() - self._pump.now()
        if abs(fresh - self._offset) > 0.5:
            self._offset = fresh
        return self._offset

    def _row(self, one: Supervisor) -> ServerRow:
        redact, hello, listings = self._redact, one.inventory.hello, one.inventory.listings
        counts = {kind: len(listing.routes) for kind, listing in listings.items()}
        target = self._pump.relay.targets.get(one.key)
        figures = self.status.figures(one.key)
        return ServerRow(
            **{name: getattr(figures, name) for name in figures.__struct_fields__},
            key=one.key,
            name=redact(hello.name) if hello else "",
            version=redact(hello.version) if hello else "",
            protocol=hello.protocol if hello else "",
            transport=one.server.entry.transport,
            state=one.lifecycle.state,
            tools=counts.get("tools", 0),
            prompts=counts.get("prompts", 0),
            resources=counts.get("resources", 0) + counts.get("templates", 0),
            in_flight=len(target.link.calls) if target is not None and target.link is not None else 0,
            queued=target.waiting if target is not None else 0,
            restarts=max(0, figures.starts - 1),
            start_seconds=one.seconds or None,
            pid=one.pid,
        )


class Changes:
    """What one reader knows already. Nothing waits for a slow one: it is told later, of what is true then.

    `more` gives further members of the messages, which are told when they change.
    """

    def __init__(self, overview: Overview, more: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._overview = overview
        self._more = more
        self._rows: dict[str, bytes] | None = None
        self._known: dict[str, bytes] = {}
        """Other members of what it was told last."""
        self._call = max(0, overview.status.last - MOST_SHOWN)
        self._watched = ""
        self._line = 0

    def watch(self, server: str) -> None:
        """Tell what this server prints, too, from its last lines on."""
        self._watched = server
        self._line = 0

    def news(self) -> bytes:
        """What changed since the last message, as the next one; empty where nothing did."""
        overview, known = self._overview, self._known
        first = self._rows is None
        told: dict[str, Any] = {}
        rows, before = overview.rows(), self._rows or {}
        if rows is not self._rows:
            changed = [Raw(row) for key, row in rows.items() if before.get(key) != row]
            if changed or first:
                told["servers"] = changed
            if list(rows) != list(before) or first:
                told["order"] = list(rows)
            self._rows = rows
        members = {
            **self._more(),
            "problem": overview.problem,
            "clients": overview.status.clients,
            **overview.under_way(),
        }
        for name, value in members.items():
            raw = msgspec.json.encode(value)
            if known.get(name) != raw:
                known[name] = raw
                told[name] = Raw(raw)
        told.update(self._calls())
        told.update(self._output())
        if not told:
            return b""
        kind = {"type": "snapshot", "version": __version__} if first else {"type": "change"}
        return msgspec.json.encode({**kind, "now": overview.status.now, **told})

    def _calls(self) -> dict[str, Any]:
        status, before = self._overview.status, self._call
        if status.last == before:
            return {}
        calls = status.calls(MOST_SHOWN, after=before)
        self._call = status.last
        return {"calls": calls[::-1], "missed": status.last - before - len(calls)}

    def _output(self) -> dict[str, Any]:
        if not self._watched:
            return {}
        lines = self._overview.status.output(self._watched, after=self._line)
        if not lines and self._line:
            return {}
        self._line = lines[-1].number if lines else 0
        return {"output": {"server": self._watched, "lines": lines}} if lines else {}
