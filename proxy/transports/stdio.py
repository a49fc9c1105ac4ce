"""Servers that are child processes: newline-delimited messages on stdin and stdout, anything on stderr."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from ..errors import ConnectionLost, Hopeless, ServerError, StartFailed
from ..relay.peers import Buffer
from . import process
from .channel import End, Graces, Intake, Output, nobody
from .launch import launch

MOST_BUFFERED: Final = 64 * 1024 * 1024
"""Bytes that may wait for a child that does not read its stdin."""

CHOKED_FROM: Final = 256 * 1024
"""Bytes that wait for a child from which on it gets no more calls until it has read them."""

_FAREWELL: Final = 1024 * 1024
"""Bytes that a child may print after it was told to end; one that goes on is cut off, or reading would never stop."""

_STDERR_KEPT: Final = 256 * 1024
_STDERR_LINE: Final = 16 * 1024
_LOOKED_BACK: Final = 40
_ERROR: Final = re.compile(r"error|exception|fatal|panic|cannot|can't|failed", re.IGNORECASE)
# Blank lines, brackets, stack frames, and what Node prints below each uncaught error.
_SAYS_NOTHING: Final = re.compile(r"\s*$|\s*[\[\](){}^~,]+\s*$|\s+at |\s+File \"|Node\.js v|\s*(code|requireStack):")
_LAST_WORDS: Final = 0.2
"""Seconds in which a pipe must end once its process has: a grandchild may hold it open."""
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
    if cwd is not None and not os.path.isdir(cwd):  # noqa: PTH112, ASYNC240 (one look at a local directory)
        raise Hopeless(server, f"the working directory {cwd!r} does not exist{_hint(cwd)}")
    keeper.start()
    child = Child(server, intake, output)
    try:
        launched = await launch(child, command, env, cwd)
    except FileNotFoundError as problem:
        raise Hopeless(server, f"the command {command[0]!r} was not found{_hint(command[0])}") from problem
    except PermissionError as problem:
        raise Hopeless(server, f"the command {command[0]!r} may not be executed") from problem
    except (OSError, ValueError) as problem:
        raise StartFailed(server, f"the command {command[0]!r} could not be started: {problem}") from problem
    try:
        keeper.watch(launched.pid)
        child.mute = launched.mute
        intake.throttle = launched.pause
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
        self._stderr = _Lines(output)
        self._end = End()
        self._closing = False
        self._farewell = 0
        self.mute: Callable[[], None] = _do_nothing
        """Stops reading its stdout."""
        self._stdin: asyncio.WriteTransport | None = None
        self.exited = anyio.Event()
        self.code: int | None = None

    def write(self, data: Buffer) -> None:
        """Send whole lines to its stdin; a child that does not read is given up at MOST_BUFFERED bytes."""
        stdin = self._stdin
        if stdin is None or self._end.is_noted or stdin.is_closing():
            return
        stdin.write(data)
        if stdin.get_write_buffer_size() > MOST_BUFFERED:
            self._end.note(ConnectionLost(self._server, f"it does not read its input ({MOST_BUFFERED >> 20} MiB wait)"))

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
            self._stdin = None

    # What the loop calls

    def connected(self, stdin: asyncio.WriteTransport) -> None:
        """Its stdin can be written to."""
        self._stdin = stdin
        if not stdin.is_closing():  # it may have ended already
            stdin.set_write_buffer_limits(high=CHOKED_FROM)

    def pipe_is_full(self, full: bool) -> None:
        self.choked(full)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            if self._closing:
                self._count_farewell(len(data))
            self._intake.data(data)
        else:
            self._stderr.feed(data)

    def pipe_connection_lost(self, fd: int) -> None:
        if fd != 2:
            self.choked(True)  # what is sent from now on would be lost
        if fd == 1:
            self._intake.end()
            # Its exit says more than the end of its pipe, and mostly comes right behind.
            asyncio.get_running_loop().call_later(_LAST_WORDS, self._note_end, "closed its output")
        elif fd == 2:
            self._stderr.end()
        else:
            self._stdin = None
            asyncio.get_running_loop().call_later(_LAST_WORDS, self._note_end, "closed its input")

    def process_exited(self, code: int) -> None:
        self.code = code
        self.exited.set()
        self.choked(True)
        # What it wrote last may still be in the pipes, which end now unless somebody else holds them.
        asyncio.get_running_loop().call_later(_LAST_WORDS / 4, self._note_end, "")

    def _count_farewell(self, size: int) -> None:
        self._farewell += size
        if self._farewell > _FAREWELL:
            self.mute()

    def _note_end(self, did: str) -> None:
        what = process.describe_exit(self.code) if self.exited.is_set() else did
        last = self._stderr.last()
        self._end.note(ConnectionLost(self._server, f"it {what}" + (f"; its last words: {last}" if last else "")))


class _Lines:
    """A child's stderr: always drained, passed on line by line, the end of it kept for error messages."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rest = b""
        self._kept: deque[str] = deque()
        self._size = 0

    def feed(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _STDERR_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._line(line)

    def end(self) -> None:
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def last(self) -> str:
        """The line that says most about an end, at most 300 characters of it: the last error, else the last line."""
        lines = [line.strip() for line in list(self._kept)[-_LOOKED_BACK:] if not _SAYS_NOTHING.match(line)]
        errors = [line for line in lines if _ERROR.search(line)]
        return (errors or lines or [""])[-1][:300]

    def _line(self, line: bytes) -> None:
        text = line[:_STDERR_LINE].decode(errors="replace").rstrip("\r")
        self._output(text)
        self._kept.append(text)
        self._size += len(text) + 1
        while self._size > _STDERR_KEPT:
            self._size -= len(self._kept.popleft()) + 1


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


def _hint(path: str) -> str:
    """What most likely went wrong with a path of the user's."""
    if path.startswith("~"):
        return "; ~ is not filled in here, ${HOME} is"
    if " " in path.strip():
        return "; what follows the program's name belongs into `args`"
    if "/" in path and not path.startswith("/"):
        return f"; it was looked for from {Path.cwd()}, since it is relative"
    return ""
