"""All proxies of this machine, as they are known: found through the state directory, watched over their sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from .. import memory
from ..aside import aside
from ..control import client, place
from ..control.client import News, NoAnswer
from ..control.place import Card
from ..control.server import BEAT, Process
from ..overview import ServerRow, UnderWay
from ..status import FAILED, Call

LOOK: Final = 0.5
"""Seconds between two looks for proxies that came or went."""

WEIGH: Final = 2.0
"""Seconds between two looks at how much memory all of them take."""

SILENT: Final = 3 * BEAT
"""Seconds without a word after which a process hangs."""

MOST_CALLS: Final = 200
"""Calls that have ended which are kept of each process."""

MOST_FAILURES: Final = 100
"""Of those that failed so many are kept, however many others ended since."""

DOWN: Final = ("failed", "backoff")
"""States of a server that has no process, and should have one."""


class Seen:
    """What is known of one process. `problem` says why nothing is, or "" where all is well."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.process: Process | None = None
        self.servers: list[ServerRow] = []
        """In the order of the configuration."""
        self.under_way: list[UnderWay] = []
        self.in_flight = 0
        self.clients = 0
        self.misconfigured = ""
        """Why its configuration file as it is now can't be used, in lines."""
        self.calls: deque[Call] = deque(maxlen=MOST_CALLS)
        """Those that ended, the newest first."""
        self.failures: deque[Call] = deque(maxlen=MOST_FAILURES)
        """Those among them that failed."""
        self.problem = "it is being asked"
        self.heard = time.monotonic()
        self.own_memory: int | None = None
        self.memories: dict[str, int] = {}
        """By the server's key, bytes."""

    @property
    def id(self) -> str:
        """What tells it apart from all others."""
        return self.card.socket

    @property
    def name(self) -> str:
        """What a person knows it by: its client, or that it is the hub."""
        if self.card.kind == "serve":
            return f"hub ({self.clients} {'client' if self.clients == 1 else 'clients'})"
        if self.process is None:
            return "a proxy"
        names = [one.name for one in self.process.clients]
        return names[0] if names and names[0] else "no client yet"

    @property
    def hangs(self) -> bool:
        """Whether it has said nothing for longer than it would if it were well."""
        return self.process is not None and self.silence > SILENT

    @property
    def silence(self) -> float:
        """Seconds since its last word."""
        return time.monotonic() - self.heard

    @property
    def rate(self) -> float:
        """Calls a second, of all its servers."""
        return sum(row.rate for row in self.servers)

    @property
    def memory(self) -> int | None:
        """Bytes of all its processes together."""
        if self.own_memory is None:
            return None
        return self.own_memory + sum(self.memories.values())

    def take(self, news: News) -> None:
        """Know what a message says."""
        self.heard, self.problem = time.monotonic(), ""
        if news.type == "snapshot":
            self.calls.clear()
            self.failures.clear()
        if news.process is not None:
            self.process = news.process
        if news.servers or news.order is not None:
            rows = {row.key: row for row in self.servers} | {row.key: row for row in news.servers}
            order = news.order if news.order is not None else list(rows)
            self.servers = [rows[key] for key in order if key in rows]
        if news.under_way is not None:
            self.under_way = news.under_way
        if news.in_flight is not None:
            self.in_flight = news.in_flight
        if news.clients is not None:
            self.clients = news.clients
        if news.problem is not None:
            self.misconfigured = news.problem
        self.calls.extendleft(news.calls)
        self.failures.extendleft(call for call in news.calls if call.outcome in FAILED)

    def weighed(self, found: dict[int, int]) -> None:
        """Know how much memory it takes; `found` is by pid."""
        self.own_memory = found.get(self.card.pid)
        pids = {row.key: row.pid for row in self.servers if row.pid is not None}
        self.memories = {key: found[pid] for key, pid in pids.items() if pid in found}

    def pids(self) -> Iterable[int]:
        """Its own process and its servers', if pids mean the same here as there."""
        if not self.card.is_here:
            return ()
        return (self.card.pid, *(row.pid for row in self.servers if row.pid is not None))


class Machine:
    """Knows all while `run` runs. `changed` is called, on the loop, when there is something new."""

    def __init__(self, state: Path, changed: Callable[[], None] = lambda: None) -> None:
        self.state = state
        self.processes: list[Seen] = []
        """The oldest first."""
        self._changed = changed
        self._watched: dict[str, anyio.CancelScope] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._weigh)
            while True:
                found = {card.socket: card for card in place.find(self.state)}
                for socket in self._watched.keys() - found.keys():
                    self._watched[socket].cancel()
                for socket, card in found.items():
                    if socket not in self._watched:
                        self._watched[socket] = anyio.CancelScope()
                        tasks.start_soon(self._watch, card, self._watched[socket])
                await anyio.sleep(LOOK)

    async def ask_once(self) -> None:
        """Know all there is now, once, instead of `run`."""
        async with anyio.create_task_group() as tasks:
            for card in place.find(self.state):
                self.processes.append(seen := Seen(card))
                tasks.start_soon(_ask, seen)
        self._weighed(memory.of_trees(self._pids()))

    async def _watch(self, card: Card, scope: anyio.CancelScope) -> None:
        seen = Seen(card)

        def take(news: News) -> None:
            seen.take(news)
            self._changed()

        self.processes.append(seen)
        self.processes.sort(key=lambda one: (one.card.at, one.card.pid))
        self._changed()
        try:
            with scope:
                while True:  # until it is not there any more
                    try:
                        await client.watch(card, take)
                        seen.problem = "it has ended"
                    except NoAnswer as problem:
                        seen.problem = str(problem)
                    self._changed()
                    await anyio.sleep(LOOK)
        finally:
            self.processes.remove(seen)
            del self._watched[card.socket]
            self._changed()

    async def _weigh(self) -> None:
        while True:
            pids = self._pids()
            if pids:
                self._weighed(await aside(partial(memory.of_trees, pids), "memory"))
                self._changed()
            await anyio.sleep(WEIGH if pids else LOOK)

    def _pids(self) -> list[int]:
        return [pid for seen in self.processes for pid in seen.pids()]

    def _weighed(self, found: dict[int, int]) -> None:
        for seen in self.processes:
            seen.weighed(found)


async def _ask(seen: Seen) -> None:
    try:
        seen.take(await client.status(seen.card))
    except NoAnswer as problem:
        seen.problem = str(problem)
