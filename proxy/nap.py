"""When one server may sleep, and what wakes it: what it lists is known, so it runs only while somebody needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.lowlevel

from .config.models import Server
from .eras.handshake import Offer
from .pump import Pump
from .relay import Link
from .remembered import Remembered

LINGER: Final = 60.0
"""Seconds that a server stays which was started to fill the store and which nobody has needed since."""

_BUSY: Final = 1.0
"""Seconds after which to look again at a server that may sleep as soon as it is not busy."""


class Nap:
    """Of one server. `offer` waits for the first client, and for what is remembered for it."""

    def __init__(
        self, server: Server, remembered: Remembered | None, pump: Pump, offer: Callable[[], Awaitable[Offer]]
    ) -> None:
        self.is_woken = False
        """It is being started since somebody needs it, and not to keep it up."""
        self._server = server
        self._remembered = remembered
        self._pump = pump
        self._offer = offer
        self._wake = anyio.Event()
        self._errand: float | None = None
        """It was started for its lists alone, and may stay for so many seconds."""

    @property
    def is_lazy(self) -> bool:
        """Whether it is started only when somebody needs it, if its lists are known."""
        return self._remembered is not None and self._remembered.is_of_use and self._server.entry.start == "lazy"

    @property
    def is_on(self) -> bool:
        """Whether it was put to sleep, and is not up again yet."""
        return self._pump.relay.targets[self._server.key].wake is not None

    def begin(self) -> None:
        """Let it sleep until somebody needs it."""
        if self._wake.is_set():
            self._wake = anyio.Event()
        self._pump.do(self._pump.relay.sleep, self._server.key, self._needed, self._pump.now())

    def end(self, stay: float) -> None:
        """Have it started for its lists; it may stay for so many seconds if nobody needs it."""
        self._errand = stay
        self._wake.set()

    def _needed(self, sure: bool) -> None:
        """Who was asked only because it might be the one may go back to sleep soon."""
        if sure:
            self._errand = None
        elif not self._wake.is_set():
            self._errand = LINGER
        self._wake.set()

    async def until_needed(self) -> None:
        """Wait until there is a reason to start it."""
        remembered = self._remembered
        if not self.is_on:
            if not self.is_lazy or remembered is None:
                return
            if remembered.offer is None:
                if not remembered.may_be:
                    self._errand = LINGER
                    return
                await self._offer()  # and with it comes what is remembered
        await self._wake.wait()
        self.is_woken = remembered is not None and remembered.saved is not None

    async def until_unneeded(self, link: Link) -> str:
        """Wait until nobody has needed it for so long that it may sleep; why it may."""
        while True:
            await anyio.lowlevel.checkpoint_if_cancelled()  # it may have been stopped in the same moment
            idle_stop = self._server.entry.idle_stop or float("inf")
            if self._remembered is not None and not self._remembered.is_of_use:
                idle_stop = float("inf")  # all are to be seen running
            errand = self._errand if link.used is None and self.is_lazy else None
            allowed = errand if errand is not None else idle_stop
            since = self._pump.relay.idle_since(link, self._pump.now())
            left = max(allowed, _BUSY) if since is None else since + allowed - self._pump.now()
            if left <= 0:
                return "its lists have been read" if errand is not None else f"nobody has needed it for {allowed:g} s"
            await anyio.sleep(min(left, max(idle_stop, _BUSY)))  # a call may have come, and then less is allowed
