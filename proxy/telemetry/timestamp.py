"""Times as the log and the audit have them."""

from __future__ import annotations

import time
from functools import lru_cache


def timestamp(at: float) -> str:
    """Unix seconds as ISO 8601: UTC, with milliseconds."""
    return _millisecond(int(at * 1000))


def milliseconds(seconds: float) -> float:
    """A duration in milliseconds, with three decimals; `round` takes four times as long."""
    return int(seconds * 1_000_000 + 0.5) / 1000


# Of what ends together each line has the same time, and there are several lines of each.
@lru_cache(maxsize=8)
def _millisecond(at: int) -> str:
    seconds, milliseconds = divmod(at, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=8)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
