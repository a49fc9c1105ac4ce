"""What moves the relay: bytes in, outboxes out, one timer. The only place where the state machine meets a loop."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from .errors import Delivered
from .events import Emit, Notice
from .relay import Link, Peer, Relay, Session
from .wire import Framer

P = ParamSpec("P")
PeerT = TypeVar("PeerT", bound=Peer)


class Pump:
    """Runs the relay on an event loop. Needs a running one; everything here is synchronous and on its thread.

    asyncio and not anyio: the hot path lives in protocol callbacks, and anyio has neither those nor timers.
    """

    def __init__(self, relay: Relay, emit: Emit, clock: Callable[[], float] = time.monotonic) -> None:
        self.relay = relay
        self.now = clock
        """The relay's time, in seconds. Not the loop's own: uvloop's stands still within a turn and counts whole ms."""
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")

    def do(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Take one step of the relay and deliver what it says."""
        step(*args, **kwargs)
        self.flush()

    def client_intake(self, session: Session) -> Intake[Session]:
        """Where the bytes of a client go."""
        return Intake(self, session, self.relay.client_line, self.relay.client_overlong)

    def server_intake(self, link: Link) -> Intake[Link]:
        """Where the bytes of a server go."""
        return Intake(self, link, self.relay.server_line, self.relay.server_overlong)

    def choke(self, peer: Peer, stop: bool) -> None:
        """A peer does not read what it is sent, or reads again."""
        self.do(self.relay.choke, peer, stop, self.now())

    def flush(self) -> None:
        """Hand every outbox to its peer's sink, one joined write each, and set the timer."""
        dirty = self.relay.dirty
        if dirty:
            peers = dirty.copy()
            dirty.clear()
            for peer in peers:
                peer.deliver()
        if self.relay.wake_at < self._armed:
            self._arm()

    def later(self, step: Callable[[], None]) -> None:
        """Take a step in the next turn of the loop."""
        self._loop.call_soon(step)

    def fail(self, peer: Peer, line: bytes) -> None:
        """A line made the relay raise, which is a defect of ours: say so and go on, for all other requests' sake."""
        self._emit(Notice("error", f"a line of {len(line)} bytes from {peer!r} failed:\n{traceback.format_exc()}"))

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self.relay.wake_at
        self._timer = self._loop.call_later(max(0.0, self._armed - self.now()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._armed = float("inf")
        self.relay.tick(self.now())
        self.flush()


MOST_AT_ONCE = 256
"""Lines of one peer that are handled in one turn of the loop, some milliseconds' worth."""


def _ignore(stop: bool) -> None:
    """A reader that can't stop: what it brings waits in memory."""


class Intake(Generic[PeerT]):
    """Cuts one peer's bytes into lines and lets the relay handle them."""

    def __init__(
        self,
        pump: Pump,
        peer: PeerT,
        line: Callable[[PeerT, bytes, float], None],
        overlong: Callable[[PeerT, bytes, float], None],
    ) -> None:
        self._pump = pump
        self._peer = peer
        self._line = line
        self._overlong = overlong
        self._framer = Framer()
        self._waiting: deque[bytes] = deque()
        self._held = False
        self._is_going_on = False
        self.throttle: Callable[[bool], None] = _ignore
        """Set by who reads: True asks to stop reading for now, False to go on."""

    def data(self, data: bytes) -> None:
        """Bytes as they came; everything they cause is on its way when this returns."""
        if self._peer.deaf:
            return
        self._peer.received += len(data)
        self._lines(self._framer.feed(data))

    def said_within(self, id: bytes, line: bytes) -> None:
        """A line of a server's that came on the stream of the request of ours with this raw id."""
        with self._pump.relay.within(self._peer, id):
            self.data(line)

    def end(self) -> None:
        """The stream has ended: a last line without a line end counts."""
        rest = self._framer.rest()
        if rest:
            self._lines([rest])

    def undelivered(self, id: bytes, reason: str) -> None:
        """The request of ours with this raw id never left; the connection is over."""
        self._pump.do(self._pump.relay.undelivered, self._peer, id, reason, self._pump.now())

    def failed(self, id: bytes, reason: str, delivered: Delivered) -> None:
        """The request of ours with this raw id gets no answer any more; the connection goes on."""
        self._pump.do(self._pump.relay.failed, self._peer, id, reason, delivered, self._pump.now())

    def hold(self, stop: bool) -> None:
        """Take no more from this peer, until told to go on; what was read already waits too."""
        self._held = stop
        if stop or not self._waiting:
            self.throttle(stop)
        else:
            self._go_on_later()

    @property
    def is_behind(self) -> bool:
        """Whether lines that were read still wait."""
        return bool(self._waiting)

    def _lines(self, lines: list[bytes]) -> None:
        """Handle what is there, a bounded part of it in one turn of the loop: others want theirs too."""
        if self._waiting:
            self._waiting.extend(lines)
            return
        if len(lines) > MOST_AT_ONCE:
            self._waiting.extend(lines[MOST_AT_ONCE:])
            lines = lines[:MOST_AT_ONCE]
            self.throttle(True)
            self._go_on_later()
        self._handle(lines)

    def _go_on_later(self) -> None:
        if not self._is_going_on:
            self._is_going_on = True
            self._pump.later(self._go_on)

    def _go_on(self) -> None:
        """The next part of what waits."""
        self._is_going_on = False
        if self._held:
            return
        waiting = self._waiting
        lines = [waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(waiting)))]
        if self._peer.deaf:
            waiting.clear()
        if waiting:
            self._go_on_later()
        else:
            self.throttle(False)
        self._handle(lines)

    def _handle(self, lines: list[bytes]) -> None:
        pump, peer, handle = self._pump, self._peer, self._line
        now = pump.now()
        for line in lines:
            if peer.deaf:
                break
            try:
                handle(peer, line, now)
            except Exception:
                pump.fail(peer, line)
        for start in self._framer.take_overlong():
            self._overlong(peer, start, now)
        pump.flush()
