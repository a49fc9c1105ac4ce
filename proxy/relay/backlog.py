"""What waits for a client that does not read: of what comes again and again the newest, of the rest a bounded part."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

PROGRESS: Final = "notifications/progress"
"""With a token it is the key of a progress."""

MOST_KEPT: Final = 1024 * 1024
"""Bytes of notifications that wait for one client."""


class Backlog:
    """Notifications that were not sent yet. `dropped` counts those that never will be, by method."""

    def __init__(self) -> None:
        self._newest: dict[object, bytes] = {}
        self._others: deque[bytes] = deque()
        self._size = 0
        self.dropped: Counter[str] = Counter()

    def add(self, method: str, line: bytes, key: object = None) -> None:
        """One more. Of those with one `key` only the newest counts, as for progress; None stands for no key.

        A method as key is that of a notification without params; there are few such, and they are never dropped.
        """
        old = self._newest.pop(key, b"") if key is not None else b""
        self._size -= len(old)
        if self._size + len(line) > MOST_KEPT and key != method:
            self.dropped[method] += 1
            return
        self._size += len(line)
        if key is not None:
            self._newest[key] = line
        else:
            self._others.append(line)

    def forget(self, key: object) -> None:
        """What has this key is of no use any more."""
        self._size -= len(self._newest.pop(key, b""))

    def take(self) -> list[bytes]:
        """All that waits, to be sent now."""
        lines = [*self._others, *self._newest.values()]
        self._newest.clear()
        self._others.clear()
        self._size = 0
        return lines

    def take_dropped(self) -> Counter[str]:
        """What was dropped since this was asked last."""
        dropped, self.dropped = self.dropped, Counter()
        return dropped
