"""HTTP as our handlers see it: a request whose head was read, and what goes out for it.

Thinner than Starlette's, since a tool's call pays for it: a dictionary of headers, and ASGI's messages as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeVar

import anyio

SOON: Final = 0.05
"""Seconds in which most answers come: before, it is not worth looking after the client."""

T = TypeVar("T")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

_JSON: Final = (b"content-type", b"application/json")
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_NO_STORE: Final = (b"cache-control", b"no-store")
_EVENTS: Final = (
    (b"content-type", b"text/event-stream"),
    _NO_STORE,
    (b"x-accel-buffering", b"no"),
)


class TooLarge(Exception):
    """The body is longer than it may be; what was read of it is dropped."""


class Left(Exception):
    """The client is gone, before we were through with its request."""


class Request:
    """A request's head. `headers` by name in small letters; `path` is decoded, `query` is raw; `peer` is an address."""

    __slots__ = ("headers", "method", "path", "peer", "query", "receive", "scheme")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.scheme: str = scope["scheme"]
        self.peer: str = (scope.get("client") or ("",))[0]
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1")
            text = value.decode("latin-1")
            # Two of one are one list (RFC 9110, 5.3), and where there may be only one, a list is none that is known.
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self.receive = receive

    @property
    def protocols(self) -> list[str]:
        """The subprotocols that the client of a WebSocket speaks."""
        return [name.strip() for name in self.headers.get("sec-websocket-protocol", "").split(",")]

    async def body(self, largest: int) -> bytes:
        """All of the body. Raises TooLarge, and Left where the client went before its end."""
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > largest:
            raise TooLarge
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Left
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > largest:
                raise TooLarge
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def until_left(self) -> None:
        """Wait until the client is gone. The body has to be read before."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def unless_left(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns or raises; where the client leaves before, it is cancelled and Left is raised."""
        found: list[T] = []
        failed: list[Exception] = []

        async def watch() -> None:
            await self.until_left()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                found.append(await work())
            except Exception as problem:  # raised below as it is: from within it would come out in a group
                failed.append(problem)
            tasks.cancel_scope.cancel()
        if failed:
            raise failed[0]
        if not found:
            raise Left
        return found[0]

    async def wait(self, event: anyio.Event, seconds: float | None = None) -> bool:
        """Wait for `event`, for so many seconds at most; whether it came.

        Raises Left where the client leaves before; the body has to be read by then.
        """
        with anyio.move_on_after(SOON):
            await event.wait()
        if not event.is_set():
            with anyio.move_on_after(seconds):
                await self.unless_left(event.wait)
        return event.is_set()


class Reply:
    """What goes out for one request, once."""

    __slots__ = ("_send", "has_begun")

    def __init__(self, send: Send) -> None:
        self.has_begun = False
        self._send = send

    async def whole(self, status: int, body: bytes, *head: Header) -> None:
        """A whole answer; its content type is in `head`."""
        self.has_begun = True
        length = (b"content-length", b"%d" % len(body))
        await self._send({"type": "http.response.start", "status": status, "headers": [length, *head]})
        await self._send({"type": "http.response.body", "body": body})

    async def json(self, status: int, body: bytes, *head: Header) -> None:
        """A whole answer of JSON, which no browser keeps or takes for something else, unless `head` says so."""
        is_kept = any(name == b"cache-control" for name, _ in head)
        await self.whole(status, body, _JSON, _NOSNIFF, *head, *(() if is_kept else (_NO_STORE,)))

    async def empty(self, status: int, *head: Header) -> None:
        """An answer without content."""
        self.has_begun = True
        headers = [*head] if status in (204, 304) else [(b"content-length", b"0"), *head]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def begin_events(self, *head: Header) -> None:
        """Begin a stream of server-sent events."""
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": [*_EVENTS, *head]})

    async def more(self, data: bytes) -> None:
        """A part of the stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """The stream is over."""
        await self._send({"type": "http.response.body", "body": b""})
