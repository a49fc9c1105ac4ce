"""Frozen facts of what happened, for telemetry; the core emits them and knows no listener."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Literal, Protocol, TypeVar, cast

import msgspec

from .tracecontext import Trace

T = TypeVar("T")

Outcome = Literal["ok", "tool_error", "error", "timeout", "cancelled"]
Delivery = Literal["yes", "no", "maybe"]
"""Whether a request came to its server: it answered, it surely never saw it, or nobody can tell."""


class Event(msgspec.Struct, frozen=True):
    """Base of all facts. Times are taken by who listens; durations are in seconds."""


class Noted(msgspec.Struct, frozen=True):
    """What may be told of a tool call's payload: as much as the configuration asks for, and by default nothing.

    `digest` is the SHA-256 of the raw `arguments` in hex; `sizes` their names, with the bytes of each value;
    `arguments` and `result` are texts, cut, in which what looks like a secret is masked.
    """

    digest: str = ""
    sizes: Mapping[str, int] | None = None
    arguments: str = ""
    result: str = ""


class Inspector(Protocol):
    """Looks at the payload of tool calls while they are relayed: it must be quick, and may not raise.

    With `sees_answers` it is shown what servers answer, too.
    """

    sees_answers: bool

    def arguments(self, raw: msgspec.Raw | bytes) -> Noted:
        """What to note of the arguments, which are raw JSON, or empty where there are none."""
        ...

    def answer(self, noted: Noted, raw: msgspec.Raw | bytes) -> Noted:
        """The same, with what to note of the server's result or error. Not called where it gave none."""
        ...


class RequestFinished(Event, frozen=True):
    """A request that was passed on to a server ended, exactly once for each. Never carries arguments or results.

    `client` is the name that the client gave at `initialize`; `session` its id; `request_id` the
    client's own id as JSON. `tool` is the server's own name for it. Where no tool was found it is "", and so is
    `server` unless the name's prefix tells; `name` then is what the client asked for. `bytes_in` counts the
    request's line, `bytes_out` the answer's. `reason` says why we failed it, or that its server did, with the code of
    its error. For other methods than `tools/call`, `tool` is what they ask for: a prompt's name, a URI, a task's id.
    `noted` is what an `Inspector` made of the payload, where there is one; `trace` its spans, where it is sampled;
    `waited` are the seconds for which it waited for its server, if it had to. `front` and `peer` are how and from where
    it came, as far as that is known.
    """

    client: str
    session: str
    request_id: str
    server: str
    tool: str
    outcome: Outcome
    seconds: float
    bytes_in: int
    bytes_out: int
    name: str = ""
    reason: str = ""
    method: str = "tools/call"
    delivered: Delivery = "yes"
    noted: Noted | None = None
    trace: Trace | None = None
    waited: float | None = None
    front: str = ""
    peer: str = ""


class CallFinished(RequestFinished, frozen=True):
    """The same of a `tools/call`: what this is all about has a kind of its own."""


class QuestionFinished(Event, frozen=True):
    """A request of a server to a client ended, or was refused (`session` "" where no client was asked).

    `request_id` is the server's own id as JSON, `trace` its spans, where it is sampled.
    """

    server: str
    session: str
    method: str
    outcome: Literal["ok", "error", "refused", "timeout", "cancelled"]
    seconds: float
    reason: str = ""
    request_id: str = ""
    trace: Trace | None = None


class NotificationsDropped(Event, frozen=True):
    """A client did not read, so that some notifications of this method will never reach it."""

    session: str
    method: str
    number: int


class ClientConnected(Event, frozen=True):
    """A client finished `initialize`. `protocol` is the negotiated revision.

    `front` is the way that it came, such as "stdio" or "http", and `peer` from where, where the front knows.
    """

    client: str
    version: str
    session: str
    protocol: str
    front: str = ""
    peer: str = ""


class ClientGone(Event, frozen=True):
    """A client's connection ended."""

    client: str
    session: str


class ServerStateChanged(Event, frozen=True):
    """A server moved from one lifecycle state to another.

    `delay` is the time in seconds to the next start where one is planned. `reason` is "" when all is well. `cause` is
    the kind of it, one of a few words: see `ServerError`; or "stopped".
    """

    server: str
    old: str
    new: str
    reason: str = ""
    delay: float | None = None
    cause: str = ""


class ServerRemoved(Event, frozen=True):
    """A server is configured no more, and has ended: nothing else will be told of it, unless it is added again."""

    server: str


class ServerStartFinished(Event, frozen=True):
    """One start of a server ended, well (`outcome` "ok") or not ("failed")."""

    server: str
    outcome: Literal["ok", "failed"]
    seconds: float
    protocol: str = ""
    name: str = ""
    version: str = ""


class CatalogueChanged(Event, frozen=True):
    """One listing of a server changed. `entries` is the number that clients now see of it.

    `kind` is "tools", "prompts", "resources" or "templates".
    """

    server: str
    entries: int
    added: int
    removed: int
    kind: str = "tools"


class ListingRecalled(Event, frozen=True):
    """A client came, and it was looked up whether an earlier session had listed this server for such a client.

    `age` is that of what was found, in seconds; `reason` why it could not be read.
    """

    server: str
    outcome: Literal["hit", "miss", "unreadable"]
    age: float | None = None
    reason: str = ""


class ListingRefreshed(Event, frozen=True):
    """What was remembered of a server had become old, and the server was asked anew, in the background."""

    server: str
    outcome: Literal["ok", "failed"]


class ServerOutput(Event, frozen=True):
    """A line that a server printed: on stderr, or on stdout without being a message."""

    server: str
    stream: Literal["stderr", "stdout"]
    text: str


class Notice(Event, frozen=True):
    """Something that an operator should read and that has no fact of its own. `server` may be ""."""

    level: Literal["debug", "info", "warning", "error"]
    text: str
    server: str = ""


Emit = Callable[[Event], None]


class Observer(Protocol):
    """Whoever listens. `at` is the event's Unix time; without it the event is of now."""

    def __call__(self, event: Event, at: float | None = None) -> None: ...


class ObserverOfCalls(Observer, Protocol):
    """One that takes tool calls together: many end in one turn, and most of what a few cost one alone costs too."""

    def take_calls(self, calls: Sequence[CallFinished], at: float) -> None:
        """These ended one after the other, at this Unix time."""
        ...


class Bus:
    """Carries events from the core to observers. It is an `Emit`.

    What happens before `open` is kept and told then, with its time: observers are costly to import, so they come after
    the servers have been started. An observer that raises misses what it was told then; telemetry never stops work.

    Events are told a moment later, through `defer` (a loop's `call_soon`): a call's answer leaves first, and is logged
    then. Tool calls that ended in one turn are told together to who takes them so. `flush` tells at once, for the end.
    `clock` gives Unix time.
    """

    def __init__(self, clock: Callable[[], float], defer: Callable[[Callable[[], None]], object]) -> None:
        self._clock = clock
        self._defer = defer
        self._observers: tuple[Observer, ...] = ()
        self._of_calls: tuple[Callable[[Sequence[CallFinished], float], None], ...] = ()
        self._is_open = False
        self._early: list[tuple[float, Event]] = []
        self._waiting: list[Event] = []
        self._failing: list[object] = []

    def __call__(self, event: Event) -> None:
        if not self._is_open:
            self._early.append((self._clock(), event))
            return
        if not self._waiting:
            self._defer(self.flush)
        self._waiting.append(event)

    def open(self, *observers: Observer) -> None:
        """Tell these from now on, and first what has happened so far."""
        self._observers = observers
        self._of_calls = tuple(getattr(one, "take_calls", None) or self._one_by_one(one) for one in observers)
        self._is_open = True
        early, self._early = self._early, []
        for at, event in early:
            self._tell(self._observers, event, at)

    def flush(self) -> None:
        """Tell what waits."""
        waiting, self._waiting = self._waiting, []
        at = self._clock()
        for kind, events in groupby(waiting, type):
            if kind is CallFinished:
                self._tell(self._of_calls, cast(list[CallFinished], list(events)), at)
            else:
                for event in events:
                    self._tell(self._observers, event, at)

    def _tell(self, observers: Sequence[Callable[[T, float], None]], told: T, at: float) -> None:
        for observer in observers:
            try:
                observer(told, at)
            except Exception:
                # No log here: the log may be what fails. Python's own hook shows it on stderr, which nobody may read:
                # once, as what fails for one event mostly does for each.
                if observer not in self._failing:
                    self._failing.append(observer)
                    sys.excepthook(*sys.exc_info())

    def _one_by_one(self, observer: Observer) -> Callable[[Sequence[CallFinished], float], None]:
        def tell(calls: Sequence[CallFinished], at: float) -> None:
            for call in calls:
                self._tell((observer,), call, at)

        return tell
