"""What somebody says over a socket, for so long and no longer, and up to so many bytes.

A time-out of the socket's own begins anew with each byte.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer


class Bounded(io.RawIOBase):
    """Reads from `raw`, a file of `sock`. Raises TimeoutError after `seconds`, OSError after `most` bytes."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float, most: int) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + seconds
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("it takes too long")
        if self._left <= 0:
            raise OSError("it has no end")
        self._sock.settimeout(seconds)
        read = self._raw.readinto(memoryview(buffer)[: self._left])
        self._left -= read or 0
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()
