"""A server that keeps a journal: each call's nonce is appended to a file, and answered `ms` milliseconds later.

`journal_server.py KEY JOURNAL [PORT]`: over stdio, or Streamable HTTP on that port. KEY is for whoever looks for it.
"""

import heapq
import json
import os
import select
import sys
import time
from typing import Any, Final

HELLO: Final = {"capabilities": {"tools": {}}, "serverInfo": {"name": "journal", "version": "1"}}
TOOLS: Final = {"tools": [{"name": "note", "inputSchema": {"type": "object"}}]}


def reply(message: Any, journal: int) -> tuple[float, bytes]:
    """Seconds to wait, and what to say then; nothing for what wants no answer."""
    if "id" not in message or "method" not in message:
        return 0.0, b""
    wait, result = 0.0, {}
    match message["method"]:
        case "initialize":
            result = {"protocolVersion": message["params"]["protocolVersion"], **HELLO}
        case "tools/list":
            result = TOOLS
        case "tools/call":
            arguments = message["params"]["arguments"]
            os.write(journal, arguments["nonce"].encode() + b"\n")
            wait = arguments["ms"] / 1000
            result = {"content": [{"type": "text", "text": arguments["nonce"]}]}
    return wait, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()


def serve_stdio(journal: int) -> None:
    """One thread: calls overlap, and are answered when their time has come."""
    due: list[tuple[float, bytes]] = []
    rest = b""
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        if select.select([0], [], [], wait)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                seconds, text = reply(json.loads(line), journal)
                if text:
                    heapq.heappush(due, (time.monotonic() + seconds, text))
        while due and due[0][0] <= time.monotonic():
            data = heapq.heappop(due)[1] + b"\n"
            while data:
                data = data[os.write(1, data) :]


def serve_http(journal: int, port: int) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # a start over stdio has no use for it

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seconds, text = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))), journal)
            time.sleep(seconds)
            self.answer(200 if text else 202, text)

        def do_GET(self) -> None:
            self.answer(405, b"")

        do_DELETE = do_GET  # noqa: N815 (the name that http.server looks for)

        def answer(self, status: int, body: bytes) -> None:
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients go away; that is all there is to say."""

    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    opened = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    if len(sys.argv) > 3:
        serve_http(opened, int(sys.argv[3]))
    else:
        serve_stdio(opened)
