"""Where calls wait: for the catalogue to learn a name, for a server to come, or for its turn. All of it is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import refusals
from .call import Call
from .peers import Target
from .refusals import LONGEST_WAIT, Refusal
from .state import State


class Queues:
    """The calls that wait. Those of one server are with its target, as `parked`, in turn."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._unresolved: dict[Call, None] = {}

    def wait_for_name(self, call: Call, deadline: float) -> None:
        """The catalogue may still learn this name until then."""
        call.deadline = deadline
        self._unresolved[call] = None
        self._state.wake_by(deadline)

    def wait_for_server(self, call: Call, target: Target, now: float) -> Refusal | None:
        """It is on its way, or has as much to do as it may; returns why not, where there is no room to wait."""
        if len(target.parked) >= target.limits.queued:
            return refusals.overloaded(target, now)
        call.deadline = call.started + target.limits.call
        if target.wake is None:
            call.deadline = min(call.deadline, call.since + LONGEST_WAIT)
        else:
            target.wake()
        target.parked[call] = None
        self._state.wake_by(call.deadline)
        return None

    def leave(self, call: Call) -> bool:
        """Take a call out of where it waits; False if it does not."""
        place = self._unresolved if call.route is None else self._state.targets[call.route.server].parked
        return place.pop(call, call) is None

    def take(self, target: Target) -> Iterator[Call]:
        """Take out all that wait for this server now, the first one first."""
        return self._take(target.parked)

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
            yield from target.parked
