"""The file of a log: appended to by any number of processes, and moved aside by whichever finds it too large.

Nobody tells the others. Before each write a process looks whether the file that it has open still has the name, and
opens the new one if not. So a line is at worst written to the file that was moved a moment ago, never to one that
nobody reads. Who moves the files holds a lock on the one that has the name; the last thing that it moves is that one,
so that there is nothing new to move before it is done. The lock is never waited for.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

RETRY: Final = 60.0
"""Seconds after which a file that could not be moved is tried again."""
# O_NONBLOCK for a FIFO that nobody reads: our own open file, so the flag disturbs nobody. Windows lacks some of them.
_FLAGS: Final = ("O_WRONLY", "O_APPEND", "O_CREAT", "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK")
FILE_FLAGS: Final[int] = functools.reduce(operator.or_, (getattr(os, name, 0) for name in _FLAGS))


class LogFile:
    """An open file; `fd` is its descriptor. Made (0600) with its folders (0700) if need be; OSError if that can't be.

    It is moved aside before it has more than `most` bytes, unless that is 0, and then called `<name>.1`; `keep` files
    are kept so. Where the system has no locks, and with anything but a plain file, it never is.
    """

    def __init__(self, path: Path, most: int = 0, keep: int = 3, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.problem = ""
        """Why it could not be moved, until somebody takes it away to tell of it."""
        self._most = most
        self._keep = keep
        self._clock = clock
        self._not_before = 0.0
        self._told = ""
        self.fd = _open(path)
        self._meet()

    def _meet(self) -> None:
        about = os.fstat(self.fd)
        self._identity = about.st_dev, about.st_ino
        self._plain = stat.S_ISREG(about.st_mode)

    def prepare(self, size: int) -> None:
        """Whole lines of so many bytes are about to be written to `fd`, which may be another one from here on."""
        if not self._plain:
            return
        try:
            there = self.path.stat()
        except FileNotFoundError:
            self.reopen()
            return
        except OSError:
            return  # whatever it is, the file that is open can still be written to
        if (there.st_dev, there.st_ino) != self._identity:
            self.reopen()
        elif self._most and there.st_size and there.st_size + size > self._most and self._clock() >= self._not_before:
            self._rotate()

    def reopen(self) -> None:
        """Open what has the name now; if that fails, the old one stays."""
        with contextlib.suppress(OSError):
            fresh = _open(self.path)
            old, self.fd = self.fd, fresh
            self._meet()
            os.close(old)  # the last step: it may fail, and has closed it all the same

    def close(self) -> None:
        """Close it; once."""
        os.close(self.fd)

    def _rotate(self) -> None:
        try:
            import fcntl  # there is none on Windows, where an open file can't be moved either
        except ImportError:
            self._not_before = float("inf")
            return
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is at it
        except OSError as problem:
            self._give_up(problem)
            return
        try:
            there = self.path.stat()
            if (there.st_dev, there.st_ino) == self._identity:
                self._shift()
        except FileNotFoundError:
            pass  # another process has just moved it
        except OSError as problem:
            self._give_up(problem)
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            return
        self.reopen()  # which closes the old one, and so ends the lock

    def _shift(self) -> None:
        path = self.path.resolve()  # a link stays where it is
        beyond = self._keep + 1
        with contextlib.suppress(FileNotFoundError):
            while True:  # there were more to keep once
                numbered(path, beyond).unlink()
                beyond += 1
        free = 1
        while free < self._keep and numbered(path, free).exists():
            free += 1
        for number in range(free, 1, -1):
            numbered(path, number - 1).replace(numbered(path, number))
        path.replace(numbered(path, 1))

    def _give_up(self, problem: OSError) -> None:
        self._not_before = self._clock() + RETRY
        reason = problem.strerror or str(problem)
        if reason != self._told:
            self.problem = self._told = reason


def numbered(path: Path, number: int) -> Path:
    """Where a log is after so many moves."""
    return path.with_name(f"{path.name}.{number}")


def _open(path: Path) -> int:
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
    return os.open(path, FILE_FLAGS, 0o600)
