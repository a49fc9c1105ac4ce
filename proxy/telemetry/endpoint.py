"""The HTTP endpoint of the metrics: prometheus_client's application in a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import logging
import socket
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from ..events import Notice
from .bounded import Bounded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from ..config.models import MetricsSettings
    from ..events import Emit

PATIENCE: Final = 10.0
"""Seconds that a scraper has for its request."""
MOST: Final = 16
"""Connections; who comes while so many are there takes the place of the one that came first."""

_LARGEST: Final = 256 * 1024
_WITHOUT_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AGAIN: Final = 1.0

_log: Final = logging.getLogger(__name__)


class MetricsServer:
    """A running endpoint, or none. `port` is the one in use; None where it could not be had, which a Notice told."""

    def __init__(self, httpd: _Server | None) -> None:
        self._httpd = httpd
        self.port: int | None = httpd.server_port if httpd else None
        self.address: str | None = httpd.address if httpd else None
        """A URL without a path, where this machine reaches it."""

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and free the port; at once, whoever is connected."""
        if self._httpd is not None:
            self._httpd.stop()
            self._httpd = None


def serve(settings: MetricsSettings, registry: CollectorRegistry, emit: Emit) -> MetricsServer:
    """Answer any path on the configured host and port with the series.

    Notices say where, warn if other machines can reach it, and tell why there is none: that never ends the proxy. Where
    Prometheus is told of the port, any other one will do if it is taken.
    """
    try:
        httpd = _listening(settings, make_wsgi_app(registry))
    except (OSError, UnicodeError) as error:  # the latter where the host is no name at all
        problem = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            problem = f"{problem}; with `metrics.discovery` each process takes a port of its own"
        emit(Notice("warning", f"no metrics: can't listen on {settings.host} port {settings.port}: {problem}"))
        return MetricsServer(None)
    host = httpd.server_name
    shown = f"[{host}]" if ":" in host else host
    emit(Notice("info", f"metrics on http://{shown}:{httpd.server_port}/metrics"))
    if not ipaddress.ip_address(host).is_loopback:
        emit(Notice("warning", f"metrics on {host} have no authentication: whoever reaches this machine can read them"))
    httpd.start()
    return MetricsServer(httpd)


def _listening(settings: MetricsSettings, app: WSGIApplication) -> _Server:
    try:
        return _Server(settings.host, settings.port, app)
    except OSError as problem:
        if problem.errno != errno.EADDRINUSE or not settings.discovery:
            raise
        return _Server(settings.host, 0, app)


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def setup(self) -> None:
        super().setup()
        raw = cast(io.BufferedReader, self.rfile).detach()
        self.rfile = io.BufferedReader(Bounded(raw, self.connection, PATIENCE, _LARGEST))

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """prometheus_client's own server, but for four things.

    It binds without asking the name service for its own name, which can take seconds. It waits for connections instead
    of waking twice a second. It prints nothing: stderr is the log's, and may be a pipe that nobody reads. And there are
    bounds to what its clients take: threads and descriptors are those of the calls.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, address = found[0][0], found[0][4]
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(_quiet(_guarded(app, host) if ipaddress.ip_address(self.server_name).is_loopback else app))
        self._stopping = threading.Event()
        self._connected: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    @property
    def address(self) -> str:
        """A URL without a path."""
        host = self.server_name
        if ipaddress.ip_address(host).is_unspecified:  # which is every address, but none to ask
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as problem:
            if problem.errno in _WITHOUT_ROOM:  # it is still there, and would be asked for again at once
                self._stopping.wait(_AGAIN)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        first = None
        with self._lock:
            if len(self._connected) >= MOST:
                first = next(iter(self._connected))
                del self._connected[first]
            self._connected[request] = None
        if first is not None:
            with contextlib.suppress(OSError):
                first.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connected.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("a scraper went away", exc_info=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):  # a connection is what it waits for
            socket.create_connection((self.server_name, self.server_port), timeout=0.5).close()
        self._thread.join(timeout=0.5)
        self.server_close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.handle_request()


def _guarded(app: WSGIApplication, name: str) -> WSGIApplication:
    """`app`, but not for pages of the web, which reach loopback by a name of their own that leads there."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _is_ours(environ.get("HTTP_HOST", ""), name):
            return app(environ, start_response)
        start_response("421 Misdirected Request", [("Content-Type", "text/plain")])
        return [b"this server is asked by address, or as localhost\n"]

    return answer


def _is_ours(host: str, name: str) -> bool:
    try:
        asked = urlsplit(f"//{host}").hostname or ""
        return asked in ("", "localhost", name.lower()) or bool(ipaddress.ip_address(asked))
    except ValueError:
        return False


def _quiet(app: WSGIApplication) -> WSGIApplication:
    """`app`, with its exceptions logged and answered instead of printed."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except Exception:
            _log.exception("the metrics could not be written")
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"the metrics could not be written; the log says why\n"]

    return answer
