"""Where calls wait: for the catalogue to learn a name, for a server to come, or for their turn. All of it is bounded.

Bounds in bytes are there for memory's sake, so one call may always wait however long it is: no line is without limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from . import refusals
from .call import Call
from .peers import Session
from .refusals import LONGEST_WAIT, Refusal
from .state import State
from .target import Target

MOST_HELD: Final = 64 * 1024 * 1024
"""Bytes of calls that wait for one server."""
MOST_HELD_IN_ALL: Final = 256 * 1024 * 1024
"""Bytes of calls that wait for whatever it is."""


class Queues:
    """The calls that wait. Those of one server are with its target, as `parked`.

    Its sessions take turns, and each has its share of the room, so that no client waits behind all that another wants.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._unresolved: dict[Call, None] = {}
        self._held = 0

    def wait_for_name(self, call: Call, deadline: float) -> Refusal | None:
        """The catalogue may still learn this name until then; returns why not, where there is no room to wait."""
        if self._held and self._held + call.bytes_in > MOST_HELD_IN_ALL:
            return refusals.heavy(self._held)
        self._unresolved[call] = None
        self._enter(call, deadline)
        return None

    def wait_for_server(self, call: Call, target: Target, until: float, now: float) -> tuple[Call, Refusal] | None:
        """It is on its way, or has as much to do as it may; returns who can't wait for it, and why, if not all can.

        That is this call, or another one that gave up its room to it. The call waits until then at most, and less for
        a server that is not only woken.
        """
        limits = target.limits
        # Who waits for a start waits for no turn: that is nothing that somebody may wish to do without.
        most = limits.queued if target.link is not None else max(limits.queued, limits.running)
        if target.held and target.held + call.bytes_in > MOST_HELD:
            return call, refusals.heavy(target.held, target)
        if self._held and self._held + call.bytes_in > MOST_HELD_IN_ALL:
            return call, refusals.heavy(self._held)
        displaced = None
        if target.waiting >= most:
            refusal = refusals.overloaded(target, now)
            one_too_many = _beyond_its_share(target, call.session)
            if one_too_many is None:
                return call, refusal
            self.leave(one_too_many)
            displaced = one_too_many, refusal
        if target.wake is None:
            until = min(until, call.since + LONGEST_WAIT)
        else:
            target.wake(call.route is None or call.route.sure)
        target.parked.setdefault(call.session, {})[call] = None
        target.waiting += 1
        target.held += call.bytes_in
        self._enter(call, until)
        return displaced

    def _enter(self, call: Call, deadline: float) -> None:
        call.deadline = deadline
        self._held += call.bytes_in
        self._state.wake_by(deadline)

    def leave(self, call: Call) -> bool:
        """Take a call out of where it waits; False if it does not."""
        target = self._state.targets[call.route.server] if call.route is not None else None
        place = self._unresolved if target is None else target.parked.get(call.session, {})
        if place.pop(call, call) is not None:
            return False
        self._held -= call.bytes_in
        if target is not None:
            target.waiting -= 1
            target.held -= call.bytes_in
            if not place:
                del target.parked[call.session]
        return True

    def take_next(self, target: Target) -> Call:
        """Take out the one whose turn it is: of each session in turn the one that came first."""
        session, calls = next(iter(target.parked.items()))
        call = next(iter(calls))
        self.leave(call)
        if calls:
            target.parked[session] = target.parked.pop(session)  # now it is the last one
        return call

    def take(self, target: Target, *, endless: bool = False) -> Iterator[Call]:
        """Take out all that wait for this server now; or those alone that take nobody's place."""
        return self._take(call for call in _parked(target) if call.method.endless or not endless)

    def take_unresolved(self) -> Iterator[Call]:
        """Take out all whose names are not known."""
        return self._take(self._unresolved)

    def _take(self, place: Iterable[Call]) -> Iterator[Call]:
        """What is done with one may end another of them."""
        for call in list(place):
            if self.leave(call):
                yield call

    def waiting(self) -> Iterator[Call]:
        """All that wait, wherever."""
        yield from self._unresolved
        for target in self._state.targets.values():
            yield from _parked(target)


def _parked(target: Target) -> Iterator[Call]:
    """All that wait for this server; of each session the first one first."""
    return chain.from_iterable(target.parked.values())


def _beyond_its_share(target: Target, session: Session) -> Call | None:
    """The call that has to make room for one more of this session: the newest of the one that has the most waiting.

    None where that would only turn their places round.
    """
    most = max(target.parked.values(), key=len, default={})
    if len(most) <= len(target.parked.get(session, ())) + 1:
        return None
    return next(reversed(most))
