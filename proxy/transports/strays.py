"""Finds a child that was being started when the proxy was killed: run by the keeper, who was never told its number.

Such a child is known by the pipes it was to get, which the keeper hears of before each start. Only the child, or what
it has started since, can hold them now: the keeper's own input ends when a child between fork and exec has let go of
that too, and by then it leads its session. So one that is found outside of our session is always ours, and so is its
group. Nothing is imported from the package: it runs by its path, without site-packages.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection
from typing import Final

_LOOKS: Final = 3
_PAUSE: Final = 0.1
"""Seconds between two looks. One may miss a child that hands over to its own child in that very moment."""


def holding(pipes: Collection[int], session: int) -> set[int]:
    """The groups with a process that holds one of the pipes (their inodes), but for those in `session`."""
    wanted = {f"pipe:[{inode}]" for inode in pipes}
    found = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 (here and below: pathlib costs more than the rest)
        with contextlib.suppress(OSError):  # it is gone, or not ours to look at
            if name.isdecimal() and _holds(f"/proc/{name}/fd", wanted) and os.getsid(int(name)) != session:
                found.add(os.getpgid(int(name)))
    return found


def _holds(folder: str, wanted: Collection[str]) -> bool:
    for fd in os.listdir(folder):  # noqa: PTH208
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(f"{folder}/{fd}") in wanted:  # noqa: PTH115
                return True
    return False


def _main(session: str, *pipes: str) -> None:
    inodes = [int(pipe) for pipe in pipes]
    for look in range(_LOOKS):
        time.sleep(_PAUSE if look else 0)
        if groups := holding(inodes, int(session)):
            sys.stdout.write(" ".join(map(str, groups)))
            return


if __name__ == "__main__":
    _main(*sys.argv[1:])
