"""What one server prints beside its messages: for the log, and as its last words where a start fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from .errors import ConnectionLost, ServerError
from .events import Emit, Notice, ServerOutput
from .relay import Link
from .texts import one_line
from .transports.channel import End

MOST_NONSENSE: Final = 100
NONSENSE_WITHIN: Final = 10.0
"""So many lines in a row, within so many seconds, that are no messages end a connection."""

_LONGEST: Final = 300
_SHOWN: Final = 1024


class Printed:
    """Hears every line. `redact` masks configured secrets in a text."""

    def __init__(self, server: str, emit: Emit, redact: Callable[[str], str]) -> None:
        self._server = server
        self._emit = emit
        self._redact = redact
        self._last = ""
        self._stray = ""
        self._told = False

    def begin(self) -> None:
        """The server is started: what it said before is of another life."""
        self._last = self._stray = ""

    def on_stderr(self, text: str) -> None:
        """A line on stderr, where all but messages belongs."""
        self._emit(ServerOutput(self._server, "stderr", text))
        self._last = text if text.strip() else self._last

    def on_stdout(self, line: bytes) -> None:
        """A line on stdout that is no message."""
        text = line[:_SHOWN].decode(errors="replace")
        self._emit(ServerOutput(self._server, "stdout", text))
        self._last = text
        self._stray = self._stray or text

    @property
    def words(self) -> str:
        """The last that it printed, on either stream, as one line; "" if it was silent."""
        return one_line(self._redact(self._last), _LONGEST)

    def works_all_the_same(self) -> None:
        """It is up: tell of lines on stdout that are no messages, once and for all of them."""
        if self._stray and not self._told:
            self._told = True
            shown = one_line(self._redact(self._stray), _LONGEST)
            text = f"it prints on stdout what is no message, which does no harm but belongs on stderr: {shown}"
            self._emit(Notice("warning", text, self._server))

    def explain(self, problem: ServerError) -> ServerError:
        """The reason why a start failed, with what it printed last where it broke off without a reason of its own."""
        if not isinstance(problem, ConnectionLost) or problem.words:
            return problem
        if self.words:
            return ConnectionLost(self._server, problem.reason, self.words)
        return ConnectionLost(self._server, f"{problem.reason} and printed nothing; try its command in a terminal")


class Nonsense:
    """Counts what one connection brings that is no message; too much of it in a row, and the connection is over.

    A server that prints in a loop would otherwise cost everybody's time. One that prints beside its messages may.
    """

    def __init__(self, link: Link) -> None:
        self.end = End()
        self._link = link
        self._heard = 0
        self._times: deque[float] = deque(maxlen=MOST_NONSENSE)

    def count(self, now: float) -> None:
        """One more such line."""
        if self._link.heard != self._heard:
            self._heard = self._link.heard
            self._times.clear()
        self._times.append(now)
        if len(self._times) == MOST_NONSENSE and now - self._times[0] <= NONSENSE_WITHIN:
            self._link.deaf = True
            text = f"it printed {MOST_NONSENSE} lines on stdout within {NONSENSE_WITHIN:g} s that are no messages"
            self.end.note(ConnectionLost(self._link.server, text))
