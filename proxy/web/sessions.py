"""A session of MCP over HTTP: what its client posts goes to the relay, what the relay says goes onto its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .. import wire
from ..pump import Intake, Pump
from ..relay import Session
from ..relay.peers import Buffer
from .pressure import Pressure
from .streams import Stream, Streams, nobody

GIVEN_UP_FROM: Final = 64 * 1024 * 1024
"""Bytes that wait for a client from which on its session is over."""


class HttpSession:
    """One session. `most` is how many calls it may have under way."""

    def __init__(self, pump: Pump, id: str, most: int) -> None:
        self.id = id
        self.streams = Streams()
        self.is_over = False
        self.used = pump.now()
        """When its client was heard of last."""
        self.is_used = False
        """It was asked for something beyond the handshake."""
        self._pump = pump
        self._readers = 0
        self._framer = wire.Framer(2 * wire.MAX_LINE)
        self.session: Session = pump.relay.open_session(f"http-{id[:8]}", most, front="http")
        self.session.sink = self._say
        self._pressure = Pressure(pump, self.session, lambda: self.streams.waiting, GIVEN_UP_FROM, self.close)
        self._intake: Intake[Session] = pump.client_intake(self.session)

    def hear(self, body: bytes) -> None:
        """A message of the client, or a batch of them, without line ends in it."""
        self.used = self._pump.now()
        self.is_used = self.session.is_ready
        self._intake.data(body + b"\n")
        if b"notifications/cancelled" in body:
            self._give_up()

    def read(self, stream: Stream, wake: Callable[[], None]) -> None:
        """A connection reads this stream from now on, and is woken at each message. One that did no longer does."""
        before, stream.wake = stream.wake, wake
        self._readers += 1
        self.session.is_there = True
        before()

    def leave(self, stream: Stream, wake: Callable[[], None]) -> None:
        """The connection is gone, or has read all."""
        self.used = self._pump.now()
        self._readers -= 1
        self.session.is_there = self._readers > 0
        if stream.wake == wake:
            stream.wake = nobody
            stream.unread_since = self.used
            if stream.is_void:
                self.streams.close(stream)
        self.relieve()

    def relieve(self) -> None:
        """Less waits for the client than before, perhaps."""
        self._pressure.falls()

    def cancel(self, stream: Stream) -> None:
        """Nobody will hear the answers that this stream still waits for."""
        for id in list(stream.expects):
            params = wire.close_object({"requestId": id, "reason": b'"the client is gone"'})
            self._intake.data(wire.notification("notifications/cancelled", params))
        self.streams.close(stream)
        self.relieve()

    def forget_unread(self, before: float) -> None:
        """Cancel and close the streams that nobody has read since then."""
        for stream in self.streams.unread():
            if stream.unread_since is not None and stream.unread_since <= before:
                self.cancel(stream)

    def is_idle(self, before: float) -> bool:
        """Whether nothing was said or read since then."""
        return not self._readers and not self.session.busy and self.used <= before

    def close(self) -> None:
        """End it: its calls are cancelled, whoever reads a stream of it learns that it is over."""
        if not self.is_over:
            self.is_over = True
            self._pump.do(self._pump.relay.close_session, self.session, self._pump.now())
            self.streams.wake_all()

    def _say(self, data: Buffer) -> None:
        before = self.streams.waiting
        for line in self._framer.feed(bytes(data)):
            self.streams.hear(line)
        self._pressure.rises(before)

    def _give_up(self) -> None:
        """What the client has cancelled gets no answer, so that nothing is to be waited for."""
        for id in self.streams.expected():
            if id not in self.session.calls and id not in self.session.lists:
                self.streams.give_up(id)


def one_line(message: bytes) -> bytes:
    """A message that can be read as JSON, without the line ends that may stand between its parts, and nowhere else.

    Either kind: many servers take a lone carriage return for the end of a line.
    """
    if b"\n" in message or b"\r" in message:
        return message.replace(b"\n", b" ").replace(b"\r", b" ")
    return message
