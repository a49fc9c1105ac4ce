"""What is shown of servers and calls: an observer of events that keeps the last of them, in bounded memory.

It costs a call next to nothing: events are kept as they are, and become something to show when somebody looks.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from .events import (
    CallFinished,
    ClientConnected,
    ClientGone,
    Event,
    RequestFinished,
    ServerOutput,
    ServerRemoved,
    ServerStartFinished,
    ServerStateChanged,
)

MOST_CALLS: Final = 1000
"""Calls that are kept, of all servers together."""

MOST_DURATIONS: Final = 500
"""Calls of one server that its percentiles are made of."""

MOST_LINES: Final = 500
MOST_TAIL: Final = 256 * 1024
"""Lines that a server printed which are kept, and how long they may be together, in characters."""

MOST_STEPS: Final = 50
"""Changes of a server's state that are kept."""

STEP: Final = 5
STEPS: Final = 48
"""The curve of calls: so many counts, each of so many seconds."""
_SECONDS: Final = STEP * STEPS
_server: Final = attrgetter("server")
_seconds: Final = attrgetter("seconds")

RATE_OVER: Final = 10
"""Seconds that the rate is a mean of."""

FAILED: Final = frozenset({"tool_error", "error", "timeout"})
"""Outcomes of calls that failed."""
_SERVER_FAILED: Final = frozenset({"error", "timeout"})
_LONGEST_ID: Final = 64
_MOST_CLIENTS: Final = 10_000


class Call(msgspec.Struct, frozen=True):
    """A request that ended, `at` a Unix time; `number` grows from call to call. Otherwise like `RequestFinished`."""

    number: int
    at: float
    client: str
    session: str
    id: str
    server: str
    tool: str
    method: str
    outcome: str
    seconds: float
    bytes_in: int
    bytes_out: int
    reason: str


class Line(msgspec.Struct, frozen=True):
    """What a server printed, `at` a Unix time; its `number` grows from line to line."""

    number: int
    at: float
    stream: str
    text: str


class Step(msgspec.Struct, frozen=True):
    """A change of a server's state."""

    at: float
    old: str
    new: str
    reason: str


class Trouble(msgspec.Struct, frozen=True):
    """The last that went wrong with a server."""

    at: float
    text: str


class Client(msgspec.Struct, frozen=True):
    """A client that is connected, since `at`; `name` and `version` are what it calls itself."""

    at: float
    name: str
    version: str
    session: str
    protocol: str


class Figures(msgspec.Struct, frozen=True):
    """What is known of one server, but for what it is itself asked.

    `since` is the Unix time of its last change of state, `next_start` that of its next start where one is planned.
    Calls are tool calls; `failures` those that did not end well. `p50` and `p99` are seconds, of its last calls, None
    where there were none. `spark` counts calls, the oldest first, and `failed` those among them that failed.
    """

    since: float
    reason: str
    next_start: float | None
    starts: int
    calls: int
    failures: int
    rate: float
    p50: float | None
    p99: float | None
    spark: list[int]
    failed: list[int]
    last_error: Trouble | None


class Status:
    """`clock` gives Unix time; `redact` masks configured secrets in a text, when it is shown. `ours` are sessions of
    this process itself, which are no clients.
    """

    def __init__(
        self, clock: Callable[[], float], redact: Callable[[str], str] = str, ours: Collection[str] = ()
    ) -> None:
        self._clock = clock
        self._redact = redact
        self._servers: dict[str, _Server] = {}
        self._ended: deque[tuple[float, Sequence[RequestFinished]]] = deque()
        """What ended together, with its time: the last calls, and as many more as came with the first of them."""
        self._kept = 0
        self._clients: dict[str, Client] = {}
        self._ours = frozenset(ours)
        self._began = clock()
        self.last = 0
        """The number of the last call."""
        self._lines = 0

    def __call__(self, event: Event, at: float | None = None) -> None:
        """Take one event."""
        when = self._clock() if at is None else at
        if isinstance(event, RequestFinished):
            self._take_request(event, when)
        elif isinstance(event, ServerOutput):
            self._lines += 1
            self._of(event.server).printed(Line(self._lines, when, event.stream, event.text))
        elif isinstance(event, ServerStateChanged):
            self._of(event.server).moved(event, when)
        elif isinstance(event, ServerStartFinished):
            self._of(event.server).starts += 1
        elif isinstance(event, ClientConnected):
            if event.session not in self._ours and len(self._clients) < _MOST_CLIENTS:
                who = Client(when, event.client, event.version, event.session, event.protocol)
                self._clients[event.session] = who
        elif isinstance(event, ClientGone):
            self._clients.pop(event.session, None)
        elif isinstance(event, ServerRemoved):
            self._servers.pop(event.server, None)

    def _take_request(self, request: RequestFinished, at: float) -> None:
        if isinstance(request, CallFinished):
            self.take_calls((request,), at)
            return
        self._keep((request,), at)
        if request.server:
            self._of(request.server).asked(request, at)

    def take_calls(self, calls: Sequence[CallFinished], at: float) -> None:
        """Take tool calls that ended together."""
        self._keep(calls, at)
        for server, ended in groupby(calls, _server):
            if server:
                self._of(server).called(list(ended), at)

    def _keep(self, requests: Sequence[RequestFinished], at: float) -> None:
        self.last += len(requests)
        if len(requests) > MOST_CALLS:
            requests = requests[-MOST_CALLS:]
        self._ended.append((at, requests))
        self._kept += len(requests)
        while self._kept - len(oldest := self._ended[0][1]) >= MOST_CALLS:
            self._ended.popleft()
            self._kept -= len(oldest)

    @property
    def now(self) -> float:
        """The Unix time."""
        return self._clock()

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def who(self, most: int) -> list[Client]:
        """The clients that came first, at most so many."""
        redact = self._redact
        return [
            msgspec.structs.replace(one, name=redact(one.name), version=redact(one.version))
            for one in itertools.islice(self._clients.values(), most)
        ]

    def calls(self, limit: int = MOST_CALLS, *, after: int = 0) -> list[Call]:
        """The last calls, at most so many and the newest first, that came after the one of this number."""
        kept = ((at, request) for at, requests in reversed(self._ended) for request in reversed(requests))
        numbered = zip(range(self.last, max(after, self.last - MOST_CALLS), -1), kept, strict=False)
        return [self._shown(number, *one) for number, one in itertools.islice(numbered, limit)]

    def figures(self, server: str) -> Figures:
        """What is known of a server."""
        known = self._servers.get(server) or _Server(self._began)
        return known.figures(self._clock(), self._redact)

    def output(self, server: str, *, after: int = 0) -> list[Line]:
        """What a server printed last, the oldest line first, after the one of this number."""
        known = self._servers.get(server)
        newer = itertools.takewhile(lambda line: line.number > after, reversed(known.tail)) if known else ()
        lines = [msgspec.structs.replace(line, text=self._redact(line.text)) for line in newer]
        lines.reverse()
        return lines

    def steps(self, server: str) -> list[Step]:
        """How a server's state changed, the newest first."""
        known = self._servers.get(server)
        return [
            msgspec.structs.replace(step, reason=self._redact(step.reason))
            for step in (reversed(known.steps) if known else ())
        ]

    def _of(self, server: str) -> _Server:
        known = self._servers.get(server)
        if known is None:
            known = self._servers[server] = _Server(self._began)
        return known

    def _shown(self, number: int, at: float, event: RequestFinished) -> Call:
        redact = self._redact
        return Call(
            number,
            at,
            redact(event.client),
            event.session,
            redact(event.request_id[:_LONGEST_ID]),
            redact(event.server),
            redact(event.tool or event.name),
            event.method,
            event.outcome,
            event.seconds,
            event.bytes_in,
            event.bytes_out,
            redact(event.reason),
        )


class _Server:
    def __init__(self, since: float) -> None:
        self.since = since
        self.next_start: float | None = None
        self.reason = ""
        self.starts = 0
        self.tail: deque[Line] = deque(maxlen=MOST_LINES)
        self.steps: deque[Step] = deque(maxlen=MOST_STEPS)
        self._size = 0
        self._calls = 0
        self._failures = 0
        self._durations: deque[float] = deque(maxlen=MOST_DURATIONS)
        self._percentiles: tuple[float | None, float | None] | None = (None, None)
        """None where they are to be computed anew."""
        self._seconds = _Counts()
        self._failed = _Counts()
        self._trouble: tuple[float, str, str] | None = None

    def called(self, calls: Sequence[CallFinished], at: float) -> None:
        """These calls of its tools ended."""
        self._calls += len(calls)
        self._seconds.add(at, len(calls))
        self._durations.extend(map(_seconds, calls))
        self._percentiles = None
        for call in calls:
            if call.outcome != "ok":
                self.asked(call, at)
                if call.outcome in FAILED:
                    self._failures += 1
                    self._failed.add(at)

    def asked(self, request: RequestFinished, at: float) -> None:
        """What it was asked for ended."""
        if request.outcome in _SERVER_FAILED:
            self._trouble = (at, request.tool or request.name, request.reason)

    def printed(self, line: Line) -> None:
        if len(self.tail) == MOST_LINES:
            self._size -= len(self.tail.popleft().text)
        self.tail.append(line)
        self._size += len(line.text)
        while self._size > MOST_TAIL and len(self.tail) > 1:
            self._size -= len(self.tail.popleft().text)

    def moved(self, event: ServerStateChanged, at: float) -> None:
        self.since, self.reason = at, event.reason
        self.next_start = None if event.delay is None else at + event.delay
        self.steps.append(Step(at, event.old, event.new, event.reason))
        if event.new in ("backoff", "failed"):
            self._trouble = (at, "", event.reason)

    def figures(self, now: float, redact: Callable[[str], str]) -> Figures:
        if self._percentiles is None:
            ordered = sorted(self._durations)
            self._percentiles = _at(ordered, 0.5), _at(ordered, 0.99)
        p50, p99 = self._percentiles
        trouble = None
        if self._trouble is not None:
            at, tool, text = self._trouble
            trouble = Trouble(at, redact(f"{tool}: {text}" if tool else text))
        return Figures(
            since=self.since,
            reason=redact(self.reason),
            next_start=self.next_start,
            starts=self.starts,
            calls=self._calls,
            failures=self._failures,
            rate=round(self._seconds.last(now, RATE_OVER) / RATE_OVER, 2),
            p50=p50,
            p99=p99,
            spark=self._seconds.curve(now),
            failed=self._failed.curve(now),
            last_error=trouble,
        )


class _Counts:
    """How much happened in each of the last seconds, as far back as the curve goes."""

    __slots__ = ("_counts", "_last")

    def __init__(self) -> None:
        self._counts = [0] * _SECONDS
        self._last = 0

    def add(self, now: float, number: int = 1) -> None:
        second = int(now)
        if second != self._last:
            self._turn(second)
        self._counts[self._last % _SECONDS] += number

    def last(self, now: float, seconds: int) -> int:
        """The sum over so many seconds, the one that runs included."""
        self._turn(int(now))
        return sum(self._counts[second % _SECONDS] for second in range(self._last - seconds + 1, self._last + 1))

    def curve(self, now: float) -> list[int]:
        """The sums over each step, the oldest first. Steps begin at the same times, whenever one looks: the last one
        is not over.
        """
        self._turn(int(now))
        first = (self._last // STEP - STEPS + 1) * STEP
        counts = [self._counts[second % _SECONDS] for second in range(first, self._last + 1)]
        return [sum(counts[at : at + STEP]) for at in range(0, _SECONDS, STEP)]

    def _turn(self, second: int) -> None:
        """Forget what is too long ago. A clock that was set back counts on where it was, unless that is far away."""
        if second < self._last - _SECONDS:
            self._last = second - _SECONDS
        for passed in range(max(self._last + 1, second - _SECONDS + 1), second + 1):
            self._counts[passed % _SECONDS] = 0
        self._last = max(self._last, second)


def _at(ordered: list[float], share: float) -> float | None:
    """The smallest that this share of them does not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
