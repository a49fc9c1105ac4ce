"""A collector: takes spans by OTLP over HTTP and reads them with the protocol's own messages."""

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.client import PATIENCE

Attributes = dict[str, str | int | float | bool]


class Spans:
    """What has come. `status`, `headers` and `body` are what it answers with: to the request that comes next."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.hold: threading.Event | None = None
        """Answers wait for it."""
        self.held = False
        """One does."""
        self.requests: list[dict[str, str]] = []
        """Their headers, in lower case, and "" for the path."""
        self.raw: list[bytes] = []
        self._changed = threading.Condition()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        with self._changed:
            self.requests.append(headers)
            self.raw.append(body)
            self._changed.notify_all()

    def wait(self) -> None:
        """Before an answer, as long as that is held back."""
        if self.hold is not None:
            with self._changed:
                self.held = True
                self._changed.notify_all()
            self.hold.wait(PATIENCE)

    def until(self, check: Callable[[], bool]) -> None:
        """Wait until it holds; it is looked at after each request."""
        with self._changed:
            assert self._changed.wait_for(check, PATIENCE), f"got {[one.name for one in self.spans]}"

    def wait_for(self, number: int) -> list[Span]:
        """At least so many spans, by the time at which they began."""
        self.until(lambda: len(self.spans) >= number)
        return sorted(self.spans, key=lambda span: span.start_time_unix_nano)

    @property
    def messages(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.raw]

    @property
    def spans(self) -> list[Span]:
        """All of them, with the process that each comes from as `mcp_manifold.pid`."""
        return [
            span
            for message in self.messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resources(self) -> list[Attributes]:
        return [attributes(one.resource.attributes) for message in self.messages for one in message.resource_spans]


def attributes(pairs: Any) -> Attributes:
    """Key -> value; fails on a key given twice."""
    found: Attributes = {}
    pair: KeyValue
    for pair in pairs:
        assert pair.key not in found
        found[pair.key] = getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
    return found


@contextlib.contextmanager
def collecting(port: int = 0) -> Iterator[Spans]:
    """A collector on a free port of loopback, or on this one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            spans.take({"": self.path, **{name.lower(): value for name, value in self.headers.items()}}, body)
            spans.wait()
            self.send_response(spans.status)
            for name, value in {"Content-Length": str(len(spans.body)), **spans.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(spans.body)

        def do_GET(self) -> None:  # what a redirect may make of it
            self.do_POST()

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at what came."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        spans = Spans(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield spans
        finally:
            server.shutdown()
            thread.join()
