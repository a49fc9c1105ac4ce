"""Work that may block, in a thread that nobody has to wait for.

Not one of anyio's threads, for which the process would wait at its end: a pipe that nobody writes to is read for ever,
and so may be a file on a disk that is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

Result = TypeVar("Result")


async def aside(work: Callable[[], Result], name: str) -> Result:
    """What `work` returns or raises, from a thread of this name. Cancelled, it is left to itself."""
    token, done = anyio.lowlevel.current_token(), anyio.Event()
    found: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as problem:
            failed.append(problem)  # raised below, where somebody waits for it
        with suppress(RuntimeError):  # nobody waits any more
            anyio.from_thread.run_sync(done.set, token=token)

    threading.Thread(target=run, name=name, daemon=True).start()
    await done.wait()
    if failed:
        raise failed[0]
    return found[0]
