"""Servers and calls for the page and for scripts: `/servers`, `/calls`, and `/live`, which tells what changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

import anyio
import msgspec
from msgspec import Raw

from .. import __version__
from ..fleet import Fleet
from ..pump import Pump
from ..supervisor import Supervisor
from .asgi import Receive, Reply, Request, Send
from .guard import PROTOCOL
from .problems import Problem
from .status import MOST_CALLS, Figures, Status

EVERY: Final = 0.25
"""Seconds between two looks at what changed."""

MOST_SHOWN: Final = 250
"""Calls that one message carries; a reader who is slower than the calls come misses some, and is told how many."""

PATIENCE: Final = 30.0
"""Seconds in which a reader has to take a message."""

_TOO_SLOW: Final = 1008
_LONGEST_WORD: Final = 1000
_NO_STORE: Final = (b"cache-control", b"no-store")


class ServerRow(Figures, frozen=True, kw_only=True):
    """A server as it is shown. Counts are of what clients see; `name`, `version`, `protocol` are "" until known.

    `start_seconds` is how long its last start took, None where there was none. `in_flight` calls are with it, `queued`
    ones wait for it.
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


class Live:
    """`clock` gives Unix time; `redact` masks configured secrets in a text."""

    def __init__(
        self, fleet: Fleet, pump: Pump, status: Status, clock: Callable[[], float], redact: Callable[[str], str]
    ) -> None:
        self.status = status
        self._fleet = fleet
        self._pump = pump
        self._clock = clock
        self._redact = redact
        self._offset = 0.0
        self._rows: dict[str, bytes] = {}
        self._looked = float("-inf")

    # REST

    async def servers(self, request: Request, reply: Reply) -> None:
        """`GET /servers`, `GET /servers/{key}`, `POST /servers/{key}/restart`."""
        key = request.path.removeprefix("/servers").removeprefix("/")
        if request.method == "POST":
            await self._restart(key, reply)
            return
        _only_get(request)
        if key:
            body = self._details(self._supervisor(key))
        else:
            body = {"servers": [_with_names(one, self._row(one)) for one in self._fleet.supervisors]}
        await reply.json(200, msgspec.json.encode(body), _NO_STORE)

    async def _restart(self, path: str, reply: Reply) -> None:
        key, slash, action = path.rpartition("/")
        if not slash or action != "restart":
            raise Problem(405, "POST goes to /servers/{key}/restart", headers={"Allow": "GET"})
        if not self._fleet.restart(key):
            raise _unknown(key)
        await reply.json(202, msgspec.json.encode({"restarting": key}), _NO_STORE)

    async def calls(self, request: Request, reply: Reply) -> None:
        """`GET /calls?limit=`: the last calls, the newest first, and those under way."""
        _only_get(request)
        given = parse_qs(request.query.decode("latin-1")).get("limit", ["100"])[-1]
        if not given.isdecimal() or not 1 <= int(given[:9]) <= MOST_CALLS:
            raise Problem(400, f"limit is a number from 1 to {MOST_CALLS}")
        body = {"calls": self.status.calls(int(given)), **self.under_way()}
        await reply.json(200, msgspec.json.encode(body), _NO_STORE)

    # What there is to show

    def rows(self) -> dict[str, bytes]:
        """Each server's row as JSON, in the order of the configuration; the same for all who look at a time."""
        now = self._pump.now()
        if now - self._looked >= EVERY / 2:
            self._looked = now
            self._rows = {one.key: msgspec.json.encode(self._row(one)) for one in self._fleet.supervisors}
            self.status.forget_all_but(self._rows)
        return self._rows

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

    def _supervisor(self, key: str) -> Supervisor:
        for one in self._fleet.supervisors:
            if one.key == key:
                return one
        raise _unknown(key)

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
            queued=len(target.parked) if target is not None else 0,
            restarts=max(0, figures.starts - 1),
            start_seconds=one.seconds or None,
        )

    def _details(self, one: Supervisor) -> dict[str, Any]:
        more = {"stderr": self.status.output(one.key), "steps": self.status.steps(one.key)}
        return {**_with_names(one, self._row(one)), **more}

    # WebSocket

    async def live(self, protocols: list[str], receive: Receive, send: Send) -> None:
        """All there is, and then what changes, a few times a second, until the reader is gone or too slow.

        A reader who says `{"watch": key}` is told what this server prints, too.
        """
        await receive()  # "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in protocols else None})
        view = _View(self)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tell, view, send, tasks.cancel_scope)
            while (message := await receive())["type"] == "websocket.receive":
                view.hear(message.get("text") or "")
            tasks.cancel_scope.cancel()


async def _tell(view: _View, send: Send, scope: anyio.CancelScope) -> None:
    while True:
        news = view.news()
        if news:
            with anyio.move_on_after(PATIENCE) as taken:
                await send({"type": "websocket.send", "text": news.decode()})
            if taken.cancelled_caught:
                break
        await anyio.sleep(EVERY)
    with anyio.move_on_after(1.0):
        await send({"type": "websocket.close", "code": _TOO_SLOW, "reason": "you do not read what you are sent"})
    scope.cancel()


class _View:
    """What one reader knows already. Nothing waits for a slow one: it is told later, of what is true then."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._rows: dict[str, bytes] | None = None
        self._known: dict[str, bytes] = {}
        """Other members of what it was told last."""
        self._call = max(0, live.status.last - MOST_SHOWN)
        self._watched = ""
        self._line = 0

    def hear(self, text: str) -> None:
        """The reader says what it wants to see."""
        if len(text) > _LONGEST_WORD:
            return
        try:
            self._watched = msgspec.json.decode(text, type=dict[str, str | None]).get("watch") or ""
        except msgspec.DecodeError:
            return  # a word that we don't know may be one of a later version
        self._line = 0

    def news(self) -> bytes:
        """What changed since the last message, as the next one; empty where nothing did."""
        live, known = self._live, self._known
        first = self._rows is None
        told: dict[str, Any] = {}
        rows, before = live.rows(), self._rows or {}
        if rows is not self._rows:
            changed = [Raw(row) for key, row in rows.items() if before.get(key) != row]
            if changed or first:
                told["servers"] = changed
            if list(rows) != list(before) or first:
                told["order"] = list(rows)
            self._rows = rows
        members = {"clients": live.status.clients, **live.under_way()}
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
        return msgspec.json.encode({**kind, "now": live.status.now, **told})

    def _calls(self) -> dict[str, Any]:
        status, before = self._live.status, self._call
        if status.last == before:
            return {}
        calls = status.calls(MOST_SHOWN, after=before)
        self._call = status.last
        return {"calls": calls[::-1], "missed": status.last - before - len(calls)}

    def _output(self) -> dict[str, Any]:
        if not self._watched:
            return {}
        lines = self._live.status.output(self._watched, after=self._line)
        if not lines and self._line:
            return {}
        self._line = lines[-1].number if lines else 0
        return {"output": {"server": self._watched, "lines": lines}} if lines else {}


def _with_names(one: Supervisor, row: ServerRow) -> dict[str, Any]:
    """A row with the public name and the own one of each of its tools."""
    listing = one.inventory.listings.get("tools")
    names = {route.public: route.own for route in listing.routes} if listing is not None else {}
    return {**{name: getattr(row, name) for name in row.__struct_fields__}, "tool_names": names}


def _only_get(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise Problem(405, "this is only there to be read", headers={"Allow": "GET"})


def _unknown(key: str) -> Problem:
    return Problem(404, f"no server {key[:200]!r} is configured, or it is disabled")
