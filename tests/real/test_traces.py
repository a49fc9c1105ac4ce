"""One call through two proxies is one trace, as a real collector gets it."""

import contextlib
import importlib.util
import queue
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy.tracecontext import parse
from tests.support import servers
from tests.support.client import PATIENCE, ChildWire, RawClient
from tests.support.hub import serving
from tests.support.manifold import RUN, running, write_config
from tests.support.otlp import attributes, collecting

ROTEL = importlib.util.find_spec("rotel")


def traced_call(client: RawClient, tool: str, **arguments: Any) -> tuple[ReadableSpan, dict[str, Any]]:
    """A call within a span of the SDK's, which is its context; returns the span and the result."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    meta: dict[str, str] = {}
    with provider.get_tracer("test").start_as_current_span(f"tools/call {tool}", kind=SpanKind.CLIENT):
        TraceContextTextMapPropagator().inject(meta)
        result = client.request("tools/call", {"name": tool, "arguments": arguments, "_meta": meta}).result
    [span] = exporter.get_finished_spans()
    provider.shutdown()
    return span, result


@contextlib.contextmanager
def as_server(config: Path, way: str) -> Iterator[dict[str, Any]]:
    """The entry of a proxy with this configuration: a child of another one, or a hub behind HTTP."""
    if way == "pipe":
        yield servers.entry([*RUN, str(config)])
        return
    with serving(config) as hub:
        yield {"type": "http", "url": f"{hub.url}/mcp", "headers": hub.headers}


@pytest.mark.parametrize("way", ["pipe", "tcp"])
def test_a_call_through_two_proxies_is_one_trace(way: str, tmp_path: Path) -> None:
    with collecting() as spans:
        traces = {"endpoint": spans.endpoint}
        inner = write_config(tmp_path / "inner", {"raw": servers.script("raw_echo.py")}, traces=traces)
        with as_server(inner, way) as near:
            outer = write_config(tmp_path / "outer", {"inner": near}, traces=traces)
            with running(outer) as manifold:
                assert "inner__raw__verbatim" in manifold.tools()
                asked, result = traced_call(manifold, "inner__raw__verbatim")
                path = spans.wait_for(4)
    context = asked.get_span_context()
    assert context is not None
    assert {int.from_bytes(span.trace_id) for span in path} == {context.trace_id}
    assert [span.name for span in path] == [
        "tools/call inner__raw__verbatim",
        "tools/call raw__verbatim",
        "tools/call raw__verbatim",
        "tools/call verbatim",
    ]
    assert [span.kind for span in path] == [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT] * 2
    ways = [attributes(span.attributes)["network.transport"] for span in path]
    assert ways == ["pipe", way, way, "pipe"]
    ids = [context.span_id, *(int.from_bytes(span.span_id) for span in path)]
    assert [int.from_bytes(span.parent_span_id) for span in path] == ids[:-1]
    assert len(set(ids)) == 5
    parent = parse(result["params"]["_meta"]["traceparent"])
    assert parent is not None
    assert (int(parent.trace_id, 16), int(parent.span_id, 16)) == (context.trace_id, ids[-1])
    assert [span.end_time_unix_nano for span in path] == sorted(
        (span.end_time_unix_nano for span in path), reverse=True
    ), "each is within the one that asked"
    assert asked.start_time is not None
    assert asked.end_time is not None
    assert len({about["process.pid"] for about in spans.resources}) == 2


def test_a_call_that_its_client_cancels_has_its_spans_too(tmp_path: Path) -> None:
    with collecting() as spans:
        config = write_config(
            tmp_path, {"raw": servers.script("raw_echo.py")}, traces={"endpoint": spans.endpoint, "headers": {"X": "y"}}
        )
        with running(config) as manifold:
            manifold.tools()
            manifold.call("raw__verbatim")
            never = manifold.start("tools/call", {"name": "raw__never", "arguments": {}})
            manifold.notify("notifications/cancelled", {"requestId": int(never)})
            made = spans.wait_for(4)
    outcomes = sorted(str(attributes(span.attributes)["mcp_manifold.outcome"]) for span in made)
    assert outcomes == ["cancelled", "cancelled", "ok", "ok"]
    assert spans.requests[0]["x"] == "y"


@contextlib.contextmanager
def rotel(endpoint: str, folder: Path) -> Iterator[str]:
    """A real collector that passes everything on to another one; its own endpoint."""
    assert ROTEL is not None
    assert ROTEL.origin is not None
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    address, other = (f"127.0.0.1:{port}" for port in ports)
    command = [str(Path(ROTEL.origin).with_name("rotel-agent")), "start", "--pid-file", str(folder / "rotel.pid")]
    command += ["--otlp-http-endpoint", address, "--otlp-grpc-endpoint", other, "--batch-timeout", "10ms"]
    command += ["--exporter", "otlp", "--otlp-exporter-endpoint", endpoint, "--otlp-exporter-protocol", "http"]
    command += ["--otlp-exporter-compression", "none"]
    child = ChildWire(command)
    lines: queue.Queue[bytes | None] = queue.Queue()
    try:
        child.open(lines.put)
        assert b"Starting Rotel" in (lines.get(timeout=PATIENCE) or b""), child.story()
        yield f"http://{address}"
    finally:
        child.close()


@pytest.mark.skipif(ROTEL is None, reason="rotel, a collector with a binary in its package, is not installed")
def test_a_real_collector_takes_the_spans_and_passes_them_on(tmp_path: Path) -> None:
    with collecting() as spans, rotel(spans.endpoint, tmp_path) as endpoint:
        config = write_config(tmp_path, {"raw": servers.script("raw_echo.py")}, traces={"endpoint": endpoint})
        with running(config) as manifold:
            manifold.tools()
            asked, _ = traced_call(manifold, "raw__verbatim")
            served, inner = spans.wait_for(2)
    context = asked.get_span_context()
    assert context is not None
    assert int.from_bytes(served.parent_span_id) == context.span_id
    assert inner.parent_span_id == served.span_id
    assert attributes(served.attributes)["gen_ai.tool.name"] == "raw__verbatim"
    assert spans.resources[0]["service.name"] == "mcp-manifold"
