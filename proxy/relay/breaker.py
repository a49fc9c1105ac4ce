"""A breaker for each connection: a server that stays connected and answers nothing is not sent more and more calls.

Calls in a row that time out or whose connection breaks open it; for a while calls are refused at once then. Afterwards
the server is asked a `ping`, never a user's tool: an answer closes it, silence keeps it open for longer. A tool's own
error is an answer like any other. A server of which nothing at all is heard over several pings hangs: whoever owns the
connection is told, to end it and begin anew.
"""

from __future__ import annotations

from typing import Final

from .peers import Link, Reply
from .state import State

FAILURES: Final = 5
"""Calls in a row without an answer, by time-out or because a connection broke, that open it."""
SHUT: Final = 10.0
LONGEST_SHUT: Final = 60.0
PONG_WITHIN: Final = 5.0
"""Seconds: open at first, open at most, and for the answer to a ping; less where a call has less time than that."""
PINGS: Final = 3
"""Pings in a row without an answer, and without a word of anything else, after which a server hangs."""


class Breakers:
    """Opens and closes them. The state is with each link: `failures`, `shut_until` and `trial`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def failed(self, link: Link, now: float) -> None:
        """A call had no answer in time, or will have none."""
        link.failures += 1
        if link.failures >= FAILURES and not link.shut_until:
            self._listen(link, now)
            self._shut(link, min(SHUT, 2 * self._patience(link)), now)

    def answered(self, link: Link) -> None:
        """It answered a call, so there is no need to ask."""
        link.failures = 0
        link.shut_until = 0.0
        if link.trial.probe:
            link.abandon(link.trial.probe, tell=False)
            link.trial.probe = 0

    def _patience(self, link: Link) -> float:
        """Seconds that a call of this server may take."""
        target = self._state.targets.get(link.server)
        return target.limits.call if target is not None else float("inf")

    def _listen(self, link: Link, now: float) -> None:
        """Whatever it says from here on shows that it does not hang."""
        trial = link.trial
        trial.pings, trial.since, trial.heard = 0, now, link.heard

    def _shut(self, link: Link, seconds: float, now: float) -> None:
        link.trial.shut_for = min(seconds, LONGEST_SHUT)
        link.shut_until = now + link.trial.shut_for
        self._state.wake_by(link.shut_until)

    def expire(self, now: float) -> float:
        """Ask those whose time is over whether they are back; returns when the next one's will be."""
        wake = float("inf")
        for link in self._state.links:
            if link.shut_until and link.shut_until <= now:
                if link.trial.probe:  # it did not answer that, either
                    link.abandon(link.trial.probe, tell=False)
                    link.trial.probe = 0
                    self._unanswered(link, now)
                    self._shut(link, 2 * link.trial.shut_for, now)
                else:
                    self._ask(link, now)
            if link.shut_until:
                wake = min(wake, link.shut_until)
        return wake

    def _unanswered(self, link: Link, now: float) -> None:
        if link.heard != link.trial.heard or link.questions:  # it may well wait for an answer of its own
            self._listen(link, now)
            return
        link.trial.pings += 1
        if link.trial.pings >= PINGS:
            link.hung(f"it said nothing for {now - link.trial.since:.0f} s and did not answer {link.trial.pings} pings")

    def _ask(self, link: Link, now: float) -> None:
        def done(reply: Reply | None) -> None:
            if reply is None or reply.answered:  # even an error shows that somebody is there
                link.trial.probe = 0
            if reply is not None and reply.answered:
                self.answered(link)

        link.trial.probe = link.ask("ping", b"", done)
        link.shut_until = now + min(PONG_WITHIN, self._patience(link))
