"""One task for each server, obeying its lifecycle: start, negotiate, list, watch, start again."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
from msgspec import Raw

from . import wire
from .catalogue import KINDS, Listing, Offering, compile_listing, difference
from .config.models import Server
from .conversation import LISTINGS, Conversation, Refused
from .eras.handshake import Offer, ServerHello
from .errors import ConnectionLost, Hopeless, ServerError, StartFailed, Unreachable, WireError, innermost
from .events import CatalogueChanged, Emit, Notice, ServerOutput, ServerStartFinished, ServerStateChanged
from .lifecycle import Lifecycle, Trigger
from .names import Namer, clean_prefix
from .policy import ToolPolicy
from .pump import Pump
from .relay import Link
from .relay.peers import declares
from .transports.channel import Channel, End
from .transports.connect import Connect

MOST_NONSENSE: Final = 100
NONSENSE_WITHIN: Final = 10.0
"""So many lines in a row, within so many seconds, that are no messages end a connection."""

_SETTLE: Final = 0.05
"""Seconds in which announcements of changed lists gather, since servers send them in bursts."""


class Supervisor:
    """Looks after one server for as long as `run` runs.

    What it knows of the server can be read at any time; `changed` is called, on the loop, when something of it changed.
    `redact` masks configured secrets in a text.
    """

    def __init__(
        self,
        server: Server,
        namer: Namer,
        lifecycle: Lifecycle,
        connect: Connect,
        pump: Pump,
        emit: Emit,
        offer: Callable[[], Awaitable[Offer]],
        changed: Callable[[], None],
        redact: Callable[[str], str],
    ) -> None:
        self.server = server
        self.lifecycle = lifecycle
        self.hello: ServerHello | None = None
        self.declared: Offer | None = None
        """What the server was told of the clients, last."""
        self.stopping = "it was stopped"
        """Why its calls fail when `run` is cancelled."""
        self.listings: dict[str, Listing] = {}
        """What clients see of it, by kind."""
        self.settled: set[str] = set()
        """Kinds of which its listing has been read, or could not be, at least once."""
        self.counts: dict[str, int] = {}
        """Entries of each listing as the server has them, before any rule of the user's."""
        self.attempted = False
        """It has been ready or has failed at least once."""
        self.surveyed = False
        """All its listings have been read since it started last."""
        self.seconds = 0.0
        """How long the last start took."""
        self.problem = ""
        self._namer = namer
        self._policy = ToolPolicy(server.entry.tools)
        self._connect = connect
        self._pump = pump
        self._emit = emit
        self._offer = offer
        self._changed = changed
        self._redact = redact
        self._stale: set[str] = set()
        self._stale_event = anyio.Event()
        self._link: Link | None = None

    @property
    def key(self) -> str:
        """The server's key in the configuration."""
        return self.server.key

    @property
    def offering(self) -> Offering:
        """All that it lists, as clients see it."""
        return Offering(self.key, clean_prefix(self.server.prefix), dict(self.listings))

    def disconnect(self, why: str) -> None:
        """Let go of its connection, before `run` is cancelled: calls in flight fail, and say `why`."""
        self.stopping = why
        self._move("stop", why)
        if self._link is not None:
            self._pump.do(self._pump.relay.close_link, self._link, why, self._pump.now())

    def vanish(self) -> None:
        """It is configured no more: what it listed is gone."""
        listings, self.listings = self.listings, {}
        for kind, listing in listings.items():
            if listing.routes:
                self._emit(CatalogueChanged(self.key, 0, 0, len(listing.routes), kind))

    def inherit(self, old: Supervisor) -> None:
        """Show what another supervisor of this server showed, by the rules of this entry, until it knows better."""
        self.hello, self.counts = old.hello, dict(old.counts)
        self.listings, self.settled, self.attempted = dict(old.listings), set(old.settled), old.attempted
        self._name_anew()

    def rename(self, namer: Namer) -> None:
        """Other servers have other prefixes now: name what is listed anew. `changed` is not called."""
        if namer == self._namer:
            return
        self._namer = namer
        self._name_anew()

    def _name_anew(self) -> None:
        for kind in ("tools", "prompts"):
            listing = self.listings.get(kind)
            if listing is not None:
                pairs = zip(listing.definitions, listing.routes, strict=True)
                items = [Raw(wire.close_object({**wire.open_object(text), "name": one.raw})) for text, one in pairs]
                self.listings[kind] = self._compile(kind, items)

    async def run(self) -> None:
        """Keep the server up until cancelled, or until it has failed for good."""
        if self.server.problem is not None:
            self._over(Hopeless(self.key, self.server.problem), "hopeless")
            return
        while self.lifecycle.state not in ("failed", "stopped"):
            self._move("start")
            try:
                await self._once()
            except Hopeless as problem:
                self._over(problem, "hopeless")
            except Unreachable as problem:
                self._over(problem, "unreachable")
            except ServerError as problem:
                self._over(problem, "lost")
            except Exception as problem:
                # A defect of ours, or of a library below: it may cost this server, and none of the others.
                self._emit(Notice("error", f"looking after it failed:\n{traceback.format_exc()}", self.key))
                self._over(StartFailed(self.key, f"internal error ({type(problem).__name__}: {problem})"), "lost")
            if self.lifecycle.delay is not None:
                await anyio.sleep(self.lifecycle.delay)

    # One connection, from start to end

    async def _once(self) -> None:
        """Connect and stay until the connection ends; always raises ServerError, saying why."""
        pump, relay = self._pump, self._pump.relay
        self.surveyed = False
        started = pump.now()
        link = self._link = relay.open_link(self.key)
        link.listed = self._list_changed
        nonsense = _Nonsense(link)
        link.noise = partial(self._noise, nonsense)
        reason: ServerError | None = None

        def close() -> None:
            text = reason.reason if reason is not None else self.stopping
            pump.do(relay.close_link, link, self._redact(text), pump.now())

        try:
            async with self._connect(self.server, pump.server_intake(link), self._output) as channel:
                link.sink = channel.write
                channel.choked = partial(pump.choke, link)
                try:
                    reason = await self._converse(link, channel, nonsense, started)
                finally:
                    close()  # before the channel is: that takes its time, and callers must not wait for it
        except* ServerError as group:
            found = innermost(group)
            assert isinstance(found, ServerError)
            reason = found
        finally:
            close()
            if self.lifecycle.state == "starting":
                self._started("failed", started)
        raise reason

    async def _converse(self, link: Link, channel: Channel, nonsense: _Nonsense, started: float) -> ServerError:
        """Start, then watch, until the channel ends or the server proves unusable."""
        problem: ServerError | None = None

        async def watch(ended: Callable[[], Awaitable[ServerError]], scope: anyio.CancelScope) -> None:
            nonlocal problem
            problem = await ended()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, channel.ended, tasks.cancel_scope)
            tasks.start_soon(watch, nonsense.end.wait, tasks.cancel_scope)
            failure = await self._start_and_watch(link, channel, started)
            # The channel often knows better why, a moment later: credentials refused, exited with code 1.
            await anyio.sleep(_SETTLE)
            problem = failure
            tasks.cancel_scope.cancel()
        assert problem is not None
        return problem

    async def _start_and_watch(self, link: Link, channel: Channel, started: float) -> ServerError:
        timeout = self.server.entry.start_timeout
        talk = Conversation(link, self._pump)
        # It boots meanwhile. Without a client there is nobody to speak for, and nothing to be late for.
        waiting = self._pump.now()
        self.declared = await self._offer()
        started += self._pump.now() - waiting
        try:
            with anyio.fail_after(timeout):
                await self._negotiate(talk, link, channel, self.declared)
                if self._has("tools"):
                    self._take("tools", await talk.list_all("tools"))
        except TimeoutError:
            did = "list its tools" if self._pump.relay.targets[self.key].link is link else "answer initialize"
            return StartFailed(self.key, f"it did not {did} within {timeout:g} s (`startTimeout` on its entry)")
        except (Refused, WireError) as problem:
            return StartFailed(self.key, str(problem))
        except ServerError as problem:
            return problem
        self._is_ready(started)
        await self._survey(talk, set(KINDS) - {"tools"})
        self.surveyed = True
        self.settled.update(KINDS)
        self._changed()
        while True:
            await self._stale_event.wait()
            await anyio.sleep(_SETTLE)
            stale, self._stale, self._stale_event = self._stale, set(), anyio.Event()
            await self._survey(talk, stale)

    async def _negotiate(self, talk: Conversation, link: Link, channel: Channel, offer: Offer) -> None:
        self.hello = await talk.initialize(offer)
        channel.agreed(self.hello.protocol)
        relay = self._pump.relay
        self._pump.do(relay.ready, link, capabilities=self.hello.capabilities, now=self._pump.now())

    async def _survey(self, talk: Conversation, kinds: set[str]) -> None:
        """List these kinds anew; what can't be read keeps its last state, since a bad list must not lose a good one."""
        changed = False
        for kind in [kind for kind in KINDS if kind in kinds and self._has(kind)]:
            try:
                with anyio.fail_after(self.server.entry.start_timeout):
                    changed |= self._take(kind, await talk.list_all(kind))
            except (Refused, WireError, TimeoutError) as problem:
                what = str(problem) or "it did not answer in time"
                self._emit(Notice("warning", f"listing its {kind} failed, the last list stays: {what}", self.key))
        if changed:
            self._changed()

    # What is learned

    def _has(self, kind: str) -> bool:
        return self.hello is not None and LISTINGS[kind][0] in self.hello.capabilities

    def _take(self, kind: str, items: list[Raw]) -> bool:
        """Whether a listing that was read is another one for clients."""
        self.counts[kind] = len(items)
        new = self._compile(kind, items)
        old = self.listings.get(kind) or Listing(self.key)
        self.listings[kind] = new
        change = difference(old, new)
        for sentence in new.odd:
            self._emit(Notice("warning", sentence, self.key))
        if change:
            self._emit(CatalogueChanged(self.key, len(new.routes), change.added, change.removed, kind))
        return bool(change)

    def _compile(self, kind: str, items: list[Raw]) -> Listing:
        tasks = self.hello is not None and declares(self.hello.capabilities, "tasks", "requests", "tools", "call")
        return compile_listing(kind, self.key, items, self._namer, self._policy, tasks=tasks)

    def _list_changed(self, method: str) -> None:
        """The server announced a change."""
        capability = method.split("/")[1]
        self._stale |= {kind for kind, (needs, _) in LISTINGS.items() if needs == capability}
        self._stale_event.set()

    def _noise(self, nonsense: _Nonsense, line: bytes) -> None:
        """It printed something on stdout that is no message."""
        self._emit(ServerOutput(self.key, "stdout", line[:1024].decode(errors="replace")))
        nonsense.count(self._pump.now())

    def _output(self, text: str) -> None:
        self._emit(ServerOutput(self.key, "stderr", text))

    # Lifecycle

    def _is_ready(self, started: float) -> None:
        if self.lifecycle.state == "stopped":
            return  # while its answer was on its way to here
        self.problem = ""
        self._started("ok", started)
        self._move("ready")
        self.attempted = True
        self.settled.add("tools")
        self._changed()

    def _started(self, outcome: str, started: float) -> None:
        self.seconds = self._pump.now() - started
        hello = self.hello
        if outcome == "ok" and hello is not None:
            self._emit(ServerStartFinished(self.key, "ok", self.seconds, hello.protocol, hello.name, hello.version))
        else:
            self._emit(ServerStartFinished(self.key, "failed", self.seconds))

    def _over(self, problem: ServerError, trigger: Trigger) -> None:
        """A connection ended or never came to be: plan the next one, or give up."""
        if self.lifecycle.state == "stopped":
            return  # in the very moment in which it ended; who stopped it has seen to the rest
        # A server's last words may hold what it was configured with, and this goes to clients and tables.
        self.problem = self._redact(problem.reason)
        self._move(trigger, self.problem)
        if self.lifecycle.state == "failed":
            reason, coming = self.problem, False
            if trigger == "lost":
                reason += "; it failed too often and is not started again"
        else:
            again = "tried" if trigger == "unreachable" else "started"
            reason, coming = f"{self.problem}; it is being {again} again", True
        relay = self._pump.relay
        self._pump.do(relay.away, self.key, reason, coming=coming, now=self._pump.now())
        self.attempted = True
        self.settled.update(KINDS)
        self._changed()

    def _move(self, trigger: Trigger, reason: str = "") -> None:
        old = self.lifecycle.state
        new = self.lifecycle.apply(trigger, self._pump.now())
        self._emit(ServerStateChanged(self.key, old, new, reason, self.lifecycle.delay))


class _Nonsense:
    """Counts what one connection brings that is no message; too much of it in a row, and the connection is over.

    A server that prints in a loop would otherwise cost everybody's time. One that prints beside its messages may.
    """

    def __init__(self, link: Link) -> None:
        self.end = End()
        self._link = link
        self._heard = 0
        self._times: deque[float] = deque(maxlen=MOST_NONSENSE)

    def count(self, now: float) -> None:
        """One more such line."""
        if self._link.heard != self._heard:
            self._heard = self._link.heard
            self._times.clear()
        self._times.append(now)
        if len(self._times) == MOST_NONSENSE and now - self._times[0] <= NONSENSE_WITHIN:
            self._link.deaf = True
            text = f"it printed {MOST_NONSENSE} lines on stdout within {NONSENSE_WITHIN:g} s that are no messages"
            self.end.note(ConnectionLost(self._link.server, text))
