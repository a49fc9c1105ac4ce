"""A file that grows, read as it does: the log of a proxy."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

FIRST: Final = 128 * 1024
"""Bytes of its end that are read at first."""

_AT_ONCE: Final = 1024 * 1024


class Follower:
    """Reads what is new. A file that was moved aside, cut, or is not there yet is found again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        self._rest = b""
        self._seen = 0

    def lines(self) -> list[bytes]:
        """The lines that are new. Raises OSError where the file can't be read."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return self._read()  # moved aside, and the next one is not there yet
        if self._handle >= 0:
            known = os.fstat(self._handle)
            if (known.st_dev, known.st_ino) == (now.st_dev, now.st_ino) and now.st_size >= self._seen:
                return self._read()
        if not stat.S_ISREG(now.st_mode):
            raise OSError(errno.EINVAL, "it is no file that can be read again", str(self.path))
        before = self._read()
        first = self._handle < 0
        self.close()
        self._handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        if first and now.st_size > FIRST:
            self._seen = os.lseek(self._handle, now.st_size - FIRST, os.SEEK_SET)
            lines = self._read()[1:]  # the first one is half a line
        else:
            lines = self._read()
        return before + lines

    @property
    def is_there(self) -> bool:
        """Whether there is a file to read."""
        return self._handle >= 0

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._rest, self._seen = -1, b"", 0

    def _read(self) -> list[bytes]:
        if self._handle < 0:
            return []
        data = os.read(self._handle, _AT_ONCE)
        self._seen += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines
