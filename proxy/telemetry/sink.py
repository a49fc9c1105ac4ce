"""Where log lines go: stderr or a file. Whoever reads it, or does not, the proxy never waits.

Clients often start a server with a pipe for stderr and never read it. A pipe holds 64 KiB; a plain write would then
hang the proxy for good. Setting O_NONBLOCK is no way out, since the flag belongs to the open file that other
processes share. So a line is gathered here and written in small pieces, each only when poll() says that it fits.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ..events import Notice
from .rotation import LogFile

if TYPE_CHECKING:
    from ..config.models import LogSettings
    from ..events import Emit

STDERR: Final = 2
INTERVAL: Final = 0.05
"""Seconds for which lines are gathered into one write."""
AT_ONCE: Final = 32 * 1024
"""Bytes gathered that are written without waiting for the interval."""
PIPE_BUF: Final[int] = getattr(select, "PIPE_BUF", 512)
LIMIT: Final = 1024 * 1024
"""Bytes kept for a reader that does not read; what comes on top is dropped and counted."""
SLOWEST_RETRY: Final = 1.0
_LINE_FEED: Final = 0x0A


def dropped_line(lines: int) -> bytes:
    """The line that tells what is missing, where nobody gave a better one."""
    return msgspec.json.encode({"level": "warning", "event": "log_lines_dropped", "lines": lines}) + b"\n"


def problem_line(reason: str) -> bytes:
    """The line that tells why the file grows beyond its bounds, likewise."""
    return msgspec.json.encode({"level": "warning", "event": "log_not_rotated", "reason": reason}) + b"\n"


class LogSink:
    """Takes finished lines (bytes, each with its line feed) from any thread. `write` never blocks and never raises.

    On an event loop, lines are gathered for a moment; without one they are written before `write` returns.

    `target` is a file's path, an open descriptor that stays its owner's, or None for stderr (closed or not). A file is
    appended to, and others may write to it, move it and remove it meanwhile; for the rest, `most` and `keep`, see
    `LogFile`. OSError if it can't be opened.
    """

    def __init__(self, target: Path | int | None = None, *, most: int = 0, keep: int = 3) -> None:
        self.describe_dropped: Callable[[int], bytes] = dropped_line
        """Makes the line that says how many were left out."""
        self.describe_problem: Callable[[str], bytes] = problem_line
        """Makes the line that says why the file could not be moved aside."""
        self.failed: Callable[[OSError], None] = lambda problem: None
        """Called when lines could not be written and are lost."""
        self.before_close: Callable[[], None] = lambda: None
        """Called when the sink is about to close, for lines that somebody still owes."""
        self.dropped = 0
        """Lines left out since the last line that said so."""
        self._file = LogFile(target, most, keep) if isinstance(target, Path) else None
        self._fd = -1
        self._lock = threading.RLock()  # re-entrant: a warning or a signal may log in the middle of a write
        self._lines: list[bytes] = []
        """Each of them one, or several that came together."""
        self._size = 0
        self._rest = memoryview(b"")
        self._told: dict[bytes, int] = {}
        """Lines under way that tell of lines left out, and of how many."""
        self._torn = False
        """The last line in the file is half of one that was lost."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        """In which it runs."""
        self._timer: asyncio.TimerHandle | None = None
        self._retry = INTERVAL
        self._writing = False
        self._adopt(self._file.fd if self._file else target if isinstance(target, int) else _stderr())

    def _adopt(self, fd: int) -> None:
        if fd != self._fd:
            self._fd = fd
            self._torn = False
            self._patient = _may_block(fd)
            self._ready = _Ready(fd)

    def __repr__(self) -> str:
        target = self._file.path if self._file is not None else f"fd {self._fd}"
        return f"<LogSink {target} waiting={self._size} dropped={self.dropped}>"

    @property
    def is_terminal(self) -> bool:
        return self._fd >= 0 and os.isatty(self._fd)

    def write(self, lines: bytes) -> None:
        """Take a finished line, or several."""
        with self._lock:
            if len(lines) <= AT_ONCE:
                self._take(lines)
                return
            # Taken whole they would find no room together, although a file takes each at once, and exceed its bound.
            for part in _parts(lines):
                self._take(part)

    def flush(self) -> None:
        """Write what can be written now."""
        with self._lock:
            if self._fd < 0 or self._writing:
                return
            self._writing = True
            try:
                self._write_all()
            finally:
                self._writing = False

    def close(self, patience: float = 0.1) -> None:
        """Write the rest, for at most `patience` seconds if the reader is slow. Later lines go nowhere."""
        with self._lock:
            if self._fd < 0:
                return
            self.before_close()
            self._cancel()
            until = time.monotonic() + patience
            self.flush()
            while self._waits() and (left := until - time.monotonic()) > 0:
                self._ready.wait(left)
                self.flush()
            if self._file is not None:
                self._file.close()
            self._fd = -1

    # -- when

    def _on_loop(self) -> bool:
        """Whether the timer's loop runs in this thread; asking asyncio for it would cost a system call each time."""
        return self._thread == threading.get_ident() and self._loop is not None and self._loop.is_running()

    def _later_or_now(self) -> None:
        """Flush: now if much is gathered or no loop runs in this thread, else soon."""
        loop = asyncio._get_running_loop()
        if loop is None:
            self.flush()
            return
        if self._size >= AT_ONCE and self._retry == INTERVAL:
            self.flush()
            if not self._waits():
                return
        if self._timer is None or self._loop is not loop:
            # A timer of a loop that has ended will never fire.
            self._loop, self._thread = loop, threading.get_ident()
            self._timer = loop.call_later(self._retry, self._on_timer)

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            before = self._size
            self.flush()
            loop = asyncio._get_running_loop()
            if self._waits() and self._fd >= 0 and loop is not None:
                self._retry = INTERVAL if self._size < before else min(self._retry * 2, SLOWEST_RETRY)
                self._loop, self._thread = loop, threading.get_ident()
                self._timer = loop.call_later(self._retry, self._on_timer)
            else:
                self._retry = INTERVAL

    def _cancel(self) -> None:
        if self._timer is not None and self._on_loop():
            self._timer.cancel()
        self._timer = None

    # -- how

    def _take(self, lines: bytes) -> None:
        if self._fd < 0:
            return
        if self._size + len(lines) > LIMIT:
            self.dropped += lines.count(_LINE_FEED)
        else:
            if self.dropped:
                self._tell_dropped()
            self._put(lines)
        if self._timer is not None and self._size < AT_ONCE and self._on_loop():
            return
        self._later_or_now()

    def _waits(self) -> bool:
        return bool(self._lines or self._rest)

    def _tell_dropped(self) -> None:
        line = self.describe_dropped(self.dropped)
        self._told[line.rstrip(b"\n")] = self.dropped
        self.dropped = 0
        self._put(line)

    def _put(self, lines: bytes) -> None:
        self._lines.append(lines)
        self._size += len(lines)

    def _write_all(self) -> None:
        while True:
            if not self._rest:
                if self.dropped and not self._lines:
                    self._tell_dropped()
                if not self._lines:
                    self._told.clear()
                    return
                self._begin()
            try:
                written = self._write_some()
            except OSError as problem:
                # A reader that went away, a full disk: these lines are lost, and the next may fare better.
                self._lose_rest()
                self.failed(problem)
                return
            if written == 0:
                return
            self._torn = self._rest[written - 1] != _LINE_FEED
            self._rest = self._rest[written:]
            self._size -= written

    def _begin(self) -> None:
        """Take all lines for the next write; between lines is when the file may become another one."""
        if self._file is not None:
            self._file.prepare(self._size)
            self._adopt(self._file.fd)
            if self._file.problem:
                problem, self._file.problem = self._file.problem, ""
                self._put(self.describe_problem(problem))
        if self._torn:
            self._lines.insert(0, b"\n")
            self._size += 1
        self._rest = memoryview(b"".join(self._lines))
        self._lines.clear()

    def _write_some(self) -> int:
        """How much of the rest was written; 0 if it would have to wait."""
        if not self._patient:
            return os.write(self._fd, self._rest)
        if not self._ready.wait(0):
            return 0
        try:
            # POSIX: after poll(), PIPE_BUF bytes fit. More might block.
            return os.write(self._fd, self._rest[:PIPE_BUF])
        except BlockingIOError:
            return 0

    def _lose_rest(self) -> None:
        self._size -= len(self._rest)
        whole = bytes(self._rest.obj)
        start = len(whole) - len(self._rest)
        if whole[start] != _LINE_FEED:  # a line that lacks but this one is there
            start = whole.rfind(_LINE_FEED, 0, start) + 1
        lost = whole[start:]
        # A line that told of lines before it is none that anybody misses, but those are still to be told of.
        self.dropped += sum(self._told.get(line, 1) for line in lost.split(b"\n") if line)
        self._told.clear()
        self._rest = memoryview(b"")


class _Ready:
    """Whether a descriptor takes PIPE_BUF bytes now. Windows has no poll(): there it is taken for granted."""

    def __init__(self, fd: int) -> None:
        self._poll = None
        if sys.platform != "win32":
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long."""
        if self._poll is None:
            return True
        return any(event & ~select.POLLNVAL for _, event in self._poll.poll(seconds * 1000))


def _parts(lines: bytes) -> Iterator[bytes]:
    """The same lines in parts of at most AT_ONCE bytes, but for a line that is longer."""
    start = 0
    while start < len(lines):
        end = lines.rfind(_LINE_FEED, start, start + AT_ONCE) + 1 or lines.index(_LINE_FEED, start) + 1
        yield lines[start:end]
        start = end


def open_sink(settings: LogSettings, emit: Emit) -> LogSink:
    """The sink that the settings name; stderr with a warning where the file can't be opened."""
    try:
        return LogSink(settings.file, most=settings.max_bytes, keep=settings.keep)
    except OSError as error:
        emit(Notice("warning", f"log file {settings.file}: {error.strerror or error}; logging to stderr instead"))
        return LogSink()


def _may_block(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


def _stderr() -> int:
    """Our stderr, or the null device if the client gave us none: the next file opened could be number 2 then."""
    try:
        os.fstat(STDERR)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    return STDERR
