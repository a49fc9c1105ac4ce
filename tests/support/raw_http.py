"""An HTTP server that sends exactly the bytes it is told to, good or bad, and keeps what it was sent."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import anyio

from tests.support.client import PATIENCE
from tests.support.message import Message

EVENTS = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}


@dataclass
class Request:
    """As it came; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Message:
        return Message.of(self.body)


class Reply:
    """What the server says to one request. The connection is kept unless something says otherwise."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.begun = False
        self.keeps = True

    async def send(self, data: bytes) -> None:
        """Bytes as given, once they are with the kernel."""
        self.begun = True
        self._writer.write(data)
        await self._writer.drain()

    async def begin(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Status and headers; the body follows in `chunk`s until `finish`."""
        await self.send(_head(status, {**(headers or {}), "Transfer-Encoding": "chunked"}))

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, data: bytes, *, end: bytes = b"\n") -> None:
        """One message as a server-sent event."""
        await self.chunk(b"event: message" + end + b"data: " + data + end + end)

    async def finish(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def whole(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """A complete answer."""
        await self.send(_head(status, {**(headers or {}), "Content-Length": str(len(body))}) + body)

    async def json(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        await self.whole(body, status, {**JSON, **(headers or {})})

    async def hang_up(self) -> None:
        """End the connection as a crashed server would: with a reset."""
        self.keeps = False
        self.begun = True
        cut_off(self._writer.transport)

    async def until_gone(self) -> None:
        """Until the client has closed its side."""
        self.keeps = False
        with suppress(OSError):
            await self._reader.read()


Handler = Callable[[Request, Reply], Awaitable[None]]


def cut_off(transport: asyncio.WriteTransport) -> None:
    """End a connection as a crashed server would."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass
class RawHttp:
    """A running server."""

    url: str
    requests: list[Request] = field(default_factory=list)
    is_deaf: bool = False
    unread: list[asyncio.Transport] = field(default_factory=list)
    """Connections with a request of which no more than the head was read."""
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def until(self, check: Callable[[], bool]) -> None:
        """Wait until the check holds; it is looked at after each request."""
        try:
            with anyio.fail_after(PATIENCE):
                while not check():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"in vain; was asked {self.requests}") from None

    def stop_reading(self) -> None:
        """Read no more than the heads of what comes from now on."""
        self.is_deaf = True

    def read_on(self) -> None:
        self.is_deaf = False
        for transport in self.unread:
            if not transport.is_closing():
                transport.resume_reading()
        self.unread.clear()

    def leave_unread(self, transport: asyncio.Transport) -> None:
        """The head of a request was read on this connection."""
        if self.is_deaf:
            transport.pause_reading()
            self.unread.append(transport)
            self._note()

    def asked(self, method: str) -> list[Request]:
        """The requests with a message of this method, or with this HTTP method if it is in capitals."""
        if method.isupper():
            return [request for request in self.requests if request.method == method]
        return [r for r in self.requests if r.method == "POST" and r.message.method == method]

    def note(self, request: Request) -> None:
        self.requests.append(request)
        self._note()

    def _note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


@asynccontextmanager
async def serving(handler: Handler, path: str = "/mcp") -> AsyncIterator[RawHttp]:
    """Serve on a free loopback port, in this loop, until left; what is still being answered then is cut off."""
    server = RawHttp("")
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        transport = cast(asyncio.Transport, writer.transport)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await _read(reader, lambda: server.leave_unread(transport))
                server.note(request)
                reply = Reply(reader, writer)
                await handler(request, reply)
                if not reply.keeps:
                    break
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 26)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}{path}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(connections):
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*connections, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, leave_unread: Callable[[], None]) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    length = int(headers.get("content-length", "0"))
    if length:
        leave_unread()
    body = await reader.readexactly(length)
    return Request(method, path, headers, body)


def refused_url() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"


class Site:
    """A small MCP server over Streamable HTTP, as a handler. `on` takes the place of any of its answers.

    `on` maps the method of a message, or an HTTP method in capitals, to a handler.
    """

    def __init__(self, session: str | None = "session-1", **on: Handler) -> None:
        self.session = session
        self.on = {name.replace("__", "/"): handler for name, handler in on.items()}

    async def __call__(self, request: Request, reply: Reply) -> None:
        name = request.method
        if name == "POST":
            name = request.message.method or "answer"
        handler = self.on.get(name)
        if handler is not None:
            await handler(request, reply)
            if reply.begun:
                return
        if request.method == "POST":
            await self._message(request, reply)
        else:
            await reply.whole(b"", 200 if request.method == "DELETE" else 405)

    async def _message(self, request: Request, reply: Reply) -> None:
        message = request.message
        if message.id is None or message.method is None:
            await reply.whole(b"", 202)
            return
        headers = {"Mcp-Session-Id": self.session} if self.session and message.method == "initialize" else {}
        await reply.json(answer(message, result_of(message)), headers=headers)


def result_of(message: Message) -> bytes:
    """What a well-meaning server answers."""
    if message.method == "initialize":
        return json.dumps(
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "site", "version": "1"},
            }
        ).encode()
    if message.method == "tools/list":
        return b'{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}'
    return b'{"content":[],"params":' + message.members.get("params", b"null") + b"}"


def answer(message: Message, result: bytes) -> bytes:
    """A result under the id of a request, as JSON text."""
    assert message.id is not None
    return b'{"jsonrpc":"2.0","id":' + message.id + b',"result":' + result + b"}"


def says(result: bytes, **how: Any) -> Handler:
    """Answers with this result, in one piece of JSON."""

    async def handler(request: Request, reply: Reply) -> None:
        await reply.json(answer(request.message, result), **how)

    return handler


def fails(status: int, body: bytes = b"", **headers: str) -> Handler:
    """Answers with an HTTP status."""

    async def handler(request: Request, reply: Reply) -> None:
        await reply.whole(body, status, {name.replace("_", "-"): value for name, value in headers.items()})

    return handler
