"""MCP over a WebSocket: one JSON-RPC message in each frame, a whole session in each connection."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import anyio

from .. import __version__, wire
from ..eras.handshake import LATEST
from ..errors import WireError
from ..pump import Pump
from ..relay.peers import Buffer
from .asgi import Receive, Send
from .guard import PROTOCOL

CHOKED_FROM: Final = 1024 * 1024
"""Bytes that wait for a client from which on it gets no more notifications but the last of each kind."""

DROPPED_FROM: Final = 16 * 1024 * 1024
"""Bytes that wait for a client from which on it is cut off. One answer alone may be longer."""

TOO_SLOW: Final = 1008
GOING_AWAY: Final = 1001

_OWN_ID: Final = b'"mcp-manifold-opens"'


class WebSocketFront:
    """All sessions of this kind; a client may have `most` calls under way."""

    def __init__(self, pump: Pump, *, most: int) -> None:
        self.sessions: set[WebSocketSession] = set()
        self._pump = pump
        self._most = most
        self._count = 0

    async def serve(self, protocols: list[str], receive: Receive, send: Send) -> None:
        """Serve one client until it is gone, or too slow. `protocols` are those that it speaks."""
        await receive()  # "websocket.connect"
        chosen = PROTOCOL if PROTOCOL in protocols else None
        await send({"type": "websocket.accept", "subprotocol": chosen})
        self._count += 1
        session = WebSocketSession(self._pump, f"ws-{self._count}", self._most)
        self.sessions.add(session)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, session, send, tasks.cancel_scope)
                while (message := await receive())["type"] == "websocket.receive":
                    session.hear(_frame(message))
                tasks.cancel_scope.cancel()
        finally:
            self.sessions.discard(session)
            session.close()

    async def _write(self, session: WebSocketSession, send: Send, scope: anyio.CancelScope) -> None:
        while not session.is_over:
            for line in await session.lines():
                await send({"type": "websocket.send", "text": line.decode(errors="replace")})
                session.sent(line)
        code, reason = (TOO_SLOW, "you do not read what you are sent") if session.is_too_slow else (GOING_AWAY, "")
        with anyio.move_on_after(1.0):
            await send({"type": "websocket.close", "code": code, "reason": reason})
        scope.cancel()


class WebSocketSession:
    """One connection. A client that does not shake hands is taken for one that offers nothing."""

    def __init__(self, pump: Pump, label: str, most: int) -> None:
        self.is_over = False
        self.is_too_slow = False
        self._pump = pump
        self._framer = wire.Framer(2 * wire.MAX_LINE)
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._news = anyio.Event()
        self._greets = True
        """Nothing was heard yet: whether it shakes hands is to be seen."""
        self._session = pump.relay.open_session(label, most)
        self._session.sink = self._say
        self._intake = pump.client_intake(self._session)

    def hear(self, frame: bytes) -> None:
        """A message of the client's."""
        if self._greets:
            self._greet(frame)
        self._intake.data(frame.replace(b"\n", b" ") + b"\n")

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
            self._intake.data(opening)

    async def lines(self) -> list[bytes]:
        """What is to be said, once there is something, or the session is over."""
        while not (self._lines or self.is_over):
            await self._news.wait()
            self._news = anyio.Event()
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def sent(self, line: bytes) -> None:
        """The client has taken this one, or its system has."""
        self._waiting -= len(line)
        if self._session.choked and self._waiting < CHOKED_FROM // 2:
            self._pump.choke(self._session, stop=False)

    def close(self) -> None:
        """End it: its calls are cancelled."""
        if not self.is_over:
            self.is_over = True
            self._pump.do(self._pump.relay.close_session, self._session, self._pump.now())
            self._news.set()

    def _say(self, data: Buffer) -> None:
        before = self._waiting
        for line in self._framer.feed(bytes(data)):
            if _OWN_ID in line[:60] and bytes(wire.decode(line).id) == _OWN_ID:
                continue  # the answer to what it did not ask
            self._lines.append(line)
            self._waiting += len(line)
        self._news.set()
        if before > DROPPED_FROM:
            self.is_too_slow = True
            self._pump.later(self.close)
        elif self._waiting > CHOKED_FROM and not self._session.choked:
            self._pump.later(self._choke)

    def _choke(self) -> None:
        if self._waiting > CHOKED_FROM:
            self._pump.choke(self._session, stop=True)


def _frame(message: Any) -> bytes:
    text = message.get("text")
    return text.encode(errors="surrogatepass") if text is not None else bytes(message["bytes"])
