"""A crowd: many clients on all fronts at once, all with the same ids, and every answer has to be its asker's own.

`python -m tests.chaos.crowd --calls 100000` prints what came and exits with 1 if an answer was another's, or missing.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httptools
from websockets.asyncio.client import ClientConnection, connect

from tests.support import servers
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config

CLIENTS: Final = 50
SERVERS: Final = 3
PATIENCE: Final = 120.0
AT_ONCE: Final = 10

Ask = Callable[[str, str], Awaitable[str]]
"""Calls a tool with a nonce; returns all that came back."""


class Response:
    """What httptools found in an answer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.session = ""
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"mcp-session-id":
            self.session = value.decode()

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = True


class Http:
    """A keep-alive connection for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hub: Hub) -> None:
        self._reader = reader
        self._writer = writer
        accepts = "application/json, text/event-stream"
        self.headers = {**hub.headers, "Host": "localhost", "Content-Type": "application/json", "Accept": accepts}

    def send(self, method: str, path: str, body: bytes) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def is_sent(self) -> None:
        await self._writer.drain()

    async def request(self, method: str, path: str, body: bytes) -> Response:
        self.send(method, path, body)
        response = Response()
        parser = httptools.HttpResponseParser(response)
        while not response.is_whole:
            chunk = await self._reader.read(65536)
            assert chunk, "the hub closed the connection"
            parser.feed_data(chunk)
        assert parser.get_status_code() in (200, 202, 204), b"".join(response.parts)
        return response

    async def post(self, path: str, body: Any) -> Response:
        return await self.request("POST", path, json.dumps(body).encode())


@asynccontextmanager
async def http(hub: Hub) -> AsyncIterator[Http]:
    port = int(hub.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Http(reader, writer, hub)
    finally:
        writer.close()


def call(tool: str, nonce: str) -> dict[str, Any]:
    """The same id for everybody, always."""
    params = {"name": tool, "arguments": {"nonce": nonce}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@asynccontextmanager
async def session(hub: Hub) -> AsyncIterator[Http]:
    """A connection with a session of MCP on it."""
    async with http(hub) as connection:
        info = {"name": "crowd", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        begun = await connection.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
        connection.headers["Mcp-Session-Id"] = begun.session
        await connection.post("/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield connection


@asynccontextmanager
async def over_mcp(hub: Hub) -> AsyncIterator[Ask]:
    async with session(hub) as connection:

        async def ask(tool: str, nonce: str) -> str:
            return b"".join((await connection.post("/mcp", call(tool, nonce))).parts).decode()

        yield ask


@asynccontextmanager
async def over_rest(hub: Hub) -> AsyncIterator[Ask]:
    async with http(hub) as connection:

        async def ask(tool: str, nonce: str) -> str:
            body = {"tool_name": tool, "arguments": {"nonce": nonce}}
            return b"".join((await connection.post("/tools/call", body)).parts).decode()

        yield ask


@asynccontextmanager
async def websocket(hub: Hub) -> AsyncIterator[ClientConnection]:
    protocols: Any = ["mcp", f"bearer.{hub.token}"]
    async with connect(f"{hub.url.replace('http', 'ws', 1)}/ws", subprotocols=protocols) as socket:
        yield socket


@asynccontextmanager
async def over_websocket(hub: Hub) -> AsyncIterator[Ask]:
    async with websocket(hub) as socket:

        async def ask(tool: str, nonce: str) -> str:
            await socket.send(json.dumps(call(tool, nonce)))
            return str(await socket.recv())

        yield ask


FRONTS: Final = {"/mcp": over_mcp, "/tools/call": over_rest, "/ws": over_websocket}


class Report:
    """How many calls were answered over each front, and what was wrong."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.wrong: list[str] = []


async def crowd(hub: Hub, calls: int) -> Report:
    """So many calls in all, by clients that take turns in the kind of their front."""
    report = Report()
    numbers = iter(range(calls))
    async with AsyncExitStack() as stack:
        clients = []
        for number, front in zip(range(CLIENTS), itertools.cycle(FRONTS), strict=False):
            clients.append((number, front, await stack.enter_async_context(FRONTS[front](hub))))

        async def play(number: int, front: str, ask: Ask) -> None:
            for turn in numbers:  # shared: who is quick takes more
                nonce = f"nonce-{number}-{turn}-of-{front}."
                answer = await ask(f"s{turn % SERVERS}__verbatim", nonce)
                if answer.count("nonce-") != answer.count(nonce) or nonce not in answer:
                    report.wrong.append(f"{nonce} got {answer[:300]}")
                report.answered[front] += 1

        await asyncio.gather(*(play(*client) for client in clients))
    return report


# How sessions end


async def with_a_word(hub: Hub) -> None:
    async with session(hub) as connection:
        await connection.request("DELETE", "/mcp", b"")


async def without_a_word(hub: Hub) -> None:
    async with session(hub) as connection:
        await connection.post("/mcp", call("s0__verbatim", "nonce"))


async def amid_a_call(hub: Hub) -> None:
    async with session(hub) as connection:
        connection.send("POST", "/mcp", json.dumps(call("s0__never", "nonce")).encode())
        await connection.is_sent()


async def by_closing(hub: Hub) -> None:
    async with websocket(hub) as socket:
        await socket.send(json.dumps(call("s0__verbatim", "nonce")))
        await socket.recv()


async def by_breaking_off(hub: Hub) -> None:
    async with websocket(hub) as socket:
        await socket.send(json.dumps(call("s0__never", "nonce")))
        await socket.send(json.dumps({**call("s0__verbatim", "nonce"), "id": 2}))
        await socket.recv()  # so that the first was heard, too
        socket.transport.abort()


WAYS: Final = (with_a_word, without_a_word, amid_a_call, by_closing, by_breaking_off)


async def visit(hub: Hub, sessions: int) -> None:
    """Open so many sessions, several at a time, and leave each in one of the WAYS."""

    async def come_and_go(first: int) -> None:
        for number in range(first, sessions, AT_ONCE):
            await WAYS[number % len(WAYS)](hub)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(come_and_go(first) for first in range(AT_ONCE)))


def run(folder: Path, calls: int) -> Report:
    """With servers that give back what they get."""
    behind = {f"s{number}": servers.script("raw_echo.py") for number in range(SERVERS)}
    with serving(write_config(folder, behind, log={"level": "warning"})) as hub:
        return asyncio.run(asyncio.wait_for(crowd(hub, calls), PATIENCE + calls / 500))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), options.calls)
    for front, count in report.answered.items():
        print(f"{front:12} {count:8,} calls answered")
    print(f"{len(report.wrong)} of {report.answered.total():,} answers were not the asker's own")
    print("\n".join(report.wrong[:5]))
    return 1 if report.wrong or report.answered.total() != options.calls else 0


if __name__ == "__main__":
    sys.exit(main())
