"""The servers as the relay sees them: where each one is, what it may be asked, and what waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from .peers import Link, Session, declares

if TYPE_CHECKING:
    from .call import Call


class Limits(msgspec.Struct, frozen=True):
    """What one server may be asked at a time, and for how long, in seconds.

    `call` is the time for one call, from its arrival or its last progress, `longest` for all of it; `ask` what a client
    has to answer a question, `start` what the server has to come up. `running` calls are sent at once, `queued` more
    wait for their turn.
    """

    call: float = 300.0
    longest: float = 3600.0
    ask: float = 600.0
    start: float = 30.0
    running: int = 64
    queued: int = 256
    repeats: bool = False
    """Calls of tools that say that this does no harm are sent once more where a connection broke."""


NOT_STARTED: Final = "it has not been started yet"
ASLEEP: Final = "it is started when somebody needs it"


class Target:
    """A configured server as the relay sees it.

    `link` is set while it can take calls. Without one, `away` says why ("" before it could have been there), `coming`
    whether it is worth waiting, `starting_since` since when it is being started or `next_start` when it will be.
    `known` turns true with its first listing. `capabilities` are those that it declared last, raw by name.
    """

    def __init__(self, key: str, prefix: str, limits: Limits) -> None:
        self.key = key
        self.prefix = prefix
        self.limits = limits
        self.capabilities: Mapping[str, bytes] = {}
        self.link: Link | None = None
        self.away = NOT_STARTED
        self.coming = True
        self.starting_since: float | None = None
        self.next_start: float | None = None
        self.wake: Callable[[bool], None] | None = None
        """It sleeps, or wakes up: who needs it calls this, and may wait for it as long as the call may take."""
        self.known = False
        self.news = ""
        """What it is now, in brackets, where it is not what its list was read from."""
        self.retired = False
        """It is configured no more, and only its calls in flight still know it."""
        self.parked: dict[Session, dict[Call, None]] = {}
        """Calls that wait for it, by session, the one whose turn it is first; see `Queues`."""
        self.waiting = 0
        self.held = 0
        """How many calls these are, and their bytes."""
        self.received = 0
        self.sent = 0
        self.retries = 0
        """Calls that were sent to it once more."""

    def adopt(self, other: Target) -> None:
        """Its entry in the configuration is another one."""
        self.prefix, self.limits = other.prefix, other.limits
        self.known = False

    @property
    def is_busy(self) -> bool:
        """Whether it has as much work as it may have, or does not take any."""
        link = self.link
        return link is not None and (link.choked or len(link.calls) - link.endless >= self.limits.running)

    @property
    def is_at_hand(self) -> bool:
        """Whether it takes calls, or would if it were woken."""
        return self.link is not None or self.wake is not None

    def can(self, *path: str) -> bool:
        """Whether the server declared a capability, named from the outside in."""
        return declares(self.capabilities, *path)

    def __repr__(self) -> str:
        return f"<Target {self.key} link={self.link} away={self.away!r} waiting={self.waiting}>"
