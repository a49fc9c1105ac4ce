"""One server as a table: (state, trigger) -> state, and how long to wait before the next start.

No clock and no dice of its own: `now` (seconds, monotonic) and `random` (0 <= x < 1) come in, so hours of back-off
pass in a test's loop. Figures: Erlang/OTP's restart intensity and full jitter as AWS describes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

State = Literal["idle", "starting", "ready", "backoff", "failed", "stopped"]
Trigger = Literal["start", "ready", "lost", "unreachable", "hopeless", "sleep", "stop"]

SHORTEST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 30.0
HEALTHY_AFTER: Final = 60.0
_DOUBLINGS: Final = 10  # more than enough to reach the longest delay, and far from the end of a float
MOST_STARTS: Final = 5
WITHIN: Final = 60.0

# "lost" is any end that another start may mend, before or after it was ready, and too many of them are enough.
# "unreachable" is an address where nobody answers: nothing was started, so it is tried for ever, ever more seldom.
# "hopeless" is what no start mends: a command that does not exist, credentials that are refused.
# "sleep" is an end that we chose, since nobody needs the server: it says nothing about its health.
TABLE: Final[dict[tuple[State, Trigger], State]] = {
    ("idle", "start"): "starting",
    ("backoff", "start"): "starting",
    ("failed", "start"): "starting",
    ("stopped", "start"): "starting",
    ("starting", "ready"): "ready",
    ("starting", "lost"): "backoff",
    ("ready", "lost"): "backoff",
    ("starting", "unreachable"): "backoff",
    ("ready", "unreachable"): "backoff",
    ("starting", "hopeless"): "failed",
    ("ready", "hopeless"): "failed",
    ("idle", "hopeless"): "failed",
    ("ready", "sleep"): "idle",
    ("backoff", "sleep"): "idle",
    ("idle", "stop"): "stopped",
    ("starting", "stop"): "stopped",
    ("ready", "stop"): "stopped",
    ("backoff", "stop"): "stopped",
    ("failed", "stop"): "stopped",
}


class IllegalTransition(RuntimeError):
    """The supervisor asked for something that the table does not have: a defect of ours."""


class Lifecycle:
    """Where one server stands. `apply` moves it; `delay` then holds the seconds until the next start, if any."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._starts: deque[float] = deque()
        self._attempt = 0
        self._ready_since: float | None = None
        self.state: State = "idle"
        self.delay: float | None = None

    def __repr__(self) -> str:
        return f"<Lifecycle {self.state} attempt={self._attempt} delay={self.delay}>"

    def apply(self, trigger: Trigger, now: float) -> State:
        """Take one step; raises IllegalTransition where the table has none."""
        try:
            new = TABLE[self.state, trigger]
        except KeyError:
            raise IllegalTransition(f"{trigger!r} in state {self.state!r}") from None
        self.delay = None
        if trigger == "start":
            self._started(now)
        elif trigger == "ready":
            self._ready_since = now
        elif trigger in ("lost", "unreachable"):
            new = self._lost(now, counts=trigger == "lost")
        elif trigger == "sleep" and self.state == "ready":
            self._starts.pop()
            self._attempt = 0
        self.state = new
        return new

    def _started(self, now: float) -> None:
        if self.state in ("failed", "stopped"):  # an operator or a new configuration asks: a clean slate
            self._starts.clear()
            self._attempt = 0
        self._ready_since = None
        self._starts.append(now)
        self._attempt += 1

    def _lost(self, now: float, *, counts: bool) -> State:
        healthy = self._ready_since is not None and now - self._ready_since >= HEALTHY_AFTER
        self._ready_since = None
        if healthy:
            self._starts.clear()
            self._attempt = 0
        while self._starts and now - self._starts[0] > WITHIN:
            self._starts.popleft()
        if not counts and self._starts:
            self._starts.pop()
        elif counts and len(self._starts) >= MOST_STARTS:
            return "failed"
        ceiling = min(LONGEST_DELAY, SHORTEST_DELAY * 2.0 ** min(max(0, self._attempt - 1), _DOUBLINGS))
        self.delay = self._random() * ceiling
        return "backoff"
