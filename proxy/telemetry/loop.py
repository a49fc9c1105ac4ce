"""How late the event loop is: whatever holds it up is what every call waits for on top."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio

EVERY: Final = 1.0
"""Seconds between two looks."""


async def watch_lag(observe: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
    """Tell once a second by how many seconds a timer fired too late, until cancelled."""
    while True:
        due = clock() + EVERY
        await anyio.sleep(EVERY)
        observe(max(0.0, clock() - due))
