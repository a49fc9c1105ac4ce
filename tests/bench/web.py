"""The hub over HTTP: calls a second over `/mcp` and `/tools/call`, what one client waits, what idle sessions take."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.bed import ROOT, EchoServer
from tests.bench.calls import LIMIT, WINDOW, Plan
from tests.bench.client import REVISION, BenchError, call, deadline, request
from tests.bench.figures import Figure, Samples, quantile
from tests.bench.processes import memory_mb

IDLE_SESSIONS = 200
SESSIONS = 4
TEXT_SIZE = 97
_READ_SIZE = 65536
PYTHON = [sys.executable, "-m", "proxy"]


class HttpConnection:
    """One keep-alive connection, on which one request at a time is under way."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [
            f"host: 127.0.0.1:{port}",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "".join(f"{line}\r\n" for line in lines).encode()
        self._buffer = b""

    def message(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST."""
        return b"POST %b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (path.encode(), self._head, len(body), body)

    def answer(self) -> tuple[bytes, bytes] | None:
        """Head and body of the answer, once all of it is there; reads once."""
        chunk = self.socket.recv(_READ_SIZE)
        if not chunk:
            raise BenchError(f"the hub closed a connection after {self._buffer[:500]!r}")
        self._buffer += chunk
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        size = _content_length(head)
        if len(rest) < size:
            return None
        self._buffer = rest[size:]
        return head, rest[:size]

    def ask(self, path: str, body: bytes) -> tuple[bytes, bytes]:
        """Send, and wait for the answer."""
        self.socket.sendall(self.message(path, body))
        while (found := self.answer()) is None:
            pass
        if not found[0].startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
            raise BenchError(f"{path}: {found[0]!r} {found[1][:500]!r}")
        return found


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise BenchError(f"an answer without a length: {head!r}")


class WebHub:
    """A running hub, and sessions of it."""

    def __init__(self, port: int, token: str, pid: int) -> None:
        self.port = port
        self.pid = pid
        self._authorization = {"authorization": f"Bearer {token}"}

    def connection(self, **headers: str) -> HttpConnection:
        return HttpConnection(self.port, {**self._authorization, **headers})

    def session(self) -> dict[str, str]:
        """The headers of a new session."""
        client = {"name": "bench", "version": "1"}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client}
        connection = self.connection()
        head, _ = connection.ask("/mcp", request(1, "initialize", params))
        connection.socket.close()
        [id] = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"mcp-session-id:")]
        headers = {"mcp-session-id": id.strip().decode(), "mcp-protocol-version": REVISION}
        connection = self.connection(**headers)
        connection.ask("/mcp", b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        connection.socket.close()
        return headers


@contextlib.contextmanager
def web_hub(folder: Path, servers: Sequence[EchoServer], **more: object) -> Iterator[WebHub]:
    """The hub with the echo servers behind it, and `more` in the `proxy` section of its configuration."""
    folder.mkdir(exist_ok=True)
    config = folder / "hub.json"
    entries = {one.label: {"command": one.command[0], "args": one.command[1:], "start": "eager"} for one in servers}
    proxy = {"stateDir": str(folder / "state"), "log": {"level": "info", "file": str(folder / "hub.log")}, **more}
    config.write_text(json.dumps({"mcpServers": entries, "proxy": proxy}))
    command = [*PYTHON, "serve", "--config", str(config), "--port", "0"]
    with (folder / "hub.err").open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env={**os.environ})
    try:
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        if not first:
            raise BenchError(f"the hub did not start: {(folder / 'hub.err').read_text()[-2000:]}")
        token = (folder / "state" / "token").read_text().strip()
        yield WebHub(int(first.rpartition(":")[2]), token, process.pid)
    finally:
        process.terminate()
        process.wait(LIMIT)


Work = tuple[bytes, tuple[bytes, ...]]
"""A request, and what the body of its answer has in it."""


def mcp_work(connection: HttpConnection, count: int, first: int) -> list[Work]:
    """Calls over `/mcp`."""
    found: list[Work] = []
    for number in range(first, first + count):
        text = f"{number:0{TEXT_SIZE}}"
        body = call(number, "s0__echo", {"text": text}).rstrip()
        found.append((connection.message("/mcp", body), (b'"id":%d,' % number, f'"s0|{text}"'.encode())))
    return found


def rest_work(connection: HttpConnection, count: int, first: int) -> list[Work]:
    """Calls over `/tools/call`."""
    found: list[Work] = []
    for number in range(first, first + count):
        text = f"{number:0{TEXT_SIZE}}"
        body = json.dumps({"tool_name": "s0__echo", "arguments": {"text": text}}, separators=(",", ":")).encode()
        found.append((connection.message("/tools/call", body), (f'"s0|{text}"'.encode(),)))
    return found


def check(body: bytes, wanted: tuple[bytes, ...]) -> None:
    """BenchError if this is not the answer."""
    if not all(one in body for one in wanted):
        raise BenchError(f"a wrong answer: {body[:1000]!r}")


def rush(connections: Sequence[HttpConnection], work: Sequence[list[Work]]) -> float:
    """Seconds until all is answered, with one request under way on each connection; every answer is checked after."""
    answers: list[list[bytes]] = [[] for _ in connections]
    pending = len(connections)
    with selectors.DefaultSelector() as selector:
        started = time.perf_counter()
        for index, connection in enumerate(connections):
            selector.register(connection.socket, selectors.EVENT_READ, index)
            connection.socket.sendall(work[index][0][0])
        while pending:
            for key, _ in selector.select():
                index = key.data
                found = connections[index].answer()
                if found is None:
                    continue
                answers[index].append(found[1])
                done = len(answers[index])
                if done < len(work[index]):
                    connections[index].socket.sendall(work[index][done][0])
                else:
                    selector.unregister(connections[index].socket)
                    pending -= 1
        took = time.perf_counter() - started
    for mine, asked in zip(answers, work, strict=True):
        for body, (_, wanted) in zip(mine, asked, strict=True):
            check(body, wanted)
    return took


def over_http(folder: Path, plan: Plan) -> list[Figure]:
    """All figures of the hub."""
    title = f"10 the hub over HTTP, {WINDOW} calls in flight"
    makers = {"/mcp": mcp_work, "/tools/call": rest_work}
    rushes = {path: Samples(title, path, "calls/s", target=4000, at_least=True) for path in makers}
    alone = Samples("10 the hub over HTTP, one client that keeps its connection", "p50 of a call", "us")
    memory = Samples("10 the hub over HTTP, memory", f"for each of {IDLE_SESSIONS} idle sessions", "kB")
    with web_hub(folder, [EchoServer("s0")]) as hub, contextlib.ExitStack() as stack:
        sessions = [hub.session() for _ in range(SESSIONS)]
        connections = [hub.connection(**sessions[index % SESSIONS]) for index in range(WINDOW)]
        for connection in connections:
            stack.callback(connection.socket.close)
        each, first = max(plan.windowed // WINDOW, 1), 10
        for turn in range(plan.few_rounds + 1):
            for path, make in makers.items():
                work = [make(connection, each, first + index * each) for index, connection in enumerate(connections)]
                first += each * WINDOW
                with deadline(LIMIT, f"{path}: {each * WINDOW} calls"):
                    took = rush(connections, work)
                if turn:
                    rushes[path].add("proxy", each * WINDOW / took)
        alone.add("proxy", quantile(one_by_one(connections[0], mcp_work(connections[0], plan.sequential, first)), 0.5))
        before = memory_mb(hub.pid)["pss"]
        for _ in range(IDLE_SESSIONS):
            hub.session()
        memory.add("proxy", (memory_mb(hub.pid)["pss"] - before) * 1000 / IDLE_SESSIONS)
    return [samples.figure() for samples in (*rushes.values(), alone, memory)]


def one_by_one(connection: HttpConnection, work: Sequence[Work]) -> list[float]:
    """Microseconds that each takes, one after the other."""
    times = []
    for message, wanted in work:
        before = time.perf_counter()
        connection.socket.sendall(message)
        while (found := connection.answer()) is None:
            pass
        times.append((time.perf_counter() - before) * 1e6)
        check(found[1], wanted)
    return times
