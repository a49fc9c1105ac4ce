"""Starting a child and hearing of its end, as each operating system does it best.

On POSIX the child is started by `subprocess`, whose vfork costs a fraction of a loop's own spawning when many start at
once, on pipes of ours, which are faster than a loop's socket pairs. Windows has to do with what asyncio offers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO, Protocol, cast

import anyio

from ..relay.peers import Buffer
from . import process
from .channel import CHOKED_FROM
from .pipe import Pipe, Stdin


class Owner(Protocol):
    """Who a child reports to, on the loop."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It wrote to its stdout (1) or stderr (2)."""

    def pipe_connection_lost(self, fd: int) -> None:
        """It closed its stdin (0), stdout or stderr, or all who held that pipe are gone."""

    def pipe_is_full(self, full: bool) -> None:
        """More waits for its stdin than should, or no longer."""

    def process_exited(self, code: int) -> None:
        """It ended; negative codes are signals."""


class Launched(Protocol):
    """A started child."""

    pid: int

    async def connect(self) -> Stdin:
        """Begin to report to the owner; returns the child's stdin."""

    def pause(self, stop: bool, fd: int = 1) -> None:
        """Stop reading its stdout (or stderr, 2) for now, or go on: it waits when its pipe is full."""

    def mute(self) -> None:
        """Stop reading its stdout: further prints fail."""

    def release(self) -> None:
        """Let go of its pipes; it has ended, or is given up."""


async def launch(
    owner: Owner, command: Sequence[str], env: Mapping[str, str], cwd: str | None, keeper: process.Keeper
) -> Launched:
    """Start `command`, in a session of its own that `keeper` watches until it is told to forget it.

    Raises OSError or ValueError as `subprocess.Popen` does.
    """
    if process.WINDOWS:
        return await _launch_on_windows(owner, command, env, cwd)
    pipes = _Pipes()
    keeper.announce((pipes.stdin, pipes.stdout, pipes.stderr))
    try:
        popen = subprocess.Popen(  # noqa: ASYNC220 (a vfork: it blocks for less than handing it to a thread costs)
            command,
            stdin=pipes.stdin,
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except BaseException:
        keeper.call_off()
        pipes.close_ours()
        raise
    finally:
        pipes.close_theirs()
    keeper.watch(popen.pid)
    return _PosixChild(popen, owner, pipes)


class _Pipes:
    """Three pipes to a child: ours and its ends."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        try:
            self.stdin, ours_in = self._pipe()
            ours_out, self.stdout = self._pipe()
            ours_err, self.stderr = self._pipe()
        except OSError:
            for fd in self._fds:
                os.close(fd)
            raise
        enlarge(ours_out)
        self.ours = (ours_in, ours_out, ours_err)

    def close_theirs(self) -> None:
        """The child has its ends; ours must not keep them open."""
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)

    def close_ours(self) -> None:
        """There is no child."""
        for fd in self.ours:
            os.close(fd)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._fds.extend(ends)
        return ends


def enlarge(fd: int) -> None:
    """Let long results come in fewer pieces. 256 KiB is far from the limit that all pipes of a user share."""
    try:
        import fcntl  # not on Windows

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 256 * 1024)
    except (ImportError, AttributeError, OSError):
        pass  # not on Linux, or over the user's limit: it works with the usual size too


def lent(fd: int, mode: str) -> IO[bytes]:
    """A file for the running loop's `connect_read_pipe` or `connect_write_pipe`, which then own the descriptor.

    uvloop closes the descriptor and then the file as well, when the number may be another thread's already.
    """
    closes_it_itself = type(asyncio.get_running_loop()).__module__.partition(".")[0] == "uvloop"
    return cast(IO[bytes], os.fdopen(fd, mode, 0, closefd=not closes_it_itself))


class _PosixChild:
    """A child of `subprocess`, its pipes on the loop and its end heard of without a thread where Linux allows."""

    def __init__(self, popen: subprocess.Popen[bytes], owner: Owner, pipes: _Pipes) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._fds = list(pipes.ours)
        """Those that no transport owns yet."""
        self._stdin: Pipe | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._pidfd = _open_pidfd(popen.pid)
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self._exited)
        else:
            threading.Thread(target=self._wait, name=f"wait {popen.pid}", daemon=True).start()

    async def connect(self) -> Stdin:
        owner = self._owner
        stdin = self._stdin = Pipe(self._fds.pop(0), owner.pipe_is_full, partial(owner.pipe_connection_lost, 0))
        # Shielded, since it is not clear who owns a descriptor when this is cancelled half-way. It does not wait.
        with anyio.CancelScope(shield=True):
            for fd in (1, 2):
                pipe = lent(self._fds.pop(0), "rb")
                await self._loop.connect_read_pipe(partial(_Reader, owner, fd, self._transports), pipe)
        return stdin

    def pause(self, stop: bool, fd: int = 1) -> None:
        for transport in self._transports[fd - 1 : fd]:
            pause(transport, stop)

    def mute(self) -> None:
        for transport in self._transports[:1]:
            transport.close()

    def release(self) -> None:
        if self._stdin is not None:
            self._stdin.abort()
        for transport in self._transports:
            transport.close()
        for fd in self._fds:
            os.close(fd)
        self._close_pidfd()

    def _exited(self) -> None:
        code = self._popen.poll()
        if code is not None:
            self._close_pidfd()
            self._owner.process_exited(code)

    def _close_pidfd(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _wait(self) -> None:
        code = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._owner.process_exited, code)


def pause(transport: asyncio.BaseTransport, stop: bool) -> None:
    """Stop reading for now, or go on; a transport that is closing does neither."""
    if transport.is_closing():
        return
    reader = cast(asyncio.ReadTransport, transport)
    if stop:
        reader.pause_reading()
    else:
        reader.resume_reading()


def _open_pidfd(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return cast(int, opener(pid))
    except OSError:
        return None  # an old kernel, or no descriptor left: a thread does it


class _Reader(asyncio.Protocol):
    """A child's stdout or stderr. Its transport joins the others before anything is read that may have to wait."""

    def __init__(self, owner: Owner, fd: int, transports: list[asyncio.BaseTransport]) -> None:
        self._owner = owner
        self._fd = fd
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self._owner.pipe_data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.pipe_connection_lost(self._fd)


class _WindowsStdin:
    """A stdin that is a transport of the loop's: what it has not written is not told when it ends."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        if not transport.is_closing():  # it may have ended already
            transport.set_write_buffer_limits(high=CHOKED_FROM)

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: Buffer) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def take_back(self) -> list[Buffer]:
        self._transport.abort()
        return []

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class _WindowsChild(asyncio.SubprocessProtocol):
    """A child of the loop's."""

    pid: int

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    async def connect(self) -> Stdin:
        return _WindowsStdin(cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0)))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._owner.pipe_data_received(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._owner.pipe_connection_lost(fd)

    def pause_writing(self) -> None:
        self._owner.pipe_is_full(True)

    def resume_writing(self) -> None:
        self._owner.pipe_is_full(False)

    def process_exited(self) -> None:
        self._owner.process_exited(self._transport.get_returncode() or 0)

    def pause(self, stop: bool, fd: int = 1) -> None:
        pipe = self._transport.get_pipe_transport(fd)
        if pipe is not None:
            pause(pipe, stop)

    def mute(self) -> None:
        pipe = self._transport.get_pipe_transport(1)
        if pipe is not None:
            pipe.close()

    def release(self) -> None:
        self._transport.close()


async def _launch_on_windows(owner: Owner, command: Sequence[str], env: Mapping[str, str], cwd: str | None) -> Launched:
    loop = asyncio.get_running_loop()
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    _, child = await loop.subprocess_exec(
        lambda: _WindowsChild(owner), *command, env=dict(env), cwd=cwd, creationflags=flags
    )
    return child
