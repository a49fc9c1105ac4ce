"""Serves an application on one port, within the task group of whoever runs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import anyio
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..config.models import HttpSettings
from ..errors import ManifoldError
from .guard import is_loopback
from .site import Site

_BACKLOG: Final = 256
_LONGEST_HEAD: Final = 64 * 1024
_HEAD_WITHIN: Final = 10.0
_KEEP_ALIVE: Final = 75
_PING: Final = 20.0


class CantServe(ManifoldError):
    """The port can't be had, or may not be served as configured; the text says what to do."""


class Server:
    """An open port and the application behind it. `port` is the one in use."""

    def __init__(self, settings: HttpSettings, site: Site) -> None:
        _allow(settings)
        self._settings = settings
        self._socket = _listen(settings)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            site,
            http=_Protocol,
            ws="websockets-sansio",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            ws_max_size=settings.max_body,
            ws_ping_interval=_PING,
            ws_ping_timeout=_PING,
            ws_per_message_deflate=False,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
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
        host = self._settings.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
            host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self._settings.tls_cert else 'http'}://{name}:{self.port}"

    async def run(self) -> None:
        """Serve until cancelled; connections are ended then."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.serve, [self._socket])
            try:
                await anyio.sleep_forever()
            finally:
                self._server.end()


class _Uvicorn(uvicorn.Server):
    """Signals are the application's, and nobody is waited for at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        """Close the port and all connections at once."""
        self.should_exit = self.force_exit = True
        for server in getattr(self, "servers", []):
            server.close()
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


class _Protocol(HttpToolsProtocol):
    """One connection, whose head has to be there soon, and may not be endless: httptools has no limit of its own."""

    _head = 0
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(_HEAD_WITHIN, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > _LONGEST_HEAD:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().on_headers_complete()


def _allow(settings: HttpSettings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise CantServe("`proxy.http` needs tlsCert and tlsKey, or none of them")
    if is_loopback(settings.host) or settings.insecure or settings.tls_cert:
        return
    raise CantServe(
        f"{settings.host} can be reached from other machines: `proxy.http` needs tlsCert and tlsKey, "
        'or "insecure": true where something in front of this encrypts'
    )


def _listen(settings: HttpSettings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, address = found[0][0], found[0][4]
        return socket.create_server((str(address[0]), settings.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as problem:
        what = getattr(problem, "strerror", None) or problem
        raise CantServe(f"can't listen on {settings.host} port {settings.port}: {what}; --port takes another") from None
