"""Serves an application on one port, within the task group of whoever runs it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import uvicorn

from ..config.models import HttpSettings
from ..errors import ManifoldError
from .connection import KEEP_ALIVE, HttpConnection, WebSocketConnection
from .guard import is_loopback, reached_at
from .site import Site

_BACKLOG: Final = 256
_PING: Final = 20.0
_LOOK_EVERY: Final = 1.0
_LEAVE_WITHIN: Final = 0.2
"""Seconds: whoever ends us waits half a second in all, and then kills."""

_NO_PASSWORD: Final = "-"  # noqa: S105 (the opposite of one)


class CantServe(ManifoldError):
    """The port can't be had, or may not be served as configured; the text says what to do."""


class Server:
    """An open port and the application behind it. `port` is the one in use."""

    def __init__(self, settings: HttpSettings, site: Site) -> None:
        # At lower levels it tells each message of a WebSocket, and each head, with all that is secret in them; and at
        # "warning" whatever anybody sends that is no HTTP.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._settings = settings
        self._socket = _listen(settings)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            site,
            http=HttpConnection,
            ws=WebSocketConnection,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(KEEP_ALIVE),
            ws_max_size=settings.max_body,
            ws_ping_interval=_PING,
            ws_ping_timeout=_PING,
            ws_per_message_deflate=False,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            # A key that needs one is refused: OpenSSL would ask for it on the terminal.
            ssl_keyfile_password=_NO_PASSWORD,
        )
        try:
            config.load()
        except OSError as problem:  # ssl.SSLError is one
            self._socket.close()
            files = f"{settings.tls_cert} and {settings.tls_key}"
            raise CantServe(f"`proxy.http.tlsCert` and `tlsKey` can't be used ({files}): {problem}") from None
        self._server = _Uvicorn(config)

    @property
    def url(self) -> str:
        """Where it is reached from this machine, without a slash at the end."""
        return f"{'https' if self._settings.tls_cert else 'http'}://{reached_at(self._settings.host)}:{self.port}"

    async def run(self, leave: Callable[[], None]) -> None:
        """Serve until cancelled; connections are ended then. `leave` has the application end its streams first."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.serve, [self._socket])
            try:
                await self._server.watch()
            finally:
                await self._server.end(leave)


class _Uvicorn(uvicorn.Server):
    """Signals are the application's, and nobody is waited for at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def watch(self) -> None:
        """End connections that are of no use, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_EVERY)
            now = asyncio.get_running_loop().time()
            for connection in self._connections():
                if connection.is_stalled(now):
                    connection.transport.abort()

    async def end(self, leave: Callable[[], None]) -> None:
        """Close the port and all connections: gently those whose clients read."""
        self.should_exit = self.force_exit = True
        for server in getattr(self, "servers", []):
            server.close()
        with anyio.CancelScope(shield=True):
            leave()
            for connection in self._connections():
                connection.shutdown()
            with anyio.move_on_after(_LEAVE_WITHIN):
                await self._idle()
            for connection in self._connections():
                connection.transport.abort()
            with anyio.move_on_after(_LEAVE_WITHIN):
                await self._idle()

    async def _idle(self) -> None:
        """Wait until no request is being answered, nor a WebSocket served."""
        while tasks := self.server_state.tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # a callback takes them out

    def _connections(self) -> list[HttpConnection | WebSocketConnection]:
        return list(self.server_state.connections)  # type: ignore[arg-type]


def _listen(settings: HttpSettings) -> socket.socket:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise CantServe("`proxy.http` needs tlsCert and tlsKey, or none of them")
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, address = found[0][0], str(found[0][4][0])
        if not (is_loopback(address) or settings.insecure or settings.tls_cert):
            raise CantServe(
                f"{settings.host} can be reached from other machines: `proxy.http` needs tlsCert and tlsKey, "
                'or "insecure": true where something in front of this encrypts'
            )
        return socket.create_server((address, settings.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as problem:
        number = getattr(problem, "errno", None)
        if number in (errno.EADDRINUSE, errno.EACCES):
            what = f"{os.strerror(number)}; --port takes another"
        else:
            what = str(getattr(problem, "strerror", None) or problem)
        raise CantServe(f"can't listen on {settings.host} port {settings.port}: {what}") from None
