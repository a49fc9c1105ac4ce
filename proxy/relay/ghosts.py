"""Calls that were given up: the server may still speak of them, ask for them, or answer."""

from __future__ import annotations

from typing import Final

from .. import wire
from .call import Call
from .peers import Ghost, Link
from .results import Results
from .state import State
from .tasks import begun_task

HAUNTS: Final = 60.0
"""Seconds for which a server may still speak of a call that was given up."""
_MOST: Final = 1000


class Ghosts:
    """Those of all links; `State.owner` looks at them too."""

    def __init__(self, state: State, results: Results) -> None:
        self._state = state
        self._results = results

    def add(self, link: Link, call: Call, now: float) -> None:
        """Nobody waits for this call any more."""
        if len(link.ghosts) >= _MOST:
            link.ghosts = {id: ghost for id, ghost in link.ghosts.items() if now < ghost.until}
            while len(link.ghosts) >= _MOST:
                del link.ghosts[next(iter(link.ghosts))]
        link.ghosts[call.link_id] = Ghost(call.session, now + HAUNTS, call.augmented)

    def answered(self, link: Link, id: int, envelope: wire.Envelope) -> None:
        """A late answer to what was given up: it falls, but a task that it names is cancelled."""
        ghost = link.ghosts.pop(id, None)
        if ghost is None or not ghost.augmented or not wire.given(envelope.result):
            return
        raw, target = begun_task(envelope.result), self._state.targets.get(link.server)
        own = wire.text(raw)
        if raw is None or own is None:
            return
        self._results.disown(link.server, own)
        if target is not None and target.can("tasks", "cancel"):
            link.request("tasks/cancel", wire.close_object({"taskId": raw}))
