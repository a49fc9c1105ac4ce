"""What Linux says of a process: time, memory, threads, children; and where it may run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def busy_seconds(pid: int) -> float:
    """The time that all its threads have been on a CPU, to the nanosecond. What its ended threads had is left out."""
    busy = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ends meanwhile
            busy += int((task / "schedstat").read_text().split()[0])
    return busy / 1e9


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads so far, its children not counted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """`pss`, `rss` and `private` of the process alone, in millions of bytes."""
    fields: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name] = int(value) * 1024
    private = fields["Private_Clean:"] + fields["Private_Dirty:"]
    return {"pss": fields["Pss:"] / 1e6, "rss": fields["Rss:"] / 1e6, "private": private / 1e6}


def threads(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> list[int]:
    """Its own children, not their children."""
    found: list[int] = []
    for thread in threads(pid):
        found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    return [pid, *(member for child in children(pid) for member in family(child))]


@contextlib.contextmanager
def one_cpu(pids: Iterable[int]) -> Iterator[None]:
    """Keep this process, those and their descendants on one CPU for a while, so that no wake-up crosses CPUs."""
    allowed = os.sched_getaffinity(0)
    members = [0, *(thread for pid in pids for member in family(pid) for thread in threads(member))]
    try:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(member, {max(allowed)})
        yield
    finally:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(member, allowed)
