"""One server's place in the store: what an earlier session knew of it, and what this one has to tell the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from hashlib import sha256
from typing import Final, Protocol

from msgspec import Raw

from .aside import aside
from .config.models import Server
from .eras.handshake import Offer, ServerHello
from .events import Emit, ListingRecalled, Notice
from .store.listings import Memory

_CLOCKS_DIFFER: Final = 60.0
"""Seconds by which what is remembered may seem to come from the future."""

_WRITE_EVERY: Final = 60.0
"""Seconds for which a server that lists the same again and again is not written down again."""


class Shelf(Protocol):
    """Where memories lie; `proxy.store.listings` has the one on disk, and says what each method raises."""

    def knows(self, server: Server) -> bool: ...

    def recall(self, server: Server, offer: Offer) -> Memory | None: ...

    def keep(self, server: Server, memory: Memory) -> None: ...

    def refreshing(self, server: Server, offer: Offer) -> AbstractContextManager[bool]: ...


class Remembered:
    """`clock` gives Unix time. `saved` is when what is remembered was said, None where nothing is.

    `afresh`: nothing is recalled, and what the server says now replaces what is remembered.
    """

    def __init__(
        self, server: Server, shelf: Shelf, emit: Emit, clock: Callable[[], float], *, afresh: bool = False
    ) -> None:
        self.saved: float | None = None
        self._server = server
        self._shelf = shelf
        self._emit = emit
        self._clock = clock
        self.offer: Offer | None = None
        """The client for which it was recalled or learned last."""
        self._afresh = afresh
        self._complained = False
        self._fresh: dict[str, Sequence[Raw]] = {}
        self._kept: dict[str, bytes] = {}
        """For each kind a hash of what was kept last, by this process."""
        self._hello: ServerHello | None = None

    @property
    def is_of_use(self) -> bool:
        """Whether what is remembered may stand for the server."""
        return not self._afresh

    @property
    def may_be(self) -> bool:
        """Whether there is anything of this server, for whatever client."""
        return not self._afresh and self._shelf.knows(self._server)

    @property
    def age(self) -> float:
        """Seconds since what is remembered was said; infinite where nothing is, or the clock was another then."""
        age = -float("inf") if self.saved is None else self._clock() - self.saved
        return age if age >= -_CLOCKS_DIFFER else float("inf")

    def recall(self, offer: Offer) -> Memory | None:
        """What is remembered for such a client. What can't be read is as good as nothing, and is replaced in time."""
        self.offer, self.saved = offer, None
        if self._afresh:
            return None
        try:
            memory = self._shelf.recall(self._server, offer)
        except ValueError as problem:
            self._emit(ListingRecalled(self._server.key, "unreadable", None, str(problem)))
            return None
        if memory is None:
            self._emit(ListingRecalled(self._server.key, "miss"))
            return None
        self.saved = memory.saved
        self._emit(ListingRecalled(self._server.key, "hit", max(0.0, self._clock() - memory.saved)))
        return memory

    def learn(self, kind: str, items: Sequence[Raw]) -> None:
        """The server listed this; `keep` remembers it."""
        self._fresh[kind] = items

    async def keep(self, hello: ServerHello, offer: Offer, has: set[str]) -> None:
        """Remember what was learned. Kinds that the server `has` and that could not be read stay as they were."""
        fresh, self._fresh = self._fresh, {}
        hashes = {kind: sha256(b"\n".join(items)).digest() for kind, items in fresh.items()}
        same = hello == self._hello and offer == self.offer and hashes.items() <= self._kept.items()
        self._hello = hello
        if same and self.age < _WRITE_EVERY:
            return  # a server that announces changes in a loop must not wear out a disk
        memory = Memory(hello, fresh, offer, self._clock())
        try:
            # A slow disk must not hold up calls.
            await aside(partial(self._write, memory, has), "memory")
        except (OSError, ValueError) as problem:
            if not self._complained:
                self._complained = True
                text = f"its lists can't be kept for the next session, which will have to start it for them: {problem}"
                self._emit(Notice("warning", text, self._server.key))
            return
        self.saved, self.offer = memory.saved, offer
        self._kept |= hashes

    def refreshing(self) -> AbstractContextManager[bool]:
        """Hold the right to refresh it; false where another proxy does."""
        assert self.offer is not None, "only what was recalled is refreshed"
        return self._shelf.refreshing(self._server, self.offer)

    def _write(self, memory: Memory, has: set[str]) -> None:
        missing = has - memory.listings.keys()
        try:
            old = self._shelf.recall(self._server, memory.offer) if missing else None
        except ValueError:
            old = None
        before = {kind: items for kind, items in old.listings.items() if kind in missing} if old is not None else {}
        listings = {**before, **memory.listings}
        self._shelf.keep(self._server, Memory(memory.hello, listings, memory.offer, memory.saved))
