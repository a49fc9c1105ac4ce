"""An event loop on which hours pass in milliseconds: when nothing is left to do, its clock jumps to the next timer.

A wait that nothing will ever end shows at once: its own time limit is then the next timer. What a thread does that was
started meanwhile takes no time here: the clock waits for it. Child processes have no place here, since their time does
not jump.
"""

import asyncio
import selectors
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

_REAL_WAIT = 30.0
"""Real seconds in which something must happen on a loop without any timer."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 1000.0, so that nobody takes its time for a duration."""

    def __init__(self) -> None:
        self._selector_that_jumps = _JumpingSelector(1000.0)
        super().__init__(self._selector_that_jumps)

    def time(self) -> float:
        return self._selector_that_jumps.now


class _JumpingSelector(selectors.BaseSelector):
    def __init__(self, now: float) -> None:
        self.now = now
        self._real = selectors.DefaultSelector()
        self._others = set(threading.enumerate())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(_REAL_WAIT if timeout is None else 0)
        if timeout and not ready:
            ready = self._let_threads_end()
        if timeout is not None and not ready:
            self.now += timeout
        elif timeout is None and not ready:
            raise AssertionError("the loop waits for something that will not happen")
        return ready

    def _let_threads_end(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Until each has ended, or one of them has something for the loop to do."""
        end = time.monotonic() + _REAL_WAIT
        ready: list[tuple[selectors.SelectorKey, int]] = []
        while not ready and set(threading.enumerate()) - self._others:
            assert time.monotonic() < end, "a thread does not end"
            ready = self._real.select(0.001)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


VIRTUAL: Final[tuple[str, dict[str, object]]] = ("asyncio", {"loop_factory": VirtualTimeLoop})
"""What a module's `anyio_backend` fixture returns to run its tests on virtual time."""
