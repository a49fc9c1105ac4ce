"""Events -> spans at a collector, by OTLP over HTTP. See `spans` for what they are.

The loop only notes what ended. Everything else, the imports included, is done by a thread: it gathers for a moment,
encodes, sends, and waits longer and longer for a collector that is not there. What it has no room for is lost and
counted.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from ..events import (
    CallFinished,
    ClientConnected,
    ClientGone,
    Event,
    Notice,
    QuestionFinished,
    RequestFinished,
    ServerRemoved,
    ServerStartFinished,
)
from ..relay.tracing import Tracing
from .ended import Ended, Way, of_question, of_request, way_to

if TYPE_CHECKING:
    from ..config.models import ServerEntry, TracesSettings
    from ..events import Emit
    from .collector import Collector
    from .redact import Redactor
    from .spans import Encoder

MOST_WAITING: Final = 4096
"""Requests; those that end while so many wait are lost."""
MOST_AT_ONCE: Final = 512
GATHERED: Final = 1.0
"""Seconds from the first of some requests until they are sent."""
TRIES: Final = 8
"""So often the same ones are sent to a collector that does not take them, over some four minutes."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between them, each time twice as many."""
AT_EXIT: Final = 0.5
"""Seconds; who ends us waits no longer, and a collector may be away."""

_FRONTS: Final = {"stdio": ("pipe", ""), "http": ("tcp", "http"), "websocket": ("tcp", "websocket")}
"""Ways in: what the conventions call their transport, and the protocol on it."""
_UNKNOWN: Final = Way()

_log: Final = logging.getLogger(__name__)


def begin_tracing(settings: TracesSettings, emit: Emit) -> Tracing | None:
    """What the relay needs for it; None where nobody is to be told, or can be, which a Notice tells."""
    if settings.endpoint is None:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
        emit(Notice("warning", "no traces are sent: the extra is missing, pip install 'mcp-manifold[otel]'"))
        return None
    return Tracing(settings.ratio, random.getrandbits)


class Traces:
    """An observer. `find` gives the entry of a server, `offset` what Unix time is ahead of the relay's.

    Its thread runs from here to `close`.
    """

    def __init__(
        self,
        settings: TracesSettings,
        *,
        redactor: Redactor,
        find: Callable[[str], ServerEntry | None],
        offset: Callable[[], float],
    ) -> None:
        self._find = find
        self._clients: dict[str, Way] = {}
        self._servers: dict[str, Way] = {}
        self._sender = _Sender(settings, redactor, offset)
        self._sender.start()

    def __call__(self, event: Event, at: float | None = None) -> None:
        """Note what ended; `at` is ignored, since a trace has times of its own."""
        if isinstance(event, RequestFinished):
            self._note(event)
        elif isinstance(event, QuestionFinished):
            if event.trace is not None:
                client, server = self._ways(event.session, event.server)
                self._sender.take(of_question(event, event.trace, server, client))
        elif isinstance(event, ClientConnected):
            self._clients[event.session] = Way(event.session, event.protocol, *_FRONTS.get(event.front, ("", "")))
        elif isinstance(event, ClientGone):
            self._clients.pop(event.session, None)
        elif isinstance(event, ServerStartFinished):
            self._servers[event.server] = way_to(self._find(event.server), event.protocol)
        elif isinstance(event, ServerRemoved):
            self._servers.pop(event.server, None)

    def take_calls(self, calls: Sequence[CallFinished], at: float) -> None:
        """Note those of these calls that are recorded."""
        for call in calls:
            self._note(call)

    def _note(self, request: RequestFinished) -> None:
        if request.trace is not None:
            self._sender.take(of_request(request, request.trace, *self._ways(request.session, request.server)))

    def _ways(self, session: str, server: str) -> tuple[Way, Way]:
        return self._clients.get(session, _UNKNOWN), self._servers.get(server, _UNKNOWN)

    def hurry(self) -> None:
        """The end is near: send what is there now. Others may meanwhile do what they have to do, and then `close`."""
        self._sender.hurry()

    def close(self) -> None:
        """Send what is there, as far as it goes at once."""
        self._sender.finish()


class _Sender(threading.Thread):
    """Has what ended encoded and sent."""

    def __init__(self, settings: TracesSettings, redactor: Redactor, offset: Callable[[], float]) -> None:
        super().__init__(name="traces", daemon=True)  # a process that ends does not wait for it
        self._settings = settings
        self._redactor = redactor
        self._offset = offset
        self._waiting: deque[Ended] = deque()
        self._some = threading.Event()
        self._closing = threading.Event()
        self._until = 0.0
        self._lost = 0
        self._on_the_way = 0
        """Of how many requests nobody knows yet whether the collector takes them."""
        self._away = False
        """The collector takes nothing, which was told."""

    def take(self, ended: Ended) -> None:
        """From the loop's thread; never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(ended)
        if not self._some.is_set():
            self._some.set()

    def hurry(self) -> None:
        """Let it end, from now on within the time that there is for that."""
        if not self._closing.is_set():
            self._until = time.monotonic() + AT_EXIT
            self._closing.set()
            self._some.set()

    def finish(self) -> None:
        """Let it end, and wait for that a little."""
        self.hurry()
        self.join(max(0.0, self._until - time.monotonic()))
        lost = self._lost + self._on_the_way + len(self._waiting)
        if lost:
            whose = "1 request" if lost == 1 else f"{lost} requests"
            _log.warning("the spans of %s were lost%s", whose, " or not taken in time" if self._on_the_way else "")

    def run(self) -> None:
        # Here, where nobody waits for these imports.
        from .collector import Collector
        from .spans import Encoder

        encode, collector = Encoder(self._redactor, self._offset), Collector(self._settings)
        over = False
        while not over:
            self._some.wait()
            self._closing.wait(GATHERED)
            self._some.clear()
            over = self._closing.is_set()  # looked at last: who closes sets it first, and only then wakes us
            while self._waiting and not (over and self._away):
                self._pass_on(encode, collector)

    def _pass_on(self, encode: Encoder, collector: Collector) -> None:
        """Send some of what waits, until it is taken or given up."""
        items = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
        self._on_the_way = len(items)
        try:
            body = encode(items)
        except Exception:  # a defect of ours, which costs these spans: without this thread all others were lost, too
            _log.exception("spans can't be encoded")
            self._on_the_way = 0
            self._lost += len(items)
            return
        pause = FIRST_PAUSE
        for _ in range(TRIES):
            verdict = collector.send(body)
            if verdict.taken:
                self._on_the_way = 0
                self._back()
                return
            self._tell(verdict.problem)
            if not verdict.passing or self._closing.wait(pause):
                break
            pause = min(2 * pause, LONGEST_PAUSE)
        self._on_the_way = 0
        self._lost += len(items)

    def _tell(self, problem: str) -> None:
        if not self._away:
            self._away = True
            _log.warning("no spans can be delivered, and calls go on without: %s", problem)

    def _back(self) -> None:
        if self._away:
            self._away = False
            _log.warning("spans are delivered again; so far those of %d requests were lost", self._lost)
