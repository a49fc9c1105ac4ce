"""A child's stderr: passed on line by line, and no faster than the loop has time for; its end kept for error messages.

One read may bring tens of thousands of lines, and each costs as much as a call: told all at once, they would stop the
calls of everybody. So they are told some at a time, and a child that goes on printing waits, as for a slow terminal.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from ..texts import one_line
from .channel import Output, nobody

AT_ONCE: Final = 100
"""Lines in one turn of the loop; a long one counts for several."""
BREATH: Final = 0.01
"""Seconds until the next ones."""
LAST: Final = 1000
"""Lines of those that wait which are told once the child has ended."""

_KEPT: Final = 256 * 1024
_LONGEST: Final = 16 * 1024
_LIKE_ANOTHER: Final = 4096
"""Bytes that cost as much as one more line."""
_LOOKED_BACK: Final = 40
_LONGEST_WORDS: Final = 300
_ERROR: Final = re.compile(r"error|exception|fatal|panic|cannot|can't|failed", re.IGNORECASE)
# Blank lines, brackets, stack frames, and what Node prints below each uncaught error.
_SAYS_NOTHING: Final = re.compile(r"\s*$|\s*[\[\](){}^~,]+\s*$|\s+at |\s+File \"|Node\.js v|\s*(code|requireStack):")


class Stderr:
    """Takes what a child writes and gives its lines to `output`. `pause` stops the reading, or lets it go on."""

    def __init__(self, output: Output) -> None:
        self.pause: Callable[[bool], None] = nobody
        self._output = output
        self._rest = b""
        self._waiting: deque[bytes] = deque()
        self._spent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._kept: deque[str] = deque()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """It wrote this."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LONGEST:
            # At a blank, if there is one: half a secret is hidden by nobody.
            cut = self._rest.rfind(b" ", -_LIKE_ANOTHER) + 1 or len(self._rest)
            lines.append(self._rest[:cut])
            self._rest = self._rest[cut:]
        self._waiting.extend(lines)
        if self._is_over:
            self._tell_the_last()
        elif self._timer is None:
            self._tell_some()

    def exited(self) -> None:
        """The child has ended: what it left in the pipe is no longer waited for."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.pause(False)
        self._tell_the_last()

    def end(self) -> None:
        """Nothing more can come."""
        if self._rest:
            self._waiting.append(self._rest)
            self._rest = b""
        self.exited()

    def last(self) -> str:
        """The line that says most about an end, at most 300 characters of it: the last error, else the last line."""
        kept = list(self._kept)[-_LOOKED_BACK:]
        lines = [one_line(line, _LONGEST_WORDS) for line in kept if not _SAYS_NOTHING.match(line)]
        errors = [at for at, line in enumerate(lines) if _ERROR.search(line)]
        if not errors:
            return lines[-1] if lines else ""
        at = errors[-1]
        return one_line(" ".join(lines[at : at + 2]), _LONGEST_WORDS) if lines[at].endswith(":") else lines[at]

    def _tell_some(self) -> None:
        while self._waiting and self._spent < AT_ONCE:
            line = self._waiting.popleft()
            self._spent += 1 + len(line) // _LIKE_ANOTHER
            self._tell(line)
        if self._spent >= AT_ONCE:
            self.pause(True)
            self._timer = asyncio.get_running_loop().call_later(BREATH, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._spent = 0
        self._tell_some()
        if self._timer is None:
            self.pause(False)

    def _tell_the_last(self) -> None:
        left_out = len(self._waiting) - LAST
        if left_out > 0:
            self._output(f"[{left_out} more lines]")
        for line in islice(self._waiting, max(0, left_out), None):
            self._tell(line)
        self._waiting.clear()

    def _tell(self, line: bytes) -> None:
        text = line[:_LONGEST].decode(errors="replace").rstrip("\r")
        self._output(text)
        self._kept.append(text)
        self._size += len(text) + 1
        while self._size > _KEPT:
            self._size -= len(self._kept.popleft()) + 1
