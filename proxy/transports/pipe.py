"""Our end of a child's stdin. What the kernel has taken is known to the byte, so the rest can be taken back.

A transport of the loop's would do, but for its end: when the pipe breaks it does not say how much was left.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from ..relay.peers import Buffer
from .channel import CHOKED_FROM

_AT_ONCE: Final = 64
"""Pieces in one write."""


class Stdin(Protocol):
    """A child's stdin."""

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""

    def write(self, data: Buffer) -> None:
        """Send whole lines. Never blocks and never raises; after the end it does nothing."""

    def take_back(self) -> list[Buffer]:
        """Send nothing more; returns what waits, from the first line on that has not left to its last byte."""

    def close(self) -> None:
        """End it when what waits has left."""

    def abort(self) -> None:
        """End it now."""


class Pipe:
    """A stdin that is a pipe. `full` is told when more waits than CHOKED_FROM, and when hardly any does.

    `lost` is called once, a moment after its end, whoever's doing that is.
    """

    def __init__(self, fd: int, full: Callable[[bool], None], lost: Callable[[], None]) -> None:
        self._fd = fd
        self._full = full
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[Buffer] = deque()
        self._left = 0
        """Bytes of the first piece that the kernel has."""
        self._size = 0
        self._is_full = False
        self._is_closing = False
        self._is_open = True
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._end)  # nothing can be read from it: it tells that nobody reads any more

    @property
    def waiting(self) -> int:
        return self._size

    def write(self, data: Buffer) -> None:
        if self._is_closing:
            return
        left = 0
        if self._is_open and not self._pieces:
            try:
                left = os.write(self._fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self._keep(data, 0)
                self._end()
                return
            if left == len(data):
                return
            self._loop.add_writer(self._fd, self._go_on)
        self._keep(data, left)

    def _keep(self, data: Buffer, left: int) -> None:
        self._pieces.append(data)
        self._left += left
        self._size += len(data) - left
        if self._size > CHOKED_FROM and not self._is_full:
            self._is_full = True
            self._full(True)

    def _go_on(self) -> None:
        """The kernel takes more."""
        pieces = self._pieces
        try:
            left = os.writev(self._fd, [memoryview(pieces[0])[self._left :], *islice(pieces, 1, _AT_ONCE)])
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._size -= left
        left += self._left
        while pieces and left >= len(pieces[0]):
            left -= len(pieces.popleft())
        self._left = left
        if not pieces:
            self._loop.remove_writer(self._fd)
            if self._is_closing:
                self._end()
        if self._is_full and self._size <= CHOKED_FROM // 4:
            self._is_full = False
            self._full(False)

    def take_back(self) -> list[Buffer]:
        pieces, self._pieces = list(self._pieces), deque()
        self._is_closing = True
        if pieces:
            first = bytes(pieces[0])
            pieces[0] = first[first.rfind(b"\n", 0, self._left) + 1 :]
            self._left = self._size = 0
        self._end()
        return pieces

    def close(self) -> None:
        self._is_closing = True
        if not self._pieces:
            self._end()

    def abort(self) -> None:
        self._pieces.clear()
        self._end()

    def _end(self) -> None:
        """What waits stays, for whoever takes it back."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._loop.call_soon(self._lost)
