"""How much memory processes take, with what they started themselves; and whether one still runs.

Resident memory, as `ps` and `top` tell it: pages that several processes share count for each of them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = "/proc"
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PATIENCE: Final = 5.0


class _Process(NamedTuple):
    pid: int
    parent: int
    group: int
    resident: int


def of_trees(roots: Iterable[int]) -> dict[int, int]:
    """Bytes of each of these processes and all that it started; those that are gone are left out.

    What lost its parent is counted by its process group: servers lead one of their own. Blocks for some ms where many
    processes run.
    """
    found = {process.pid: process for process in _processes()}
    wanted = [root for root in roots if root in found]
    totals = dict.fromkeys(wanted, 0)
    owners: dict[int, int | None] = {}
    for process in found.values():
        owner = _owner(process, found, totals, owners)
        if owner is not None:
            totals[owner] += process.resident
    return totals


def of(pid: int) -> int | None:
    """Bytes of this process alone; None where it is gone, or no cheap way is known."""
    try:
        fields = Path(f"{_PROC}/{pid}/statm").read_bytes().split()
    except OSError:
        return next((process.resident for process in _processes() if process.pid == pid), None)
    return int(fields[1]) * _PAGE


def started(pid: int) -> str:
    """When it was started, in a form that tells two processes with the same number apart; "" where it is not known."""
    fields = _stat(pid)
    return fields[19].decode() if fields else ""


def is_alive(pid: int, since: str) -> bool:
    """Whether a process of ours still runs that was `started` then; one that only waits to be reaped does not."""
    fields = _stat(pid)
    if fields:
        return fields[0] not in (b"Z", b"X") and since in ("", fields[19].decode())
    if pid <= 0 or sys.platform == "win32":  # there a signal of any number ends it
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):  # the second: it is another user's
        return False
    return not _has_proc()


def world() -> str:
    """Within which the number of a process means this process: a host, and there a namespace of such numbers."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (a Path would make a path of it)
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}".rstrip()


def _stat(pid: int) -> list[bytes]:
    """What Linux tells of it, from its state on: the name before that may hold anything."""
    try:
        return Path(f"{_PROC}/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _has_proc() -> bool:
    return os.path.isdir(f"{_PROC}/self")  # noqa: PTH112 (asked often, and cheap so)


def _owner(
    process: _Process, found: dict[int, _Process], roots: dict[int, int], owners: dict[int, int | None]
) -> int | None:
    """The nearest root that it is, or was started by."""
    trail: dict[int, None] = {}
    one: _Process | None = process
    owner: int | None = None
    while one is not None and one.pid not in trail:
        if one.pid in owners:
            owner = owners[one.pid]
            break
        trail[one.pid] = None
        if one.pid in roots or one.group in roots:
            owner = one.pid if one.pid in roots else one.group
            break
        one = found.get(one.parent)
    owners.update(dict.fromkeys(trail, owner))
    return owner


def _processes() -> Iterator[_Process]:
    if not _has_proc():
        yield from _told_by_ps()
        return
    for name in os.listdir(_PROC):  # noqa: PTH208 (the same)
        if not name.isdecimal():
            continue
        try:
            with open(f"{_PROC}/{name}/stat", "rb") as stat:  # noqa: PTH123 (the same)
                # pid (name) state parent group ...: the name may hold anything, the last parenthesis ends it
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it is gone
        yield _Process(int(name), int(fields[1]), int(fields[2]), int(fields[21]) * _PAGE)


def _told_by_ps() -> Iterator[_Process]:
    """Where there is no /proc. Nothing on Windows, which has no `ps` either."""
    if sys.platform == "win32":
        return
    try:
        done = subprocess.run(
            ["/bin/ps", "-axo", "pid=,ppid=,pgid=,rss="], capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in done.stdout.splitlines():
        fields = line.split()
        if len(fields) == 4 and all(field.isdigit() for field in fields):
            pid, parent, group, kilobytes = map(int, fields)
            yield _Process(pid, parent, group, kilobytes * 1024)
