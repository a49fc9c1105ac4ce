"""The lines of a log that others write to, and move aside, while it is read; see `telemetry.rotation`."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

INTERVAL: Final = 0.2
"""Seconds between two looks."""
LINGERING: Final = 2.0
"""Seconds for which a file that has no name any more is still read: who wrote to it may not have noticed yet."""

_PART: Final = 256 * 1024
_STDOUT: Final = 1


class Journal:
    """The log at `path` and what was moved aside of it, oldest first. What does not exist yet may come.

    Each file stays open while it has a name, so that another one can't be taken for it.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._files: dict[tuple[int, int], _Open] = {}
        self.look()

    def __bool__(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._files)

    def close(self) -> None:
        """Close all of them."""
        for file in self._files.values():
            file.stream.close()
        self._files.clear()

    def read(self, *, last: bool = False) -> Iterator[bytes]:
        """All lines that were not read before, without their ends; with `last` the beginning of one, too."""
        for file in self._files.values():
            yield from file.read(last=last)

    def look(self) -> None:
        """Find what is new, and let go of what has been removed."""
        named = set()
        fresh: list[tuple[tuple[int, int], _Open]] = []
        # The newest first: if they are moved meanwhile one is found twice, which shows, and none is missed.
        for path in (self._path, *_moved(self._path)):
            try:
                stream = FileIO(path)
            except OSError:
                continue
            about = os.fstat(stream.fileno())
            identity = about.st_dev, about.st_ino
            if identity in self._files or identity in named:
                stream.close()
            else:
                fresh.append((identity, _Open(stream)))
            named.add(identity)
        for identity, file in [each for each in self._files.items() if each[0] not in named]:
            if file.until is None:
                file.until = self._clock() + LINGERING
            elif self._clock() >= file.until:
                file.stream.close()
                del self._files[identity]
        self._files.update(reversed(fresh))


class _Open:
    def __init__(self, stream: FileIO) -> None:
        self.stream = stream
        self.until: float | None = None
        """When it need not be read any more."""
        self._begun: list[bytes] = []

    def read(self, *, last: bool) -> Iterator[bytes]:
        if os.fstat(self.stream.fileno()).st_size < self.stream.tell():
            self.stream.seek(0)  # somebody cut it
            self._begun.clear()
        while data := self.stream.read(_PART):
            *lines, rest = data.split(b"\n")
            if lines:
                yield b"".join((*self._begun, lines[0]))
                self._begun.clear()
                yield from lines[1:]
            if rest:
                self._begun.append(rest)
        if last and self._begun:
            yield b"".join(self._begun)
            self._begun.clear()


def _moved(path: Path) -> list[Path]:
    """What was moved aside, the newest first."""
    found: list[tuple[int, Path]] = []
    with suppress(OSError):
        for other in path.parent.iterdir():
            number = other.name.removeprefix(f"{path.name}.")
            if number != other.name and number.isdecimal():
                found.append((int(number), other))
    return [one for _, one in sorted(found)]


def pause(seconds: float = INTERVAL) -> None:
    """Wait a moment. Raises BrokenPipeError as soon as nobody reads our output any more."""
    if sys.platform == "win32":
        time.sleep(seconds)
        return
    output = select.poll()
    output.register(_STDOUT, 0)
    for _, event in output.poll(seconds * 1000):
        if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            raise BrokenPipeError
