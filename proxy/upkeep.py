"""What is done beside the calls, so that the next session begins well: names are kept, old memories are refreshed."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

import anyio

from .aside import aside
from .events import Emit, ListingRefreshed, Notice
from .fleet import Fleet
from .names import Given
from .supervisor import Supervisor

AT_ONCE: Final = 2
"""Servers that are started at a time to be listed: the user's own calls come first."""

AGAIN: Final = 600.0
"""Seconds after which a server is tried again that could not be listed."""

_SETTLE: Final = 0.5


class NameKeeper(Protocol):
    """Where names are kept."""

    def save(self, given: list[tuple[str, str, str, str]]) -> None:
        """Add these names. Raises OSError or ValueError."""


class Upkeep:
    """Works while `run` runs. `refresh_after` is in seconds; `given` grows while servers are listed."""

    def __init__(self, fleet: Fleet, given: Given, names: NameKeeper, refresh_after: float, emit: Emit) -> None:
        self._fleet = fleet
        self._given = given
        self._names = names
        self._refresh_after = refresh_after
        self._emit = emit
        self._used = anyio.Event()

    def in_use(self) -> None:
        """A client has asked for something that a server has to do: it is more than a look at what there is."""
        self._used.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_names)
            await self._used.wait()
            await self._refresh()

    async def _keep_names(self) -> None:
        saved = 0  # what was given before this began, when the first client came, is to be saved, too
        while True:
            while self._given.changes == saved:
                await self._fleet.progress()
            await anyio.sleep(_SETTLE)
            saved = self._given.changes
            try:
                await aside(partial(self._names.save, self._given.listing()), "names")
            except (OSError, ValueError) as problem:
                text = f"the names of tools can't be kept for the next session: {problem}"
                self._emit(Notice("warning", text))
                return

    async def _refresh(self) -> None:
        """Bring what is remembered up to date, a few servers at a time, and again when it has become old."""
        tried: dict[str, float] = {}
        limiter = anyio.CapacityLimiter(AT_ONCE)
        while True:
            async with anyio.create_task_group() as tasks:
                for supervisor in list(self._fleet.supervisors):
                    if self._is_due(supervisor, tried):
                        tried[supervisor.key] = anyio.current_time()
                        tasks.start_soon(self._refresh_one, supervisor, limiter)
            await anyio.sleep(AGAIN)

    def _is_due(self, supervisor: Supervisor, tried: dict[str, float]) -> bool:
        remembered = supervisor.remembered
        if remembered is None or remembered.saved is None or remembered.age < self._refresh_after:
            return False
        return anyio.current_time() - tried.get(supervisor.key, -AGAIN) >= AGAIN

    async def _refresh_one(self, supervisor: Supervisor, limiter: anyio.CapacityLimiter) -> None:
        remembered = supervisor.remembered
        assert remembered is not None
        async with limiter:
            try:
                with remembered.refreshing() as is_ours:
                    if not is_ours:
                        return  # another proxy is at it
                    supervisor.reread()  # who had the right before us may have used it
                    if remembered.age >= self._refresh_after:
                        await supervisor.refresh()
                        went_well = remembered.age < self._refresh_after
                        self._emit(ListingRefreshed(supervisor.key, "ok" if went_well else "failed"))
            except OSError as problem:
                self._emit(Notice("debug", f"its lists can't be refreshed: {problem}", supervisor.key))
