"""What telemetry asks the relay for now and then, of each server: what waits for it, and how it stands with it."""

from __future__ import annotations

import msgspec

from .state import State


class Figures(msgspec.Struct, frozen=True):
    """Of one server. Of calls `queued` wait and no more than `queue_limit` may; `retries` were sent once more so far.

    `open`: its breaker is, so that calls are refused at once.
    """

    server: str
    queued: int
    queue_limit: int
    retries: int
    open: bool


def figures(state: State) -> list[Figures]:
    """Those of all servers. Asked from another thread it may raise RuntimeError, where a server came or went."""
    return [
        Figures(
            target.key,
            target.waiting,
            target.limits.queued,
            target.retries,
            link is not None and link.shut_until > 0,
        )
        for target in state.targets.values()
        for link in [target.link]  # once, as it may be gone at the second look
    ]
