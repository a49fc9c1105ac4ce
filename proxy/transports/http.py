"""Servers behind Streamable HTTP or SSE, through the SDK's client transports.

Importing this module costs a second and 60 MB, so only an entry that needs it does.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import httpx2
import msgspec
from anyio.abc import TaskGroup
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from .. import wire
from ..errors import (
    SERVER_UNAVAILABLE,
    ConnectionLost,
    Delivered,
    Hopeless,
    ServerError,
    innermost,
    refusal,
)
from ..relay.peers import Buffer
from .channel import MOST_BUFFERED, End, Graces, Intake, nobody, requests_in
from .http_client import CONNECT_WITHIN, Client, describe
from .payloads import Payloads, as_line
from .uploads import Upload, Uploads

_PROTOCOL_HEADER: Final = "mcp-protocol-version"


@asynccontextmanager
async def open_http(
    server: str, url: str, headers: Mapping[str, str], *, sse: bool, intake: Intake, graces: Graces
) -> AsyncIterator[HttpChannel]:
    """Connect to `url`, with SSE's two endpoints or Streamable HTTP. Failures show as the channel's end.

    On leaving, a session is ended with DELETE, within the quiet grace.
    """
    async with anyio.create_task_group() as tasks:
        channel = HttpChannel(server, intake, tasks)
        tasks.start_soon(channel.run, url, dict(headers), sse)
        try:
            yield channel
        finally:
            channel.close()
            if channel.has_session:
                with anyio.CancelScope(shield=True), anyio.move_on_after(graces.quiet):
                    await channel.gone.wait()
            channel.scope.cancel()
            tasks.cancel_scope.cancel()


class HttpChannel:
    """A connection over HTTP as a channel of lines."""

    def __init__(self, server: str, intake: Intake, tasks: TaskGroup) -> None:
        self._server = server
        self._intake = intake
        self._tasks = tasks
        self.choked: Callable[[bool], None] = nobody
        self.pid: int | None = None
        self._closed = False
        self._end = End()
        self._protocol: str | None = None
        self._uploads = Uploads(self._full)
        self._queue, self._queued = anyio.create_memory_object_stream[Upload](math.inf)
        self.payloads = Payloads()
        self.payloads.beside = intake.data
        self.gone = anyio.Event()
        # Whoever leaves is mostly cancelled, and the session still has to be ended.
        self.scope = anyio.CancelScope(shield=True)

    @property
    def has_session(self) -> bool:
        """Whether there may be one to end."""
        return self._protocol is not None

    def write(self, data: Buffer) -> None:
        """Queue whole lines; a server that takes none of them is given up at MOST_BUFFERED bytes."""
        if self._end.is_noted or self._closed:
            return
        for line in bytes(data).split(b"\n"):
            if line:
                self._queue.send_nowait(self._uploads.add(line))
        if self._uploads.waiting > MOST_BUFFERED:
            text = f"it does not take what it is sent ({MOST_BUFFERED >> 20} MiB wait)"
            self.failed(ConnectionLost(self._server, text))

    def _full(self, full: bool) -> None:
        if not self._end.is_noted:
            self.choked(full)

    def agreed(self, protocol: str) -> None:
        """Name the revision in a header from now on, as the specification wants."""
        self._protocol = protocol

    def take_back(self) -> list[int]:
        """Send no more requests; returns the ids of those that have not left to their last byte."""
        return requests_in(self._uploads.take_back())

    async def ended(self) -> ServerError:
        """Wait until the connection is over."""
        return await self._end.wait()

    def close(self) -> None:
        """Let what is queued go out, then end the session."""
        self._closed = True
        self._queue.close()

    def aside(self, post: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Send something while other messages go on."""
        self._tasks.start_soon(post)

    def undelivered(self, id: bytes, reason: str) -> None:
        """The request of this raw id could not be sent."""
        self._intake.undelivered(id, reason)

    def failed(self, problem: ServerError) -> None:
        """The connection can't go on."""
        if not self._end.is_noted:
            self._end.note(problem)
            self.choked(True)  # what is sent from now on would be lost

    async def run(self, url: str, headers: dict[str, str], sse: bool) -> None:
        """Hold the connection until the queue is closed or it fails, or `scope` is cancelled: nothing else ends it."""
        with self.scope:
            await self._run(url, headers, sse)

    async def _run(self, url: str, headers: dict[str, str], sse: bool) -> None:
        try:
            with self._queued:
                if (problem := _url_problem(url)) is not None:
                    self.failed(Hopeless(self._server, problem))
                    return
                if sse:
                    await self._run_sse(url, headers)
                else:
                    await self._run_streamable(url, headers)
        except* Exception as group:
            # Whatever the SDK raises is the end of this connection, and of nothing else.
            self.failed(ConnectionLost(self._server, describe(innermost(group))))
        finally:
            self.failed(ConnectionLost(self._server, "the connection was closed"))
            self.gone.set()

    async def _run_streamable(self, url: str, headers: dict[str, str]) -> None:
        timeout = httpx2.Timeout(CONNECT_WITHIN, read=None, pool=None)
        async with (
            Client(self, self._server, alone=False, headers=headers, timeout=timeout) as client,
            streamable_http_client(url, http_client=client) as (read, write),
        ):
            await self._exchange(read, write)

    async def _run_sse(self, url: str, headers: dict[str, str]) -> None:
        def make(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            return Client(self, self._server, alone=True, headers=headers, timeout=timeout, auth=auth)

        async with sse_client(
            url, headers, timeout=CONNECT_WITHIN, sse_read_timeout=math.inf, httpx_client_factory=make
        ) as (
            read,
            write,
        ):
            await self._exchange(read, write)

    async def _exchange(self, read: Any, write: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive, read, tasks.cancel_scope)
            async for upload in self._queued:
                if not upload.is_void:
                    await write.send(self._wrap(upload))
            tasks.cancel_scope.cancel()

    async def _receive(self, read: Any, scope: anyio.CancelScope) -> None:
        async for item in read:
            if isinstance(item, SessionMessage):
                self._pass_on(item.message)
        scope.cancel()

    def _wrap(self, upload: Upload) -> SessionMessage:
        """The SDK's form of an outgoing message, with a ticket as payload."""
        ticket = self.payloads.deposit(upload)
        metadata = ClientMessageMetadata(headers={_PROTOCOL_HEADER: self._protocol}) if self._protocol else None
        return SessionMessage(_model(upload, ticket), metadata)

    def _pass_on(self, message: JSONRPCMessage) -> None:
        """Pass on the line that a message of the SDK's stands for, if it stands for one."""
        if isinstance(message, JSONRPCResponse):
            incoming = self.payloads.claim(message.result)
        elif isinstance(message, JSONRPCError):
            incoming = self.payloads.claim(message.error.data)
            if incoming is None:
                self._made_up(message)
                return
        else:
            incoming = self.payloads.claim(message.params)
        if (
            incoming is None
        ):  # compressed against our wish, so it came past us: the SDK's reading of it is what there is
            self._intake.data(message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            return
        presumed = message.id if isinstance(message, JSONRPCResponse | JSONRPCError) else None
        line = as_line(_text(incoming.envelope, presumed))
        if incoming.within:
            self._intake.said_within(incoming.within, line)
        else:
            self._intake.data(line)

    def _made_up(self, message: JSONRPCError) -> None:
        """An error that the SDK or our client made up because no answer came, or none that can be used."""
        data = message.error.data if isinstance(message.error.data, dict) else {}
        delivered: Delivered = "no" if data.get("delivered") == "no" else "maybe"
        id, text = wire.encode(message.id), message.error.message
        if not data.get("answered", message.error.code != CONNECTION_CLOSED):
            self._intake.failed(id, text, delivered)
            return
        text = f"server {self._server!r}: {text}"
        error = refusal(SERVER_UNAVAILABLE, text, server=self._server, delivered=delivered)
        self._intake.data(wire.error(id, error))


def _text(envelope: wire.Envelope, presumed: object) -> bytes:
    """A message as it was sent, as far as it matters; an answer without an id gets the one that the SDK presumes."""
    if envelope.method:
        line = wire.notification(envelope.method, envelope.params)[:-1]
        return line if not envelope.id else b'{"id":' + bytes(envelope.id) + b"," + line[1:]
    id = _own_id(envelope, presumed)
    return (wire.error(id, envelope.error) if envelope.error else wire.result(id, envelope.result))[:-1]


def _own_id(envelope: wire.Envelope, presumed: object) -> bytes:
    """The id that the server wrote: the SDK takes any answer on a request's stream for that request's."""
    return bytes(wire.given(envelope.id) or wire.encode(presumed))


def _url_problem(url: str) -> str | None:
    try:
        httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as problem:
        return f"its url can't be used: {problem}"
    return None


def _model(upload: Upload, ticket: dict[str, str]) -> JSONRPCMessage:
    if upload.method and not upload.id:
        return JSONRPCNotification(jsonrpc="2.0", method=upload.method, params=ticket)
    id = msgspec.json.decode(upload.id)
    if upload.method:
        return JSONRPCRequest(jsonrpc="2.0", id=id, method=upload.method, params=ticket)
    if upload.is_result:
        return JSONRPCResponse(jsonrpc="2.0", id=id, result=ticket)
    return JSONRPCError(jsonrpc="2.0", id=id, error=ErrorData(code=0, message="", data=ticket))
