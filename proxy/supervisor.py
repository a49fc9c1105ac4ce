"""One task for each server, obeying its lifecycle: start, negotiate, list, watch, start again."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel

from .catalogue import KINDS
from .config.models import Server
from .conversation import Conversation, Refused
from .eras.handshake import Offer, ServerHello
from .errors import Hopeless, Hung, ServerError, StartFailed, Unreachable, WireError, innermost
from .events import Emit, Notice, ServerStartFinished, ServerStateChanged
from .inventory import Inventory
from .lifecycle import Lifecycle, Trigger
from .nap import LINGER, Nap
from .printed import Nonsense, Printed
from .pump import Pump
from .relay import Link
from .remembered import Remembered
from .survey import SETTLE, Survey
from .transports.channel import Channel
from .transports.connect import Connect


class Supervisor:
    """Looks after one server for as long as `run` runs.

    What it knows of the server can be read at any time; `changed` is called, on the loop, when something of it changed.
    `redact` masks configured secrets in a text.
    """

    def __init__(
        self,
        server: Server,
        inventory: Inventory,
        remembered: Remembered | None,
        lifecycle: Lifecycle,
        connect: Connect,
        pump: Pump,
        emit: Emit,
        offer: Callable[[], Awaitable[Offer]],
        changed: Callable[[], None],
        redact: Callable[[str], str],
    ) -> None:
        self.server = server
        self.inventory = inventory
        self.remembered = remembered
        self.lifecycle = lifecycle
        self.declared: Offer | None = None
        """What the server that runs was told of the clients."""
        self.stopping = "it was stopped"
        """Why its calls fail when `run` is cancelled."""
        self.attempted = False
        """It has been ready or has failed at least once, or is known from an earlier session."""
        self.surveyed = False
        """All its listings have been read since it started last."""
        self.seconds = 0.0
        """How long the last start took."""
        self.problem = ""
        self.pid: int | None = None
        """Its process, while it runs as a child of ours."""
        self._connect = connect
        self._pump = pump
        self._emit = emit
        self._offer = offer
        self._nap = Nap(server, remembered, pump, offer)
        self._changed = changed
        self._redact = redact
        self._survey = Survey(server, inventory, remembered, emit, changed)
        self._learned = anyio.Event()
        """Set when all that it lists has been read, and is remembered, or there is nothing to wait for any more."""
        self._link: Link | None = None
        self._printed = Printed(server.key, emit, redact)

    @property
    def key(self) -> str:
        """The server's key in the configuration."""
        return self.server.key

    @property
    def sleeps(self) -> bool:
        """Whether it does not run, since what it lists is known and nobody needs it."""
        return self.lifecycle.state == "idle" and self._nap.is_on

    def disconnect(self, why: str) -> None:
        """Let go of its connection, before `run` is cancelled: calls in flight fail, and say `why`."""
        self.stopping = why
        self._learned.set()
        self._move("stop", why, "stopped")
        if self._link is not None:
            self._pump.do(self._pump.relay.close_link, self._link, why, self._pump.now())

    def inherit(self, old: Supervisor) -> None:
        """Show what another supervisor of this server showed, by the rules of this entry, until it knows better."""
        self.inventory.inherit(old.inventory)
        self.attempted = old.attempted

    # Sleep: what it lists is known, and it runs only when it is needed

    def recall(self, offer: Offer) -> None:
        """A client came: know what was remembered for such a one, or be started to learn it. `changed` is not called.

        Only while the server runs for no other client.
        """
        if self.remembered is None or self.remembered.offer == offer:
            return
        memory = self.remembered.recall(offer)
        if memory is None:
            self.inventory.settled.clear()
            self._nap.is_woken = False
            self._nap.end(LINGER)
            return
        self.inventory.recall(memory.hello, memory.listings)
        self.attempted = True
        if self._nap.is_lazy and self.lifecycle.state == "idle":
            self._pump.relay.targets[self.key].capabilities = memory.hello.capabilities
            self._nap.begin()

    def reread(self) -> None:
        """Know what another proxy has learned meanwhile, while it sleeps."""
        remembered = self.remembered
        if self.sleeps and remembered is not None and remembered.offer is not None:
            memory = remembered.recall(remembered.offer)
            if memory is not None:
                self.inventory.recall(memory.hello, memory.listings)
                self._changed()

    def start_now(self) -> None:
        """Be started, if `run` would sleep, though nobody needs it yet."""
        self._nap.end(LINGER)

    async def refresh(self) -> None:
        """Start it if it sleeps, and wait until it was listed or could not be. Then it sleeps unless it is needed."""
        if self.lifecycle.state == "idle":
            if self._learned.is_set():
                self._learned = anyio.Event()
            self._nap.end(0.0)
            await self._learned.wait()

    async def until_learned(self) -> None:
        """Wait until all that it lists is known and remembered, or the start failed."""
        await self._learned.wait()

    async def run(self) -> None:
        """Keep the server up until cancelled, or until it has failed for good."""
        if self.server.problem is not None:
            self._over(Hopeless(self.key, self.server.problem), "hopeless")
            return
        while self.lifecycle.state not in ("failed", "stopped"):
            if self.lifecycle.state == "idle":
                await self._nap.until_needed()
            await anyio.lowlevel.checkpoint_if_cancelled()  # it may have been stopped in the same moment
            self._move("start")
            self._pump.relay.starts(self.key, self._pump.now())
            await self._live()
            if self.lifecycle.delay is not None:
                await anyio.sleep(self.lifecycle.delay)
                await anyio.lowlevel.checkpoint_if_cancelled()
                if self._nap.is_woken and not self._pump.relay.targets[self.key].parked:
                    self._move("sleep", self.problem)
                    self._nap.begin()

    async def _fall_asleep(self, link: Link) -> ServerError:
        """Wait until nobody has needed it for so long that it may sleep, and let it."""
        await self._learned.wait()
        why = await self._nap.until_unneeded(link)
        self._move("sleep", why)
        self._nap.begin()
        return _Slept(self.key, why)

    async def _live(self) -> None:
        """Start it and stay with it until it has ended, whatever that was."""
        try:
            await self._once()
        except Hopeless as problem:
            self._over(problem, "hopeless")
        except Unreachable as problem:
            self._over(problem, "unreachable")
        except _Slept:
            self.declared = None
        except ServerError as problem:
            self._over(problem, "lost")
        except Exception as problem:
            # A defect of ours, or of a library below: it may cost this server, and none of the others.
            self._emit(Notice("error", f"looking after it failed:\n{traceback.format_exc()}", self.key))
            self._over(StartFailed(self.key, f"internal error ({type(problem).__name__}: {problem})"), "lost")

    # One connection, from start to end

    async def _once(self) -> None:
        """Connect and stay until the connection ends; always raises ServerError, saying why."""
        pump, relay = self._pump, self._pump.relay
        self.surveyed = False
        if self._learned.is_set():
            self._learned = anyio.Event()
        self._printed.begin()
        started = pump.now()
        link = self._link = relay.open_link(self.key)
        link.listed = self._survey.announce
        nonsense = Nonsense(link)
        link.noise = partial(self._noise, nonsense)
        link.hung = lambda why: nonsense.end.note(Hung(self.key, why))
        reason: ServerError | None = None

        def close() -> None:
            text = reason.reason if reason is not None else self.stopping
            pump.do(relay.close_link, link, self._redact(text), pump.now())

        try:
            async with self._connect(self.server, pump.server_intake(link), self._printed.on_stderr) as channel:
                link.sink, link.take_back = channel.write, channel.take_back
                self.pid = channel.pid
                channel.choked = partial(pump.choke, link)
                try:
                    reason = await self._converse(link, channel, nonsense, started)
                    if self.lifecycle.state == "starting" and self.server.entry.transport == "stdio":
                        reason = self._printed.explain(reason)
                finally:
                    close()  # before the channel is: that takes its time, and callers must not wait for it
        except* ServerError as group:
            found = innermost(group)
            assert isinstance(found, ServerError)
            reason = found
        finally:
            close()
            self.pid = None
            if self.lifecycle.state == "starting":
                self._started("failed", started)
        raise reason

    async def _converse(self, link: Link, channel: Channel, nonsense: Nonsense, started: float) -> ServerError:
        """Start, then watch, until the channel ends or the server proves unusable."""
        problem: ServerError | None = None

        async def watch(ended: Callable[[], Awaitable[ServerError]], scope: anyio.CancelScope) -> None:
            nonlocal problem
            problem = await ended()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, channel.ended, tasks.cancel_scope)
            tasks.start_soon(watch, nonsense.end.wait, tasks.cancel_scope)
            tasks.start_soon(watch, partial(self._fall_asleep, link), tasks.cancel_scope)
            failure = await self._start_and_watch(link, channel, started)
            # The channel often knows better why, a moment later: credentials refused, exited with code 1.
            await anyio.sleep(SETTLE)
            problem = failure
            tasks.cancel_scope.cancel()
        assert problem is not None
        return problem

    async def _start_and_watch(self, link: Link, channel: Channel, started: float) -> ServerError:
        timeout = self.server.entry.start_timeout
        talk = Conversation(link, self._pump)
        # It boots meanwhile. Without a client there is nobody to speak for, and nothing to be late for.
        waiting = self._pump.now()
        self.declared = offer = await self._offer()
        started += self._pump.now() - waiting
        greeted = False
        try:
            with anyio.fail_after(timeout):
                hello = await talk.initialize(offer)
                greeted = True
                channel.agreed(hello.protocol)
                self._updated(hello)
                self._pump.do(self._pump.relay.greet, link, capabilities=hello.capabilities)
                await self._survey.read(talk, "tools")
        except TimeoutError:
            did = "list its tools" if greeted else "answer initialize"
            text = f"it did not {did} within {timeout:g} s (`startTimeout` on its entry)"
            return StartFailed(self.key, text, self._printed.words)
        except (Refused, WireError) as problem:
            return StartFailed(self.key, str(problem))
        except ServerError as problem:
            return problem
        self._is_ready(started)
        # Only now: calls that waited for it may want what it no longer has.
        self._pump.do(self._pump.relay.ready, link, self._pump.now())
        await self._survey.read_all(talk, [kind for kind in KINDS if kind != "tools"])
        self.surveyed = True
        self.inventory.settled.update(KINDS)
        self._changed()
        await self._survey.keep(offer)
        self._learned.set()
        await self._survey.follow(talk, offer)
        raise AssertionError("it follows until it is cancelled")

    # What is learned

    def _updated(self, hello: ServerHello) -> None:
        before = self.inventory.hello
        self.inventory.greet(hello)
        if before is not None and (before.name, before.version) != (hello.name, hello.version):
            what = f"it was {before.name} {before.version} and is {hello.name} {hello.version} now"
            self._emit(Notice("info", what, self.key))
            self._pump.relay.targets[self.key].news = f" ({what})"

    def _noise(self, nonsense: Nonsense, line: bytes) -> None:
        """It printed something on stdout that is no message."""
        self._printed.on_stdout(line)
        if self.lifecycle.state == "ready":
            self._printed.works_all_the_same()
        nonsense.count(self._pump.now())

    # Lifecycle

    def _is_ready(self, started: float) -> None:
        if self.lifecycle.state == "stopped":
            return  # while its answer was on its way to here
        self.problem, self._nap.is_woken = "", False
        self._started("ok", started)
        self._move("ready")
        self._printed.works_all_the_same()
        self.attempted = True
        self.inventory.settled.add("tools")
        self._changed()

    def _started(self, outcome: str, started: float) -> None:
        self.seconds = self._pump.now() - started
        hello = self.inventory.hello
        if outcome == "ok" and hello is not None:
            self._emit(ServerStartFinished(self.key, "ok", self.seconds, hello.protocol, hello.name, hello.version))
        else:
            self._emit(ServerStartFinished(self.key, "failed", self.seconds))

    def _over(self, problem: ServerError, trigger: Trigger) -> None:
        """A connection ended or never came to be: plan the next one, or give up."""
        if self.lifecycle.state == "stopped":
            return  # in the very moment in which it ended; who stopped it has seen to the rest
        if self._nap.is_woken:
            trigger = "unreachable"  # tried whenever somebody needs it, ever more seldom: it may have been mended
        # A server's last words may hold what it was configured with, and this goes to clients and tables.
        self.problem = self._redact(problem.reason)
        early = self.lifecycle.state == "starting" and problem.cause == "lost"
        reason = self._move(trigger, self.problem, "start_failed" if early else problem.cause)
        now, delay = self._pump.now(), self.lifecycle.delay
        if self._nap.is_woken:
            delay = None  # it is tried when somebody needs it
        coming, again = self.lifecycle.state != "failed", None if delay is None else now + delay
        self._pump.do(
            self._pump.relay.away, self.key, reason, coming=coming, now=now, next_start=again, tell=self._nap.is_woken
        )
        self.attempted = True
        self._learned.set()
        self.inventory.settled.update(KINDS)
        self._changed()

    def _move(self, trigger: Trigger, reason: str = "", cause: str = "") -> str:
        """Take one step; returns the reason, with what it means where this was the last start."""
        old = self.lifecycle.state
        new = self.lifecycle.apply(trigger, self._pump.now())
        if new == "failed":
            too_often = "it failed too often and " if trigger == "lost" else "it "
            until = "its entry changes or somebody restarts it (`mcp-manifold top`)"
            reason += f"; {too_often}is not started again until {until}"
        self._emit(ServerStateChanged(self.key, old, new, reason, self.lifecycle.delay, cause))
        return reason


class _Slept(ServerError):
    """Nobody needs it: the end of a connection that is no failure."""
