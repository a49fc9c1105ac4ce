"""A connection of a client's, as uvicorn serves it, with the limits that uvicorn leaves to whoever stands before it.

A client that sends a head slowly, a body not at all, or does not read its answer costs a descriptor and memory; so does
one that sends what is kept without end: a head, or the fields behind a body. `is_stalled` is asked now and then rather
than a timer set for each request.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import re
import sys
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LONGEST_HEAD: Final = 64 * 1024
"""Bytes of a head, or of anything else that is not body."""

SLICE: Final = 16 * 1024
"""Bytes that are parsed in one turn of the loop: thousands of small messages fit into one read, and others wait."""

MOST_FIELDS: Final = 200
"""Fields of a head."""

_MOST_FRAMES: Final = 1024
"""Frames of one WebSocket message."""

MOST_PIPELINED: Final = 32
"""Requests that wait behind one that is being answered."""

_MOST_CONNECTIONS: Final = 4096

HEAD_WITHIN = 10.0
"""Seconds in which a head has to be there, from its first byte, or from the connection's beginning."""

SILENT_FOR = 30.0
"""Seconds without a byte of a body, or with none taken of an answer."""

KEEP_ALIVE: Final = 75.0
"""Seconds between an answer and the next request."""

_H2C: Final = re.compile(rb"\r\nupgrade:[ \t]*h2c(?=[ \t]*(?:\r\n|\Z))", re.IGNORECASE)
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@functools.cache
def most_connections() -> int:
    """How many connections may be open; one more ends the one that has been of no use for longest.

    Half of what the process may open: the rest is for servers, which are not to fail for lack of it.
    """
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    import resource  # not everywhere

    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if may_open < 0 else min(may_open // 2, _MOST_CONNECTIONS)


class _Expects(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    NOTHING = enum.auto()


class _Unread:
    """What of an answer its client has not taken."""

    _size = 0
    _since = 0.0

    def is_stuck(self, transport: asyncio.WriteTransport, now: float) -> bool:
        """Whether the client takes nothing of what is there for it."""
        size = transport.get_write_buffer_size()
        if size == 0 or size != self._size:
            self._size, self._since = size, now
            return False
        return now - self._since > SILENT_FOR


class _InTurns:
    """Hands what was read to `take` a slice at a time, and others their turns between; meanwhile nothing more is read.

    `may_read` tells whether nobody else wants reading to stand still.
    """

    def __init__(
        self, take: Callable[[bytes], None], may_read: Callable[[], bool], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._take = take
        self._may_read = may_read
        self._loop = loop
        self._slices: deque[bytes] = deque()
        self.transport: asyncio.Transport | None = None

    def data(self, data: bytes) -> None:
        """More was read."""
        if not self._slices and len(data) <= SLICE:
            self._take(data)
            return
        is_waiting = bool(self._slices)
        self._slices.extend(data[start : start + SLICE] for start in range(0, len(data), SLICE))
        if self.transport is not None and not is_waiting:
            self.transport.pause_reading()
            self._next()

    def _next(self) -> None:
        if self.transport is None or self.transport.is_closing():
            self._slices.clear()
            return
        self._take(self._slices.popleft())
        if self._slices:
            self._loop.call_soon(self._next)
        elif self._may_read() and not self.transport.is_closing():
            self.transport.resume_reading()


class HttpConnection(HttpToolsProtocol):
    """A connection that speaks HTTP."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._expects = _Expects.HEAD
        self._since = self.loop.time()
        self._unread = _Unread()
        self._apart = 0
        """Bytes since the last that were body, or began a message."""
        self._answering: RequestResponseCycle | None = None
        self._fields = 0
        self._ignored = 0
        """Bytes of a body that came after the answer was out."""
        self._turns = _InTurns(self._take, lambda: not self.flow.read_paused, self.loop)

    @property
    def is_answering(self) -> bool:
        """Whether a request is here whole, and its answer is not out."""
        answering = self._answering
        return self._expects is _Expects.NOTHING and answering is not None and not answering.response_complete

    @property
    def since(self) -> float:
        """When something useful came last, in the loop's time."""
        return self._since

    def is_stalled(self, now: float) -> bool:
        """Whether the client neither sends what it began, nor reads, nor has a use for this connection."""
        if self._unread.is_stuck(self.transport, now):
            return True
        patience = {_Expects.HEAD: HEAD_WITHIN, _Expects.BODY: SILENT_FOR, _Expects.NOTHING: KEEP_ALIVE}
        return not self.is_answering and now - self._since > patience[self._expects]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._turns.transport = transport
        if len(self.connections) > most_connections():
            waiting = [one for one in self.connections if isinstance(one, HttpConnection) and not one.is_answering]
            oldest = min(waiting, key=attrgetter("since"))
            self.connections.discard(oldest)  # at once: the next ones come before it is lost
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Where requests were pipelined, uvicorn tells the last one that its client is gone, and this is the first.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._turns.data(data)

    def _take(self, data: bytes) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # it became a WebSocket, whose client has to wait for our word
        self._apart += len(data)
        if self._expects is not _Expects.BODY and b"h2c" in data:
            data = _without_h2c(data)
        super().data_received(data)
        is_ignored = self._expects is _Expects.BODY and self.cycle.response_complete
        self._ignored = self._ignored + len(data) if is_ignored else 0
        too_much = max(self._apart, self._ignored) > LONGEST_HEAD or self._fields > MOST_FIELDS
        if too_much or len(self.pipeline) > MOST_PIPELINED:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._expects, self._since, self._apart, self._fields = _Expects.HEAD, self.loop.time(), 0, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._expects is _Expects.HEAD:  # and not a field behind the body, which would be taken for one of the head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.parser.should_upgrade() and not self._should_upgrade():
            self.cycle.keep_alive = False  # what follows is no HTTP to the parser
        self._expects = _Expects.BODY

    def on_body(self, body: bytes) -> None:
        self._since, self._apart = self.loop.time(), 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expects, self._since = _Expects.NOTHING, self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._expects is _Expects.NOTHING:
            self._since = self.loop.time()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)


def _without_h2c(data: bytes) -> bytes:
    """The same, if it is a head that offers HTTP/2, without the offer.

    Java's clients make it with every request. We may ignore it (RFC 9110, 7.8), but the parser takes the body for what
    comes behind the upgrade.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _H2C.sub(b"\r\nX-Ignored: h2c", head) + end + rest


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A connection that became a WebSocket, or would like to."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._unread = _Unread()
        self._turns = _InTurns(self._take, lambda: not self.read_paused, self.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._turns.transport = self.transport

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) >= _MOST_FRAMES:
            self.transport.abort()
        elif event.data or event.fin:
            super().handle_cont(event)

    def is_stalled(self, now: float) -> bool:
        """Whether the client does not read."""
        return self._unread.is_stuck(self.transport, now)

    def data_received(self, data: bytes) -> None:
        self._turns.data(data)

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:  # a head that is none, or endless
            self.transport.write(_BAD_REQUEST)
            self.transport.close()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused, which uvicorn would take for forgotten and log as an error
