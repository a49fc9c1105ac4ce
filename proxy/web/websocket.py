"""MCP over a WebSocket: one JSON-RPC message in each frame, a whole session in each connection."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.lowlevel

from .. import __version__, wire
from ..eras.handshake import LATEST
from ..errors import WireError
from ..pump import Pump
from ..relay.peers import Buffer
from .asgi import Request, Send
from .guard import PROTOCOL
from .pressure import Pressure
from .sessions import one_line

DROPPED_FROM: Final = 16 * 1024 * 1024
"""Bytes that wait for a client from which on it is cut off. One answer alone may be longer."""

_AT_ONCE: Final = 16
"""Messages of one client that are heard in one turn of the loop."""

TOO_SLOW: Final = 1008

_LAST_WORD: Final = 30.0
"""Seconds in which a client that is cut off has to take what is on its way, so that it learns why."""

_OWN_ID: Final = b'"mcp-manifold-opens"'


class WebSocketFront:
    """All sessions of this kind; a client may have `most` calls under way."""

    def __init__(self, pump: Pump, *, most: int) -> None:
        self.sessions: set[WebSocketSession] = set()
        self._pump = pump
        self._most = most
        self._count = 0

    async def serve(self, request: Request, send: Send) -> None:
        """Serve one client until it is gone, or too slow."""
        await request.receive()  # "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in request.protocols else None})
        self._count += 1
        session = WebSocketSession(self._pump, f"ws-{self._count}", self._most, request.peer)
        self.sessions.add(session)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, session, send, tasks.cancel_scope)
                for turn in itertools.count(1):
                    message = await request.receive()
                    if message["type"] != "websocket.receive":
                        break
                    session.hear(_frame(message))
                    if turn % _AT_ONCE == 0:  # what has come already is received without waiting
                        await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        finally:
            self.sessions.discard(session)
            session.close()

    async def _write(self, session: WebSocketSession, send: Send, scope: anyio.CancelScope) -> None:
        with anyio.CancelScope() as saying:
            session.cut = saying.cancel
            while True:
                for line in await session.lines():
                    await send({"type": "websocket.send", "text": line.decode(errors="replace")})
                    session.sent(line)
        with anyio.move_on_after(_LAST_WORD):
            await send({"type": "websocket.close", "code": TOO_SLOW, "reason": "you do not read what you are sent"})
        scope.cancel()


class WebSocketSession:
    """One connection. A client that does not shake hands is taken for one that offers nothing."""

    def __init__(self, pump: Pump, label: str, most: int, peer: str) -> None:
        self.is_over = False
        self.cut: Callable[[], None] = lambda: None
        """Called where the client does not read: it is told nothing more."""
        self._pump = pump
        self._framer = wire.Framer(2 * wire.MAX_LINE)
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._news = anyio.Event()
        self._greets = True
        """Nothing was heard yet: whether it shakes hands is to be seen."""
        self._opens = False
        """The answer to our own `initialize` is still to come."""
        self._session = pump.relay.open_session(label, most, front="websocket")
        self._session.sink = self._say
        self._session.peer = peer
        self._pressure = Pressure(pump, self._session, lambda: self._waiting, DROPPED_FROM, self._cut_off)
        self._intake = pump.client_intake(self._session)

    def hear(self, frame: bytes) -> None:
        """A message of the client's."""
        if self._greets:
            self._greet(frame)
        self._intake.data(_line(frame) + b"\n")

    def _greet(self, frame: bytes) -> None:
        """Open the session in its name, where it begins with something else."""
        try:
            method = wire.decode(frame).method
        except WireError:
            return  # it is told so
        if method == "ping":
            return
        self._greets = False
        if method != "initialize":
            params = {
                "protocolVersion": LATEST,
                "capabilities": {},
                "clientInfo": {"name": "websocket", "version": __version__},
            }
            opening = b'{"jsonrpc":"2.0","id":%b,"method":"initialize","params":%b}\n' % (_OWN_ID, wire.encode(params))
            self._opens = True
            self._intake.data(opening)

    async def lines(self) -> list[bytes]:
        """What is to be said, once there is something."""
        while not self._lines:
            await self._news.wait()
            self._news = anyio.Event()
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def sent(self, line: bytes) -> None:
        """The client has taken this one, or its system has."""
        self._waiting -= len(line)
        self._pressure.falls()

    def close(self) -> None:
        """End it: its calls are cancelled."""
        if not self.is_over:
            self.is_over = True
            self._pump.do(self._pump.relay.close_session, self._session, self._pump.now())
            self._lines.clear()

    def _say(self, data: Buffer) -> None:
        before = self._waiting
        for line in self._framer.feed(bytes(data)):
            if self._opens and _OWN_ID in line[: len(_OWN_ID) * 3]:
                self._opens = False
                continue  # the answer to what it did not ask
            self._lines.append(line)
            self._waiting += len(line)
        self._news.set()
        self._pressure.rises(before)

    def _cut_off(self) -> None:
        self.close()
        self.cut()


def _frame(message: Any) -> bytes:
    text = message.get("text")
    return text.encode(errors="surrogatepass") if text is not None else bytes(message["bytes"])


def _line(frame: bytes) -> bytes:
    """What the relay is to read. It takes no line end for an end, and what is no JSON is none without them either."""
    if (b"\n" not in frame and b"\r" not in frame) or frame.isspace():
        return frame
    try:
        _ = wire.open_array(frame) if wire.is_batch(frame) else wire.decode(frame)
    except WireError:
        return frame.replace(b"\n", b"\0")
    return one_line(frame)
