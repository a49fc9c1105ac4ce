"""What every transport gives: a way to write lines, and an end that can be waited for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import anyio

from ..errors import Delivered, ServerError
from ..relay.peers import Buffer

CHOKED_FROM: Final = 256 * 1024
"""Bytes that wait for a server from which on it gets no more calls until it has read them."""
MOST_BUFFERED: Final = 128 * 1024 * 1024
"""Bytes that may wait for a server that does not read: twice the longest line."""

_REQUEST: Final = re.compile(rb'^\{"jsonrpc":"2\.0","id":(\d+),"method":', re.MULTILINE)


class Intake(Protocol):
    """Where a transport puts what the server sends. `throttle` is set by the transport, and called to make it pause."""

    throttle: Callable[[bool], None]

    def data(self, data: bytes) -> None:
        """Bytes of newline-delimited messages, cut anywhere."""

    def said_within(self, id: bytes, line: bytes) -> None:
        """A line that came on the stream of the request of this raw id: whatever it asks or tells belongs to that."""

    def end(self) -> None:
        """No more will come."""

    def undelivered(self, id: bytes, reason: str) -> None:
        """The server never saw the request of this raw id, since no connection came about: this one is over."""

    def failed(self, id: bytes, reason: str, delivered: Delivered) -> None:
        """What the request of this raw id went through broke, and there will be no answer to it."""


Output = Callable[[str], None]
"""Takes a line that a server printed on stderr."""


def nobody(full: bool) -> None:
    """Whom a channel tells while nobody listens."""


class Channel(Protocol):
    """An open connection to a server.

    `choked` is set by who writes: told True when the server does not read and enough waits for it, False when it does
    again. `pid` is that of the server's process, None where it is not ours.
    """

    choked: Callable[[bool], None]
    pid: int | None

    def write(self, data: Buffer) -> None:
        """Send whole lines. Never blocks and never raises; after the end it does nothing."""

    def agreed(self, protocol: str) -> None:
        """The handshake is done, in this protocol revision."""

    def take_back(self) -> list[int]:
        """Send nothing more; returns the ids of our requests that no server can have seen whole."""

    async def ended(self) -> ServerError:
        """Wait for the end; what it returns says why."""


def requests_in(pieces: Iterable[Buffer]) -> list[int]:
    """The ids of the requests among lines of ours, as the relay writes them."""
    return [int(id) for piece in pieces for id in _REQUEST.findall(piece)]


class End:
    """The end of a channel, noted once: the first reason counts."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._reason: ServerError | None = None

    def note(self, reason: ServerError) -> None:
        """The channel is over, for this reason."""
        if self._reason is None:
            self._reason = reason
            self._event.set()

    @property
    def is_noted(self) -> bool:
        """Whether the channel is over."""
        return self._reason is not None

    async def wait(self) -> ServerError:
        """The reason, once there is one."""
        await self._event.wait()
        assert self._reason is not None
        return self._reason


class Graces:
    """How many seconds a server has to end by itself, and then after a polite signal. Set to little in a hurry."""

    def __init__(self, quiet: float = 2.0, polite: float = 2.0) -> None:
        self.quiet = quiet
        self.polite = polite

    def conclude(self) -> None:
        """The client is gone, and all that it waited for has ended: nobody should find our servers a second later."""
        self.quiet = 0.5
        self.polite = 1.5

    def shorten(self) -> None:
        """Nothing is under way that could be lost: a person waits for the command to end."""
        self.quiet = 0.5
        self.polite = 0.5

    def hurry(self) -> None:
        """The process must be gone within half a second: Claude Code sends SIGKILL then."""
        self.quiet = 0.0
        self.polite = 0.25
