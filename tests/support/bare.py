"""Requests byte for byte to a server of ours, and what it answers; and an application on a port of its own."""

import contextlib
import http.client
import io
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from proxy.config.models import HttpSettings
from proxy.web.guard import Guard
from proxy.web.server import Server
from proxy.web.site import Handler, Site, SocketHandler
from tests.support.client import PATIENCE

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True)
class Answer:
    """As it came; names of headers in lower case. `rest` is what came behind it, until the end, where that was read."""

    status: int
    headers: dict[str, str]
    body: bytes


def head(method: str, target: str, headers: Mapping[str, str], *, version: str = "1.1") -> bytes:
    """A request's head."""
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class Line:
    """A connection, which is kept as long as the server keeps it."""

    def __init__(self, url: str, trusted: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
        if trusted is not None:
            self.socket = trusted.wrap_socket(self.socket, server_hostname=parts.hostname)
        self._file = _Kept(self.socket.makefile("rb"))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, whole."""
        response = http.client.HTTPResponse(cast(socket.socket, self._file), method=method)
        response.begin()
        body = b"" if response.status == 101 else response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"", **more: str
    ) -> Answer:
        """One request with the right Host, unless another is given, and its answer."""
        sent = {"Host": self.host, **(headers or {})}
        if body:
            sent["Content-Length"] = str(len(body))
        self.send(head(method, target, sent, **more) + body)
        return self.answer(method)

    def rest(self) -> bytes:
        """Everything until the server closes its side; a connection that is cut off ends as one that is closed."""
        with contextlib.suppress(ConnectionError):
            return self._file.read()
        return b""

    def close(self) -> None:
        self._file.really_close()
        self.socket.close()


class _Kept(io.BufferedIOBase):
    """A reader that outlives the answers read from it: `HTTPResponse` makes and closes one for each."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, mode: str) -> "_Kept":
        return self

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        return self._file.readline(-1 if size is None else size)

    def peek(self, size: int = 0) -> bytes:
        return self._file.peek(size)

    def close(self) -> None:
        pass

    def really_close(self) -> None:
        self._file.close()


@contextmanager
def line_to(url: str, trusted: ssl.SSLContext | None = None) -> Iterator[Line]:
    """A connection, closed on leaving."""
    line = Line(url, trusted)
    try:
        yield line
    finally:
        line.close()


def ask(url: str, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
    """One request on a connection of its own."""
    with line_to(url) as line:
        return line.ask(method, target, headers, body)


def sent_as_is(url: str, data: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    with line_to(url) as line:
        line.send(data)
        return line.rest()


@asynccontextmanager
async def a_site(
    handlers: Mapping[str, Handler],
    sockets: Mapping[str, SocketHandler] | None = None,
    *,
    token: str | None = None,
    origins: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[Server]:
    """An application on a free port of this loop, ended on leaving; what speaks to it does so in a thread."""
    guard = Guard(host="127.0.0.1", token=token, origins=origins)
    server = Server(HttpSettings(port=0, **settings), Site(guard, handlers, sockets or {}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, lambda: None)
        yield server
        tasks.cancel_scope.cancel()
