"""The application: each request passes the guard, and then goes to whoever the first part of its path names."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from .asgi import Header, Left, Receive, Reply, Request, Scope, Send, TooLarge
from .connection import most_connections
from .guard import Denial, Guard, part_of
from .problems import Problem

Handler = Callable[[Request, Reply], Awaitable[None]]
"""Answers a request. What it may raise: Problem, TooLarge, and Left where the client is gone."""

SocketHandler = Callable[[Request, Send], Awaitable[None]]
"""Serves a WebSocket, from its acceptance to its end."""

_ALLOWED: Final = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, last-event-id, mcp-protocol-version, mcp-session-id",
    ),
    (b"access-control-max-age", b"600"),
)


class Site:
    """An ASGI application. `handlers` and `sockets` by the first part of the path."""

    def __init__(self, guard: Guard, handlers: Mapping[str, Handler], sockets: Mapping[str, SocketHandler]) -> None:
        self._guard = guard
        self._handlers = handlers
        self._sockets = sockets
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["type"] == "websocket":
            await self._socket(request, send)
            return
        headers = request.headers
        origin = headers.get("origin", "")
        is_shared = self._guard.is_foreign(origin, headers.get("host", ""), request.scheme)
        reply = Reply(_shared_with(origin, send) if is_shared else send)
        try:
            await self._answer(request, reply, is_shared=is_shared)
        except Problem as problem:
            if not reply.has_begun:
                await problem.answer(reply)
        except TooLarge:
            await Problem(413, "the body is longer than it may be (`proxy.http.maxBody`)").answer(reply)
        except Left:
            pass  # nobody is there to be told

    async def _answer(self, request: Request, reply: Reply, *, is_shared: bool) -> None:
        denial = self._guard.verdict(request.path, request.headers, scheme=request.scheme, method=request.method)
        if denial is not None:
            raise Problem(denial.status, denial.reason, headers=_CHALLENGE if denial.status == 401 else None)
        handler = self._handlers.get(part_of(request.path))
        if request.method == "OPTIONS":  # never a handler's: who asks has shown no token
            await reply.empty(204, *(_ALLOWED if is_shared else ()))
        elif handler is None:
            raise Problem(404, f"there is nothing at {request.path[:200]}")
        else:
            await handler(request, reply)

    async def _socket(self, request: Request, send: Send) -> None:
        scheme = {"ws": "http", "wss": "https"}[request.scheme]
        denial = self._guard.verdict(request.path, request.headers, scheme=scheme)
        handler = self._sockets.get(part_of(request.path))
        if denial is None and handler is not None and self._open >= most_connections() // 2:
            denial = Denial(503, "too many WebSockets are open")  # others have to be let in, too
        if denial is None and handler is not None:
            self._open += 1
            try:
                await handler(request, _unless_gone(send))
            finally:
                self._open -= 1
            return
        problem = Problem(denial.status, denial.reason) if denial is not None else Problem(404, "no WebSocket is here")
        status, head = problem.status, [(b"content-type", b"application/problem+json")]
        await send({"type": "websocket.http.response.start", "status": status, "headers": head})
        await send({"type": "websocket.http.response.body", "body": problem.document()})


def _unless_gone(send: Send) -> Send:
    """`send`, which sends nothing where the client is gone: that `receive` tells."""

    async def say(message: MutableMapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            await send(message)

    return say


_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="mcp-manifold"'}


def _shared_with(origin: str, send: Send) -> Send:
    """`send`, with the headers that let a page of another origin read the answer (Fetch, CORS protocol)."""
    shared: list[Header] = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"mcp-session-id, retry-after"),
        (b"vary", b"origin"),
    ]

    async def tell(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *shared]  # type: ignore[misc]
        await send(message)

    return tell  # type: ignore[return-value]
