"""What is known of one server: what it said of itself, and what it lists, as clients see it.

It comes from the server or, before it was started, from what an earlier session remembered. The last good state stays
while the server is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Raw

from . import wire
from .catalogue import KINDS, Difference, Listing, Offering, compile_listing, difference
from .config.models import ServerEntry
from .conversation import LISTINGS
from .eras.handshake import ServerHello
from .events import CatalogueChanged, Emit, Notice
from .names import Namer, clean_prefix
from .policy import ToolPolicy
from .relay.peers import declares


class Inventory:
    """The knowledge of one server. Methods that change what clients see say whether they did."""

    def __init__(self, server: str, tag: str, entry: ServerEntry, namer: Namer, emit: Emit) -> None:
        self.server = server
        self.hello: ServerHello | None = None
        self.listings: dict[str, Listing] = {}
        """What clients see of it, by kind."""
        self.settled: set[str] = set()
        """Kinds of which its listing is known, or could not be read, at least once."""
        self.counts: dict[str, int] = {}
        """Entries of each listing as the server has them, before any rule of the user's."""
        self._tag = tag
        self._namer = namer
        self._policy = ToolPolicy(entry.tools)
        self._emit = emit

    @property
    def offering(self) -> Offering:
        """All that it lists, as clients see it."""
        return Offering(self.server, clean_prefix(self._tag), dict(self.listings))

    def has(self, kind: str) -> bool:
        """Whether the server said that it lists this kind."""
        return self.hello is not None and LISTINGS[kind][0] in self.hello.capabilities

    def take(self, kind: str, items: Sequence[Raw]) -> Difference:
        """A listing was read; what it changed for clients."""
        self.counts[kind] = len(items)
        self.settled.add(kind)
        new = self._compile(kind, items)
        old = self.listings.get(kind) or Listing(self.server)
        if new != old or kind not in self.listings:  # else what the catalogue has is kept, and not the same twice
            self.listings[kind] = new
        change = difference(old, new)
        for sentence in new.odd:
            self._emit(Notice("warning", sentence, self.server))
        if change:
            self._emit(CatalogueChanged(self.server, len(new.routes), change.added, change.removed, kind))
        return change

    def greet(self, hello: ServerHello) -> None:
        """It said who it is now; what it does not list any more is gone."""
        self.hello = hello
        for kind in [kind for kind in self.listings if not self.has(kind)]:
            if self.listings[kind].routes:
                self.take(kind, ())

    def recall(self, hello: ServerHello, listings: Mapping[str, Sequence[Raw]]) -> None:
        """Know what was remembered of it, as if the server had just said it."""
        self.hello = hello
        self.listings, self.counts = {}, {}
        for kind, items in listings.items():
            if kind in KINDS:
                self.counts[kind] = len(items)
                self.listings[kind] = self._compile(kind, items)
        self.settled.update(KINDS)

    def inherit(self, old: Inventory) -> None:
        """Show what was known of this server under another entry, by the rules of this one."""
        self.hello, self.counts = old.hello, dict(old.counts)
        self.listings, self.settled = dict(old.listings), set(old.settled)
        self._name_anew()

    def rename(self, namer: Namer) -> None:
        """Other servers have other prefixes now: name what is listed anew."""
        if namer != self._namer:
            self._namer = namer
            self._name_anew()

    def vanish(self) -> None:
        """The server is configured no more: what it listed is gone."""
        listings, self.listings = self.listings, {}
        for kind, listing in listings.items():
            if listing.routes:
                self._emit(CatalogueChanged(self.server, 0, 0, len(listing.routes), kind))

    def _name_anew(self) -> None:
        for kind in ("tools", "prompts"):
            listing = self.listings.get(kind)
            if listing is not None:
                pairs = zip(listing.definitions, listing.routes, strict=True)
                items = [Raw(wire.close_object({**wire.open_object(text), "name": one.raw})) for text, one in pairs]
                self.listings[kind] = self._compile(kind, items)

    def _compile(self, kind: str, items: Sequence[Raw]) -> Listing:
        tasks = self.hello is not None and declares(self.hello.capabilities, "tasks", "requests", "tools", "call")
        return compile_listing(kind, self.server, items, self._namer, self._policy, tasks=tasks)
