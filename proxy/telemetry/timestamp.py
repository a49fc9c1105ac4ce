"""Times as the log and the audit have them."""

from __future__ import annotations

import time
from functools import lru_cache


def timestamp(at: float) -> str:
    """Unix seconds as ISO 8601: UTC, with milliseconds."""
    seconds, milliseconds = divmod(int(at * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=8)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
