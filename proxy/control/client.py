"""The other side of the control socket: asks one process, or watches it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
import msgspec

from ..errors import ManifoldError
from ..overview import ServerRow, UnderWay
from ..status import Call, Line, Step
from . import peer, stream
from .place import PROTOCOL, Card
from .server import Process

LONGEST: Final = 64 * 1024 * 1024
"""Bytes of one message; more is no proxy's."""

WITHIN: Final = 5.0
"""Seconds that a process has for an answer."""

_AGAIN: Final = 0.1
"""Seconds between two tries to connect to a process that has no room for more of us."""

_AT_ONCE: Final = 256 * 1024

Answer = TypeVar("Answer", bound=msgspec.Struct)


class NoAnswer(ManifoldError):
    """The process can't be asked; the message says why."""


class News(msgspec.Struct):
    """A process as it is, or what changed since the last news: what is None, or missing in `servers`, did not."""

    type: str
    protocol: int | None = None
    text: str = ""
    now: float = 0.0
    process: Process | None = None
    servers: list[ServerRow] = []
    order: list[str] | None = None
    under_way: list[UnderWay] | None = None
    in_flight: int | None = None
    clients: int | None = None
    problem: str | None = None
    """Why the configuration file as it is now can't be used, in lines; "" where it can."""
    calls: list[Call] = []
    missed: int = 0


class Tail(msgspec.Struct):
    """What a server printed, and how its state changed, the newest step first."""

    type: str
    text: str = ""
    lines: list[Line] = []
    steps: list[Step] = []


class Done(msgspec.Struct):
    """What was asked is being done."""

    type: str
    text: str = ""


async def status(card: Card) -> News:
    """Everything about a process. Raises NoAnswer."""
    return await _ask(card, {"op": "status"}, News)


async def tail(card: Card, server: str, after: int) -> Tail:
    """What a server printed after the line of this number. Raises NoAnswer."""
    return await _ask(card, {"op": "tail", "server": server, "after": after}, Tail)


async def restart(card: Card, server: str) -> None:
    """Have a server started anew. Raises NoAnswer, also where there is no such server."""
    await _ask(card, {"op": "restart", "server": server}, Done)


async def watch(card: Card, take: Callable[[News], None]) -> None:
    """Give all news of a process to `take`, until it is gone. Raises NoAnswer where it can't be watched."""
    async with _connected(card) as lines:
        await lines.say({"op": "watch"})
        with anyio.move_on_after(WITHIN) as scope:
            take(_understood(await lines.next(), News))
        if scope.cancelled_caught:
            raise NoAnswer("it does not answer")
        while True:
            line = await lines.next()
            if not line:
                return
            take(_understood(line, News))


async def _ask(card: Card, request: dict[str, Any], kind: type[Answer]) -> Answer:
    with anyio.move_on_after(WITHIN):
        async with _connected(card) as lines:
            await lines.say(request)
            return _understood(await lines.next(), kind)
    raise NoAnswer("it does not answer")


def _understood(line: bytes, kind: type[Answer]) -> Answer:
    if not line:
        raise NoAnswer("it is gone")
    try:
        answer = msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise NoAnswer(f"it is of another version: {problem}") from None
    if getattr(answer, "type", "") == "error":
        raise NoAnswer(str(getattr(answer, "text", "")))
    if getattr(answer, "protocol", None) not in (None, PROTOCOL):
        raise NoAnswer("it is of another version")
    return answer


@asynccontextmanager
async def _connected(card: Card) -> AsyncIterator[_Lines]:
    try:
        connection = await _connect(card.socket)
    except (OSError, ValueError) as problem:
        raise NoAnswer(f"it does not listen: {getattr(problem, 'strerror', None) or problem}") from None
    try:
        if not peer.is_ours(peer.uid_of(connection)):
            raise NoAnswer("it belongs to another user")
        yield _Lines(connection)
    finally:
        connection.close()
        await anyio.lowlevel.cancel_shielded_checkpoint()  # like any closing: others on this loop see it first


async def _connect(path: str) -> socket.socket:
    """Raises OSError, ValueError and NoAnswer.

    Not by anyio, which asks again and again without a pause where a process that stands still has a full queue, and
    which makes a traceback of it where it is cancelled while something comes.
    """
    with anyio.move_on_after(WITHIN):
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.setblocking(False)
            try:
                connection.connect(path)
                return connection
            except BlockingIOError:
                connection.close()
                await anyio.sleep(_AGAIN)
            except BaseException:
                connection.close()
                raise
    raise NoAnswer("it does not answer")


class _Lines:
    """Lines of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    async def say(self, request: dict[str, Any]) -> None:
        try:
            await stream.send(self._connection, msgspec.json.encode(request) + b"\n")
        except anyio.BrokenResourceError:
            raise NoAnswer("it is gone") from None

    async def next(self) -> bytes:
        """The next line; b"" at the end."""
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen > LONGEST:
                raise NoAnswer("it says more than any proxy would")
            try:
                data = await stream.receive(self._connection, _AT_ONCE)
            except anyio.BrokenResourceError:
                return b""
            if not data:
                return b""
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line
