"""Finds a child that was being started when the proxy was killed: run by the keeper, who was never told its number.

Such a child is known by the pipes it was to get, which the keeper hears of before each start. At first only the child,
or what it has started since, can hold them: the keeper's own input ends when a child between fork and exec has let go
of that too, and by then it leads its session. But it may hand them on: `ssh` to the process that shares its connection,
`systemd-run --pipe` to systemd, `tmux` to its server. So who is found is ours, as is its group, if it is outside of our
session, and neither it nor who leads it was there before. Nothing is imported from the package: it runs by its path,
without site-packages.
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


def holding(pipes: Collection[int], session: int, since: int) -> set[int]:
    """The groups with a process that holds one of the pipes (their inodes).

    But for those in `session`, and those that were there before `since`, in ticks since the system's start.
    """
    wanted = {f"pipe:[{inode}]" for inode in pipes}
    found = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 (here and below: pathlib costs more than the rest)
        with contextlib.suppress(OSError):  # it is gone, or not ours to look at
            if name.isdecimal() and _holds(f"/proc/{name}/fd", wanted):
                pid = int(name)
                group, leader = os.getpgid(pid), os.getsid(pid)
                # To signal group 0 or 1 would be to signal our own, or everybody.
                if leader != session and group > 1 and not any(_is_older(each, since) for each in (pid, group, leader)):
                    found.add(group)
    return found


def _is_older(pid: int, since: int) -> bool:
    """Whether it runs since before then. One that is gone does not: a leader may end before those it leads."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            return int(stat.read().rpartition(b")")[2].split()[19]) < since
    except OSError:
        return False


def _holds(folder: str, wanted: Collection[str]) -> bool:
    for fd in os.listdir(folder):  # noqa: PTH208
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(f"{folder}/{fd}") in wanted:  # noqa: PTH115
                return True
    return False


def _main(session: str, since: str, *pipes: str) -> None:
    inodes = [int(pipe) for pipe in pipes]
    for look in range(_LOOKS):
        time.sleep(_PAUSE if look else 0)
        if groups := holding(inodes, int(session), int(since)):
            sys.stdout.write(" ".join(map(str, groups)))
            return


if __name__ == "__main__":
    _main(*sys.argv[1:])
