"""Servers that are child processes: newline-delimited messages on stdin and stdout, anything on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio

from ..errors import ConnectionLost, Hopeless, ServerError
from ..relay.peers import Buffer
from . import mistakes, process
from .channel import MOST_BUFFERED, End, Graces, Intake, Output, nobody, requests_in
from .launch import launch
from .pipe import Stdin
from .stderr import Stderr

_FAREWELL: Final = 1024 * 1024
"""Bytes that a child may print after it was told to end; one that goes on is cut off, or reading would never stop."""

_LAST_WORDS: Final = 0.2
"""Seconds in which a pipe must end once its process has: a grandchild may hold it open."""
_TURNS: Final = 4
_POLL: Final = 0.02


@asynccontextmanager
async def open_stdio(
    server: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    intake: Intake,
    output: Output,
    keeper: process.Keeper,
    graces: Graces,
) -> AsyncIterator[Child]:
    """Start a child and connect to it. Raises Hopeless where its command can't be run, else StartFailed.

    On leaving, its stdin is closed, then its process group gets SIGTERM and SIGKILL, as far as needed.
    """
    if cwd is not None and (problem := mistakes.directory_problem(cwd)) is not None:
        raise Hopeless(server, problem)
    keeper.start()
    child = Child(server, intake, output)
    try:
        launched = await launch(child, command, env, cwd, keeper)
    except (OSError, ValueError) as refused:
        raise mistakes.start_problem(server, command[0], env, cwd, refused) from refused
    try:
        child.pid = launched.pid
        child.mute = launched.mute
        intake.throttle = launched.pause
        child.stderr.pause = partial(launched.pause, fd=2)
        child.connected(await launched.connect())
        yield child
    finally:
        with anyio.CancelScope(shield=True):
            await _end(child, launched.pid, graces)
            keeper.forget(launched.pid)
        launched.release()


def _do_nothing() -> None:
    """A child that was never connected says nothing."""


class Child:
    """A running child as a channel."""

    def __init__(self, server: str, intake: Intake, output: Output) -> None:
        self._server = server
        self._intake = intake
        self._output = output
        self.choked: Callable[[bool], None] = nobody
        self.pid: int | None = None
        self.stderr = Stderr(output)
        self._end = End()
        self._closing = False
        self._farewell = 0
        self.mute: Callable[[], None] = _do_nothing
        """Stops reading its stdout."""
        self._stdin: Stdin | None = None
        self._open = {0, 1, 2}
        """Its pipes that have not ended; 0 stands for all of them while they are being connected."""
        self.exited = anyio.Event()
        self.code: int | None = None

    def write(self, data: Buffer) -> None:
        """Send whole lines to its stdin; a child that does not read is given up at MOST_BUFFERED bytes."""
        stdin = self._stdin
        if stdin is None or self._end.is_noted:
            return
        stdin.write(data)
        if stdin.waiting > MOST_BUFFERED:
            self._end.note(ConnectionLost(self._server, f"it does not read its input ({MOST_BUFFERED >> 20} MiB wait)"))

    def take_back(self) -> list[int]:
        """Send nothing more; returns the ids of our requests that have not left to their last byte."""
        return requests_in(self._stdin.take_back()) if self._stdin is not None else []

    async def ended(self) -> ServerError:
        """Wait until the child closed its stdout, exited, or was given up."""
        return await self._end.wait()

    def agreed(self, protocol: str) -> None:
        """Nothing changes on pipes."""

    def begin_end(self) -> None:
        """Tell it to end, in the way that the protocol has for it."""
        self._closing = True
        if self._stdin is not None:
            self._stdin.close()

    # What the loop calls

    def connected(self, stdin: Stdin) -> None:
        """Its stdin can be written to."""
        self._stdin = stdin
        self._open.discard(0)
        if self.exited.is_set():
            self._end_soon("")

    def pipe_is_full(self, full: bool) -> None:
        if not self.exited.is_set():
            self.choked(full)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            if self._closing:
                self._count_farewell(len(data))
            self._intake.data(data)
        else:
            self.stderr.feed(data)

    def pipe_connection_lost(self, fd: int) -> None:
        if fd != 2:
            self.choked(True)  # what is sent from now on would be lost
        if fd == 1:
            self._intake.end()
            self._open.discard(1)
            self._end_soon("closed its output")
        elif fd == 2:
            self.stderr.end()
            self._open.discard(2)
        else:
            self._end_soon("closed its input")

    def process_exited(self, code: int) -> None:
        self.code = code
        self.exited.set()
        self.stderr.exited()
        self.choked(True)
        if 0 not in self._open:
            self._end_soon("")

    def _end_soon(self, did: str, turns: int = _TURNS) -> None:
        """Note the end in a moment, in which its exit and last words come; in turns, since a busy loop hears late."""
        asyncio.get_running_loop().call_later(_LAST_WORDS / _TURNS, self._note_end, did, turns - 1)

    def _count_farewell(self, size: int) -> None:
        self._farewell += size
        if self._farewell > _FAREWELL:
            self.mute()

    def _note_end(self, did: str, turns: int) -> None:
        if did and self.exited.is_set():
            return  # its exit is told, and says more
        if turns and (did or self._open):
            self._end_soon(did, turns)
            return
        what = did or process.describe_exit(self.code)
        self._end.note(ConnectionLost(self._server, f"it {what}", self.stderr.last()))


async def _end(child: Child, pid: int, graces: Graces) -> None:
    """stdin closed, time, SIGTERM, time, SIGKILL: to the group, since a server may have children of its own."""
    child.begin_end()
    await _gone(child, pid, graces.quiet)
    if not child.exited.is_set() or process.is_group_alive(pid):
        process.ask_to_end(pid)
        await _gone(child, pid, graces.polite)
    if not child.exited.is_set() or process.is_group_alive(pid):
        process.kill(pid)
        await _gone(child, pid, 1.0)


async def _gone(child: Child, pid: int, seconds: float) -> None:
    """Wait until the child and its group are gone, or the time is over. A group can only be polled."""
    with anyio.move_on_after(seconds):
        await child.exited.wait()
        while process.is_group_alive(pid):  # noqa: ASYNC110 (no system tells when a group is empty)
            await anyio.sleep(_POLL)
