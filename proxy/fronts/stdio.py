"""The client that started us, on stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, cast

import anyio
import anyio.lowlevel

from ..pump import Intake, Pump
from ..relay import Session
from ..relay.peers import Buffer
from ..transports.launch import enlarge, lent, pause

DRAIN: Final = 10.0
"""Seconds that calls in flight have to finish after the client closed our stdin."""

CHOKED_FROM: Final = 1024 * 1024
HELD_FROM: Final = 64 * 1024 * 1024
GIVEN_UP_FROM: Final = 512 * 1024 * 1024
"""Bytes that wait for a client that does not read: from the first on notifications are kept or dropped, from the
second on its requests are not read either, and beyond the third it is as good as gone."""

_POLL: Final = 0.01
_FLUSH: Final = 2.0
_READ: Final = 64 * 1024
_TURNS: Final = 3


class StandardStreams:
    """Our stdin and stdout, taken away from everybody else in this process and its children.

    From here on file descriptor 1 is stderr and 0 is empty: what a library, a child or a warning prints can't get
    between the messages. To be made before the event loop, which would take numbers that are free.
    """

    def __init__(self) -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        while nothing <= 2:  # whoever started us had closed one of the three, and it must not become anything else
            nothing = os.dup(nothing)
        self.stdin = _duplicate(0, nothing)
        self.stdout = _duplicate(1, nothing)
        enlarge(self.stdout)
        os.dup2(nothing, 0)
        os.dup2(_duplicate(2, nothing), 1)

    def are_one_socket(self) -> bool:
        """Whether both are the same socket, as inetd and socat do it."""
        ours, theirs = os.fstat(self.stdin), os.fstat(self.stdout)
        return stat.S_ISSOCK(ours.st_mode) and (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _duplicate(fd: int, nothing: int) -> int:
    """A second descriptor for a stream; one that whoever started us had closed is empty and swallows all."""
    try:
        return os.dup(fd)
    except OSError:
        return os.dup(nothing)


class StdioFront:
    """One session, on the process's own streams."""

    def __init__(self, pump: Pump, streams: StandardStreams, label: str) -> None:
        self._pump = pump
        self._streams = streams
        self._session = pump.relay.open_session(label, front="stdio")
        self._intake = pump.client_intake(self._session)
        self._gone = anyio.Event()

    async def open(self) -> None:
        """Start to answer; what the client has sent already is answered when this returns."""
        intake = self._intake
        if self._streams.are_one_socket():
            duplex = _Duplex(intake, self._gone, self._choked)
            self._writer: _Writer | _PlainWriter = duplex
            self._session.sink = duplex.write
            await _open_socket(self._streams, duplex)
        else:
            self._writer = await _open_writer(self._streams.stdout, self._choked, intake.hold)
            self._session.sink = self._writer.write
            await _start_reading(self._streams.stdin, intake, self._gone)
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()

    def _choked(self, stop: bool) -> None:
        self._pump.choke(self._session, stop)

    async def serve(self) -> None:
        """Serve until the client closes our stdin or stops reading our stdout.

        Calls in flight then have DRAIN seconds to finish; what is left is cancelled.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when, self._writer.closed, tasks.cancel_scope)
            await self._gone.wait()
            with anyio.move_on_after(DRAIN):
                # Polled, since an event would cost each call something, for this one wait.
                while self._session.busy or self._intake.is_behind:  # noqa: ASYNC110
                    await anyio.sleep(_POLL)
            with anyio.move_on_after(_FLUSH):
                while self._writer.pending():  # noqa: ASYNC110 (transports have no event for an empty buffer)
                    await anyio.sleep(_POLL)
            tasks.cancel_scope.cancel()
        self._pump.do(self._pump.relay.close_session, self._session, self._pump.now())


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class _Writer(asyncio.BaseProtocol):
    """stdout as a pipe or socket of the loop.

    `choked` is told when the client does not read; `held` when it does not and so much waits that it may not ask for
    more.
    """

    def __init__(self, choked: Callable[[bool], None], held: Callable[[bool], None]) -> None:
        self.closed = anyio.Event()
        self._transport: asyncio.WriteTransport | None = None
        self._choked = choked
        self._held = held
        self._is_choked = False
        self._is_held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.set_write_buffer_limits(high=CHOKED_FROM)

    def pause_writing(self) -> None:
        self._is_choked = True
        self._choked(True)

    def resume_writing(self) -> None:
        self._is_choked = False
        self._choked(False)
        if self._is_held:
            self._is_held = False
            self._held(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.closed.set()

    def write(self, data: Buffer) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._is_choked:
            self._limit(self._transport)

    def _limit(self, transport: asyncio.WriteTransport) -> None:
        waiting = transport.get_write_buffer_size()
        if waiting > GIVEN_UP_FROM:
            transport.abort()
        elif waiting > HELD_FROM and not self._is_held:
            self._is_held = True
            self._held(True)

    def pending(self) -> bool:
        """Whether something is still to be written."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0


class _PlainWriter:
    """stdout as a file or terminal, which a loop can't watch: written at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.closed = anyio.Event()

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self.closed.set()

    def pending(self) -> bool:
        return False


async def _open_writer(fd: int, choked: Callable[[bool], None], held: Callable[[bool], None]) -> _Writer | _PlainWriter:
    if not _is_watchable(fd):
        return _PlainWriter(fd)
    loop = asyncio.get_running_loop()
    _, writer = await loop.connect_write_pipe(lambda: _Writer(choked, held), lent(fd, "wb"))
    return writer


class _Duplex(_Writer, asyncio.Protocol):
    """stdin and stdout as one socket: its reading side may end before its writing side."""

    def __init__(self, intake: Intake[Session], gone: anyio.Event, choked: Callable[[bool], None]) -> None:
        super().__init__(choked, intake.hold)
        self._intake = intake
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._intake.throttle = partial(pause, transport)

    def data_received(self, data: bytes) -> None:
        self._intake.data(data)

    def eof_received(self) -> bool:
        self._intake.end()
        self._gone.set()
        return True  # still to be written to

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone.set()


async def _open_socket(streams: StandardStreams, duplex: _Duplex) -> None:
    os.close(streams.stdin)
    sock = socket.socket(fileno=streams.stdout)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: duplex, sock)


class _Reader(asyncio.Protocol):
    """stdin as a pipe or socket of the loop."""

    def __init__(self, intake: Intake[Session], gone: anyio.Event) -> None:
        self._gone = gone
        self._intake = intake
        self.data_received = intake.data  # type: ignore[method-assign]  # one call less for each read

    def connection_lost(self, exc: Exception | None) -> None:
        self._intake.end()
        self._gone.set()


async def _start_reading(fd: int, intake: Intake[Session], gone: anyio.Event) -> None:
    loop = asyncio.get_running_loop()
    if _is_watchable(fd):
        transport, _ = await loop.connect_read_pipe(lambda: _Reader(intake, gone), lent(fd, "rb"))
        intake.throttle = partial(pause, transport)
        return
    # A file, a terminal, or Windows: no loop can watch it, so a thread reads; a daemon, since nothing can wake it.
    reader = _Reader(intake, gone)

    def read() -> None:
        # OSError: a terminal that is gone. RuntimeError: so is the loop, and with it whoever would want to know.
        with suppress(RuntimeError):
            with suppress(OSError):
                while data := os.read(fd, _READ):
                    loop.call_soon_threadsafe(reader.data_received, data)
            loop.call_soon_threadsafe(reader.connection_lost, None)

    threading.Thread(target=read, name="stdin", daemon=True).start()


def _is_watchable(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))
