"""Reads what one server lists: all of it at the start, later what it says has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import anyio
from msgspec import Raw

from .catalogue import KINDS
from .config.models import Server
from .conversation import LISTINGS, Conversation, Refused
from .eras.handshake import Offer
from .errors import WireError
from .events import Emit, Notice
from .inventory import Inventory
from .remembered import Remembered

SETTLE: Final = 0.05
"""Seconds in which announcements of changed lists gather, since servers send them in bursts."""

SETTLE_AT_MOST: Final = 5.0
"""The same for a server that never stops announcing: it is listed ever more seldom."""


class Survey:
    """What it reads goes to the server's inventory, and to the store where there is one.

    `changed` is called when clients see another list.
    """

    def __init__(
        self,
        server: Server,
        inventory: Inventory,
        remembered: Remembered | None,
        emit: Emit,
        changed: Callable[[], None],
    ) -> None:
        self._server = server
        self._inventory = inventory
        self._remembered = remembered
        self._emit = emit
        self._changed = changed
        self._stale: set[str] = set()
        self._announced = anyio.Event()

    def announce(self, method: str) -> None:
        """The server said, by this notification, that a list changed."""
        capability = method.split("/")[1]
        self._stale |= {kind for kind, (needs, _) in LISTINGS.items() if needs == capability}
        self._announced.set()

    async def read(self, talk: Conversation, kind: str) -> bool:
        """List one kind, if the server has it; whether that changed anything. Raises Refused and WireError."""
        if not self._inventory.has(kind):
            return False
        items: list[Raw] = await talk.list_all(kind)
        if self._remembered is not None:
            self._remembered.learn(kind, items)
        return bool(self._inventory.take(kind, items))

    async def read_all(self, talk: Conversation, kinds: Iterable[str]) -> None:
        """List these kinds; what can't be read keeps its last state, since a bad list must not lose a good one."""
        changed = False
        for kind in kinds:
            try:
                with anyio.fail_after(self._server.entry.start_timeout):
                    changed |= await self.read(talk, kind)
            except (Refused, WireError, TimeoutError) as problem:
                what = str(problem) or "it did not answer in time"
                text = f"listing its {kind} failed, the last list stays: {what}"
                self._emit(Notice("warning", text, self._server.key))
        if changed:
            self._changed()

    async def keep(self, offer: Offer) -> None:
        """Remember for the next session what was read; `offer` is what the server was told of the client."""
        hello = self._inventory.hello
        if self._remembered is not None and hello is not None:
            await self._remembered.keep(hello, offer, {kind for kind in KINDS if self._inventory.has(kind)})

    async def follow(self, talk: Conversation, offer: Offer) -> None:
        """Read again what the server says has changed, until cancelled."""
        settle = SETTLE
        while True:
            settle = min(2 * settle, SETTLE_AT_MOST) if self._announced.is_set() else SETTLE
            await self._announced.wait()
            await anyio.sleep(settle)
            stale, self._stale, self._announced = self._stale, set(), anyio.Event()
            await self.read_all(talk, [kind for kind in KINDS if kind in stale])
            await self.keep(offer)
