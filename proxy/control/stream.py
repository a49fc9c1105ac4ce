"""Bytes over a connected socket that does not block.

Not by anyio's own stream: cancelled in the tick in which something comes, it makes a traceback of that.
"""

from __future__ import annotations

import socket

import anyio


async def receive(connection: socket.socket, most: int) -> bytes:
    """What comes next, at most so many bytes; b"" at the end. Raises BrokenResourceError."""
    while True:
        try:
            await anyio.wait_readable(connection)
            return connection.recv(most)
        except BlockingIOError:
            continue
        except OSError:
            raise anyio.BrokenResourceError from None


async def send(connection: socket.socket, data: bytes) -> None:
    """Send all of it. Raises BrokenResourceError."""
    rest = memoryview(data)
    while rest:
        try:
            await anyio.wait_writable(connection)
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            continue
        except OSError:
            raise anyio.BrokenResourceError from None
