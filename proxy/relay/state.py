"""What the relay's parts share: peers, targets, the current catalogue, and when it wants to be called next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ..catalogue import Catalogue
from ..events import Emit, Inspector
from .peers import Link, Peer, Session
from .target import Target
from .tracing import Tracing

AFTERWORDS: Final = 0.5
"""Seconds for which a server may still speak of a call that it has answered, to a client that is still there."""
_NOBODY: Final = "no client has a call in flight"

MOST_IN_ALL: Final = 16384
"""Calls that may run or wait at a time, whatever their servers."""


class State:
    """Plain shared state; each part changes only what its own docstring says."""

    def __init__(self, emit: Emit, list_wait: float, page_size: int, name: str, version: str) -> None:
        self.emit = emit
        self.list_wait = list_wait
        self.page_size = page_size
        self.name = name
        self.version = version
        self.inspector: Inspector | None = None
        self.tracing: Tracing | None = None
        self.instructions = ""
        self.catalogue = Catalogue()
        self.settled: frozenset[str] = frozenset()
        """Kinds of which every server has been listed or has failed once: nothing is gained by waiting."""
        self.targets: dict[str, Target] = {}
        self.sessions: dict[Session, None] = {}
        self.links: dict[Link, None] = {}
        self.dirty: list[Peer] = []
        self.wake_at = float("inf")
        self.offered: Callable[[], None] = lambda: None
        """Called when a client has said what it can do."""
        self.first_use: Callable[[], None] | None = None
        """Called when a client first asks for something that a server has to do."""
        self.within: tuple[Peer, int] | None = None
        """The connection and the request of ours on whose stream the server speaks, where the transport can tell."""
        self.has_several = False
        """There is more than one client."""
        self._answered: OrderedDict[tuple[Link, Session], float] = OrderedDict()
        """When a call of each of several clients was answered last on each link, if that was just now; oldest first."""
        self._patient_until: float | None = None

    def patience(self, kind: str, now: float) -> float | None:
        """Until when a request may wait for servers that are still starting; None if it must do with what there is.

        The time runs from the first request that waits, once: a server that needs minutes must not delay every list.
        """
        if kind in self.settled:
            return None
        if self._patient_until is None:
            self._patient_until = now + self.list_wait
        return self._patient_until if now < self._patient_until else None

    def clients_changed(self) -> None:
        """A session began or ended."""
        self.has_several = len(self.sessions) > 1
        fair = MOST_IN_ALL // max(1, len(self.sessions))
        for session in self.sessions:
            session.share = min(session.most, fair)

    def wake_by(self, deadline: float) -> None:
        """Ask to be called at `deadline` at the latest."""
        if deadline < self.wake_at:
            self.wake_at = deadline

    def owner(self, link: Link, now: float) -> Session | str:
        """Whose the server's words on this link are: the session whose call they came with, where that is known, else
        the session with a call in flight on it, else the only one.

        Where it can't be told, a reason; what belongs to one client must not be shown to another.
        """
        if self.within is not None and self.within[0] is link:
            asked = link.calls.get(self.within[1]) or link.ghosts.get(self.within[1])
            if asked is not None:
                return asked.session if asked.session in self.sessions else "the client whose call it was is gone"
            if self.within[1] not in link.asks and len(self.sessions) > 1:
                return "the call on whose stream it came has ended"
        alone = len(self.sessions) == 1
        if alone and not link.ghosts and not self._answered:
            return next(iter(self.sessions))
        busy = {call.session for call in link.calls.values()}
        if link.ghosts:
            link.ghosts = {id: ghost for id, ghost in link.ghosts.items() if now < ghost.until}
            busy |= {ghost.session for ghost in link.ghosts.values()}
        recent = self._just_answered(link, now) if self._answered else set()
        if not busy and alone:
            return next(iter(self.sessions))
        if busy:
            busy |= recent  # of whom it may speak as well, late
        if len(busy) != 1:
            return _NOBODY if not busy else "several clients have calls in flight, or have just had"
        [session] = busy
        return session if session in self.sessions else "the client whose call it was is gone"

    def audience(self, link: Link, now: float) -> list[Session]:
        """Who may hear what the server says to nobody in particular."""
        owner = self.owner(link, now)
        if isinstance(owner, Session):
            return [owner]
        if owner is not _NOBODY or link.ghosts:
            return []
        recent = self._just_answered(link, now) if self._answered else None
        if not recent:
            return list(self.sessions)
        return list(recent) if len(recent) == 1 else []

    def answered(self, link: Link, session: Session, now: float) -> None:
        """A call of one of several clients was answered on this link."""
        self._answered[link, session] = now
        self._answered.move_to_end((link, session))
        self._forget_answered(now)

    def _just_answered(self, link: Link, now: float) -> set[Session]:
        self._forget_answered(now)
        return {session for one, session in self._answered if one is link and session.is_there}

    def _forget_answered(self, now: float) -> None:
        answered = self._answered
        while answered and now >= answered[next(iter(answered))] + AFTERWORDS:
            answered.popitem(last=False)
