"""A session of MCP over HTTP: what its client posts goes to the relay, what the relay says goes onto its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .. import wire
from ..pump import Intake, Pump
from ..relay import Session
from ..relay.peers import Buffer
from .streams import Stream, Streams, nobody

CHOKED_FROM: Final = 1024 * 1024
"""Bytes that wait for a client from which on it gets no more notifications but the last of each kind."""

GIVEN_UP_FROM: Final = 64 * 1024 * 1024
"""Bytes that wait for a client from which on its session is over."""


class HttpSession:
    """One session. `most` is how many calls it may have under way."""

    def __init__(self, pump: Pump, id: str, most: int) -> None:
        self.id = id
        self.streams = Streams()
        self.is_over = False
        self._pump = pump
        self._used = pump.now()
        self._readers = 0
        self._framer = wire.Framer(2 * wire.MAX_LINE)
        self.session: Session = pump.relay.open_session(f"http-{id[:8]}", most)
        self.session.sink = self._say
        self._intake: Intake[Session] = pump.client_intake(self.session)

    def hear(self, body: bytes) -> None:
        """A message of the client, or a batch of them, without line ends in it."""
        self._used = self._pump.now()
        self._intake.data(body + b"\n")

    def read(self, stream: Stream, wake: Callable[[], None]) -> None:
        """A connection reads this stream from now on, and is woken at each message."""
        stream.wake = wake
        self._readers += 1

    def leave(self, stream: Stream) -> None:
        """Its connection is gone, or has read all."""
        self._used = self._pump.now()
        stream.wake = nobody
        stream.over_since = self._used
        self._readers -= 1

    def relieve(self) -> None:
        """A connection has taken messages: the client reads."""
        if self.session.choked and self.streams.waiting < CHOKED_FROM // 2:
            self._pump.choke(self.session, stop=False)

    def cancel(self, stream: Stream) -> None:
        """Nobody will hear the answers that this stream still waits for."""
        for id in list(stream.expects):
            params = wire.close_object({"requestId": id, "reason": b'"the client is gone"'})
            self._intake.data(wire.notification("notifications/cancelled", params))
        self.streams.close(stream)

    def forget_unread(self, before: float) -> None:
        """Cancel and close the streams that nobody has read since then."""
        for stream in self.streams.unread():
            if stream.over_since is not None and stream.over_since <= before:
                self.cancel(stream)

    def is_idle(self, before: float) -> bool:
        """Whether nothing was said or read since then."""
        return not self._readers and not self.session.busy and self._used <= before

    def close(self) -> None:
        """End it: its calls are cancelled, whoever reads a stream of it learns that it is over."""
        if not self.is_over:
            self.is_over = True
            self._pump.do(self._pump.relay.close_session, self.session, self._pump.now())
            self.streams.wake_all()

    def _say(self, data: Buffer) -> None:
        for line in self._framer.feed(bytes(data)):
            self.streams.hear(line)
        waiting = self.streams.waiting
        if waiting > GIVEN_UP_FROM:
            self._pump.later(self.close)
        elif waiting > CHOKED_FROM and not self.session.choked:
            self._pump.later(self._choke)

    def _choke(self) -> None:
        if self.streams.waiting > CHOKED_FROM:
            self._pump.choke(self.session, stop=True)
