"""All supervisors: starts them together, publishes the catalogue of their listings, applies a changed configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskGroup

from .catalogue import KINDS, Catalogue, Derived, Offering
from .config.changes import Changes
from .config.models import Config, Server, ServerEntry
from .eras.handshake import Offer, combined_instructions
from .events import Emit, ServerRemoved
from .inventory import Inventory
from .lifecycle import Lifecycle
from .names import Given, Namer, budget, clean_prefix
from .pump import Pump
from .relay import Target
from .relay.target import Limits
from .remembered import Remembered, Shelf
from .supervisor import Supervisor
from .transports.connect import Connect

_RESTARTED: Final = "its entry in the configuration changed"
_REMOVED: Final = "it is no longer in the configuration"
_BY_HAND: Final = "it was restarted by hand"
_OTHER_CLIENT: Final = "the client's capabilities changed"


class ServerReport(msgspec.Struct, frozen=True):
    """What is known of one server, for `check`. Counts are -1 where it never got so far.

    `tools` are its own, `shown` those that the rules let through. `derived` are its URIs and templates that another
    server claims too.
    """

    server: str
    transport: str
    state: str
    protocol: str
    tools: int
    shown: int
    resources: int
    prompts: int
    seconds: float
    problem: str
    derived: tuple[Derived, ...] = ()


class _Running:
    """A supervisor at work. `scope` ends it; `ended` is set when nothing is left of it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()


class Fleet:
    """The configured servers that are not disabled, each under its supervisor.

    Without a `shelf` nothing is remembered, and all servers run from the start; with `afresh` that is so, too, but what
    they list is remembered. `given` are the names that were given in earlier sessions; new ones are added. `clock`
    gives Unix time, for the age of what is remembered.
    """

    def __init__(
        self,
        config: Config,
        pump: Pump,
        connect: Connect,
        emit: Emit,
        random: Callable[[], float],
        redact: Callable[[str], str] = str,
        shelf: Shelf | None = None,
        given: Given | None = None,
        clock: Callable[[], float] = time.time,
        *,
        afresh: bool = False,
    ) -> None:
        self._instructions = config.proxy.instructions or ""
        self._longest = budget(config.proxy.name)
        self._wait = config.proxy.list_wait
        self._pump = pump
        self._connect = connect
        self._emit = emit
        self._random = random
        self._redact = redact
        self._shelf = shelf
        self._given = Given() if given is None else given
        self._clock = clock
        self._afresh = afresh
        self._tasks: TaskGroup | None = None
        self._running: dict[str, _Running] = {}
        self._progress = anyio.Event()
        self._shown: list[Offering] = []
        self._catalogue = Catalogue()
        self._offered = anyio.Event()
        self._latest: Offer | None = None
        self._held_for: set[str] = set()
        """Servers for whose listing the catalogue waits, so that a change of the file is one change for clients."""
        servers = [server for server in config.servers if server.entry.enabled]
        self._namers = self._namers_of(servers)
        self.supervisors = [self._supervisor(server) for server in servers]
        for supervisor in self.supervisors:
            pump.relay.add_target(_target(supervisor.server))
        pump.relay.on_offer(self._client_came)
        self._changed()

    async def run(self) -> None:
        """Keep all servers up until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            if self._pump.relay.offer is not None:
                self._client_came()  # no client's words are waited for
            for supervisor in self.supervisors:
                self._start(supervisor)
            await anyio.sleep_forever()

    def apply(self, config: Config, changes: Changes) -> None:
        """Start, stop and restart what changed, and nothing else; clients hear of it once, when it is through."""
        self._instructions = config.proxy.instructions or ""
        servers = [server for server in config.servers if server.entry.enabled]
        self._namers = self._namers_of(servers)
        now, relay = self._pump.now(), self._pump.relay
        known = {supervisor.key: supervisor for supervisor in self.supervisors}
        fresh = {server.key: server for server in (*changes.added, *changes.changed)}
        self.supervisors = [
            self._supervisor(fresh[server.key]) if server.key in fresh else known[server.key] for server in servers
        ]
        for key in changes.removed:
            self._stop(key, _REMOVED)
            known[key].inventory.vanish()
            self._pump.do(relay.retire_target, key, _REMOVED, now)
        for server in changes.added:
            relay.add_target(_target(server))
        for supervisor in self.supervisors:
            if supervisor.key in fresh and supervisor.key in known:
                supervisor.inherit(known[supervisor.key])
        for server in changes.changed:
            self._stop(server.key, _RESTARTED)
            relay.targets[server.key].adopt(_target(server))
            self._pump.do(relay.away, server.key, _RESTARTED, coming=True, now=now)
        relay.order_targets([supervisor.key for supervisor in self.supervisors])
        for supervisor in self.supervisors:
            if supervisor.key in fresh:
                if self._latest is not None:
                    supervisor.recall(self._latest)
                self._start(supervisor)
            else:
                supervisor.inventory.rename(self._namers[supervisor.key])
        self._hold({server.key for server in fresh.values()})

    def _hold(self, keys: set[str]) -> None:
        if self._tasks is not None:
            self._held_for = held = self._held_for | keys
            if keys:
                self._tasks.start_soon(self._release_later, held)
        self._changed()

    async def _release_later(self, held: set[str]) -> None:
        await anyio.sleep(self._wait)
        if self._held_for is held:
            self._held_for = set()
            self._changed()

    # Supervisors

    def _namers_of(self, servers: Iterable[Server]) -> dict[str, Namer]:
        prefixes = {server.key: clean_prefix(server.prefix) for server in servers}
        self._given.keep_only(prefixes)
        return {
            key: Namer(
                key, prefix, [other for one, other in prefixes.items() if one != key], self._longest, self._given
            )
            for key, prefix in prefixes.items()
        }

    def _supervisor(self, server: Server) -> Supervisor:
        return Supervisor(
            server,
            Inventory(server.key, server.prefix, server.entry, self._namers[server.key], self._emit),
            self._remembered(server),
            Lifecycle(self._random),
            self._connect,
            self._pump,
            self._emit,
            self._offer,
            self._changed,
            self._redact,
        )

    def _remembered(self, server: Server) -> Remembered | None:
        if self._shelf is None:
            return None
        return Remembered(server, self._shelf, self._emit, self._clock, afresh=self._afresh)

    def _start(self, supervisor: Supervisor) -> None:
        if self._tasks is None:
            return  # `run` has yet to begin, and starts all
        before = self._running.get(supervisor.key)
        self._running[supervisor.key] = running = _Running(supervisor)
        self._tasks.start_soon(self._look_after, running, before)

    async def _look_after(self, running: _Running, before: _Running | None) -> None:
        """Run a supervisor, after the one that it replaces: two of a server might fight over what they both use."""
        try:
            if before is not None:
                await before.ended.wait()
            with running.scope:
                await running.supervisor.run()
        finally:
            running.ended.set()
            key = running.supervisor.key
            if self._running.get(key) is running and not any(one.key == key for one in self.supervisors):
                del self._running[key]
                self._emit(ServerRemoved(key))

    def _stop(self, key: str, why: str) -> None:
        """End a server, which takes its time; its calls learn `why` at once, and it gets no more of them."""
        running = self._running.get(key)
        if running is not None:
            running.supervisor.disconnect(why)
            running.scope.cancel()

    # Clients

    async def _offer(self) -> Offer:
        """What servers are told of the clients; waits for the first one."""
        await self._offered.wait()
        assert self._latest is not None
        return self._latest

    def _client_came(self) -> None:
        """A client said what it can do: recall what is known for such a one. Who was told otherwise is restarted."""
        latest = self._pump.relay.offer
        assert latest is not None
        if latest == self._latest:
            return
        self._latest = latest
        for index, old in enumerate(self.supervisors):
            if old.declared == latest or old.lifecycle.state == "failed":
                continue
            if old.declared is None:
                old.recall(latest)
                continue
            self.supervisors[index] = new = self._supervisor(old.server)
            new.inherit(old)
            new.recall(latest)
            self._stop(old.key, _OTHER_CLIENT)
            self._start(new)
        self._offered.set()
        self._changed()

    # By hand

    def restart(self, key: str) -> bool:
        """Start a server anew, whatever it is doing, or try again one that was given up; False if there is none."""
        found = [index for index, old in enumerate(self.supervisors) if old.key == key]
        if not found:
            return False
        [index] = found
        old = self.supervisors[index]
        self.supervisors[index] = new = self._supervisor(old.server)
        new.inherit(old)
        self._stop(key, _BY_HAND)
        self._pump.do(self._pump.relay.away, key, _BY_HAND, coming=True, now=self._pump.now())
        if self._latest is not None:
            new.recall(self._latest)
        new.start_now()
        self._start(new)
        self._changed()
        return True

    # What is known

    @property
    def settled(self) -> bool:
        """Every server has been ready, or has failed once."""
        return all(supervisor.attempted for supervisor in self.supervisors)

    async def until_settled(self) -> None:
        """Wait until every server has been ready or has failed once."""
        while not self.settled:
            await self.progress()

    async def progress(self) -> None:
        """Wait until something of a server changes."""
        await self._progress.wait()

    def entry(self, key: str) -> ServerEntry | None:
        """How a server is configured now, if it is."""
        return next((one.server.entry for one in self.supervisors if one.key == key), None)

    def listed(self) -> list[tuple[str, int]]:
        """Of each server whose tools are known, how many clients see. From any thread."""
        tools = [(one.key, one.inventory.listings.get("tools")) for one in self.supervisors]
        return [(key, len(listing.routes)) for key, listing in tools if listing is not None]

    def reports(self) -> list[ServerReport]:
        """What is known of each server now, in the order of the configuration."""
        derived = self._pump.relay.catalogue.derived
        return [_report(one, tuple(found for found in derived if found.server == one.key)) for one in self.supervisors]

    def _changed(self) -> None:
        """Something of a server changed: publish what there is now."""
        progress, self._progress = self._progress, anyio.Event()
        progress.set()
        waiting = {
            one.key
            for one in self.supervisors
            if one.key in self._held_for and not (one.surveyed or one.problem or one.sleeps)
        }
        if waiting:
            return
        self._held_for = set()
        pump = self._pump
        known = frozenset(
            one.key
            for one in self.supervisors
            if one.lifecycle.state == "ready" or one.inventory.offering.of("tools").routes
        )
        said = [
            (one.server.prefix or one.key, one.inventory.hello.instructions)
            for one in self.supervisors
            if one.inventory.hello is not None
        ]
        shown = [one.inventory.offering for one in self.supervisors]
        if shown != self._shown:  # mostly it is something else that changed, and putting thousands together takes ms
            self._shown, self._catalogue = shown, Catalogue(shown)
        pump.do(
            pump.relay.publish,
            self._catalogue,
            listed=known,
            settled=frozenset(kind for kind in KINDS if all(kind in one.inventory.settled for one in self.supervisors)),
            instructions=combined_instructions(self._instructions, said),
            now=pump.now(),
        )


def _target(server: Server) -> Target:
    entry = server.entry
    limits = Limits(
        call=entry.call_timeout,
        longest=max(entry.call_timeout, entry.call_maximum),
        ask=entry.ask_timeout,
        start=entry.start_timeout,
        running=entry.max_running,
        queued=entry.max_queued,
        repeats=entry.trust_hints,
    )
    return Target(server.key, clean_prefix(server.prefix), limits)


def _report(supervisor: Supervisor, derived: tuple[Derived, ...]) -> ServerReport:
    inventory, hello = supervisor.inventory, supervisor.inventory.hello
    ready = supervisor.lifecycle.state == "ready"

    def count(kind: str) -> int:
        return inventory.counts.get(kind, 0) if ready else -1

    return ServerReport(
        server=supervisor.key,
        transport=supervisor.server.entry.transport,
        state=supervisor.lifecycle.state,
        protocol=hello.protocol if hello else "",
        tools=count("tools"),
        shown=len(inventory.offering.of("tools").routes) if ready else -1,
        resources=count("resources"),
        prompts=count("prompts"),
        seconds=supervisor.seconds,
        problem=supervisor.problem,
        derived=derived,
    )
