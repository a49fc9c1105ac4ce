"""What is done about a client that reads more slowly than servers speak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..pump import Pump
from ..relay import Session

CHOKED_FROM: Final = 1024 * 1024
"""Bytes that wait for a client from which on it gets no more notifications but the last of each kind."""


class Pressure:
    """Chokes a session while too much waits for its client, and gives it up where that does not help.

    `waiting` tells how many bytes wait. With more than `most` of them `give_up` is called at the next message: one
    answer alone may be longer.
    """

    def __init__(
        self, pump: Pump, session: Session, waiting: Callable[[], int], most: int, give_up: Callable[[], None]
    ) -> None:
        self._pump = pump
        self._session = session
        self._waiting = waiting
        self._most = most
        self._give_up = give_up

    def rises(self, before: int) -> None:
        """More waits than `before`. Called while the relay speaks, so that what follows from it has to come later."""
        if before > self._most:
            self._pump.later(self._give_up)
        elif self._waiting() > CHOKED_FROM and not self._session.choked:
            self._pump.later(self._choke)

    def falls(self) -> None:
        """Less waits, perhaps: the client reads again, unless its session is over."""
        if self._session.choked and self._waiting() < CHOKED_FROM // 2 and not self._session.deaf:
            self._pump.choke(self._session, stop=False)

    def _choke(self) -> None:
        if self._waiting() > CHOKED_FROM:
            self._pump.choke(self._session, stop=True)
