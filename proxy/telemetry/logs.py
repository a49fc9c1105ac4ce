"""Events -> log lines: one for each call, start, list change and line that a server prints.

Of arguments and results a line has what an `Inspector` noted, which by default is nothing.

Made with structlog, encoded by msgspec, and written by a LogSink, which this module also exports.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..events import (
    CallFinished,
    CatalogueChanged,
    ClientConnected,
    ClientGone,
    Event,
    ListingRecalled,
    ListingRefreshed,
    Notice,
    NotificationsDropped,
    QuestionFinished,
    RequestFinished,
    ServerOutput,
    ServerRemoved,
    ServerStartFinished,
    ServerStateChanged,
)
from .lines import Fields, Render, console, of_calls, to_json, without_secrets
from .redact import Redactor
from .sink import LogSink, open_sink
from .timestamp import milliseconds, timestamp

_RICH: Final = ("rich", "rich.console", "rich.pretty", "rich.traceback")


@contextlib.contextmanager
def _without_rich() -> Iterator[None]:
    """Let structlog be imported without rich, which costs 40 ms and 5 MB that an MCP server's start has no use for.

    structlog imports it where it is installed, for tracebacks in colour that are not used here. It finds an empty
    stand-in, which is gone afterwards.
    """
    stand_ins = {name: types.ModuleType(name) for name in _RICH}
    stand_ins["rich"].__dict__["pretty"] = stand_ins["rich.pretty"]
    stand_ins["rich.console"].__dict__["Console"] = object
    stand_ins["rich.traceback"].__dict__["Traceback"] = object
    missing = {name: module for name, module in stand_ins.items() if "rich" not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


with _without_rich():
    import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ..config.models import LogLevel, LogSettings

__all__ = ["LogObserver", "LogSink", "build_logs", "open_sink"]

RATE: Final = 20.0
BURST: Final = 100.0
"""Lines of one server's output: this many at once, then RATE a second."""

# What is known by its class; anything else is logged under its class's name.
_NAMES: Final[Mapping[type[Event], str]] = {
    CallFinished: "call",
    RequestFinished: "request",
    QuestionFinished: "question",
    NotificationsDropped: "notifications_dropped",
    ClientConnected: "client_connected",
    ClientGone: "client_gone",
    ServerStateChanged: "server_state",
    ServerStartFinished: "server_start",
    CatalogueChanged: "catalogue",
    ListingRecalled: "recalled",
    ListingRefreshed: "refreshed",
    ServerOutput: "server_output",
    ServerRemoved: "server_removed",
    Notice: "notice",
}


class LogObserver:
    """Takes events and makes lines of them. Made by `build_logs`."""

    def __init__(
        self,
        logger: FilteringBoundLogger,
        clock: Callable[[], float],
        levels: Levels,
        write_calls: Callable[[Sequence[CallFinished], float], None],
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._levels = levels
        self._write_calls = write_calls
        self._buckets: dict[str, _Bucket] = {}
        self.left_out: Counter[str] = Counter()
        """Lines of each server that were printed too fast to be logged, all since the start."""
        self._owing: set[str] = set()
        """Servers of which lines were left out that no line has told of yet."""
        self._reasons: dict[str, str] = {}
        """Why servers are away, as far as it has been told."""

    def __call__(self, event: Event, at: float | None = None) -> None:
        """Log one event. `at` is when it happened, in Unix seconds, where that was not just now."""
        if at is None:
            at = time.time()
        if type(event) is CallFinished:
            self.take_calls((event,), at)
            return
        if type(event) is ServerRemoved:
            self._forget(event.server, at)
        if _NUMBERS[level := self._level(event)] >= self._levels.of(getattr(event, "server", "")) and (
            type(event) is not ServerOutput or self._allows(event.server, at)
        ):
            self._write(event, level, at)
        if self._owing:
            self._settle(at)

    def take_calls(self, calls: Sequence[CallFinished], at: float) -> None:
        """Log tool calls that ended together."""
        levels = self._levels
        if levels.differ:
            calls = [call for call in calls if levels.of(call.server) <= _INFO]
        elif levels.least > _INFO:
            calls = ()
        if calls:
            self._write_calls(calls, at)
        if self._owing:
            self._settle(at)

    def _forget(self, server: str, at: float) -> None:
        if server in self._owing:
            self._tell(server, self._buckets[server], at)
        for table in (self._buckets, self.left_out, self._reasons):
            table.pop(server, None)

    def log(self, level: LogLevel, event: str, **fields: str | float | None) -> None:
        """A line that is no event of the proxy, such as a library's own log. From any thread."""
        if _NUMBERS[level] >= self._levels.least:
            getattr(self._logger, level)(event, time=time.time(), **_told(fields))

    def finish(self) -> None:
        """Tell what is still owed. The sink calls it when it closes."""
        self._settle(time.time(), last=True)

    def _level(self, event: Event) -> LogLevel:
        level = _level(event)
        if type(event) is ServerStateChanged:
            if event.new in ("ready", "stopped"):
                self._reasons.pop(event.server, None)
            elif level == "warning":
                if self._reasons.get(event.server) == event.reason:
                    return "debug"  # it was told, and is still so
                self._reasons[event.server] = event.reason
        return level

    def _write(self, event: Event, level: LogLevel, at: float) -> None:
        fields = msgspec.structs.asdict(event)
        if (trace := fields.pop("trace", None)) is not None:
            fields["trace_id"] = trace.trace_id
        if isinstance(event, RequestFinished):
            del fields["noted"], fields["front"], fields["peer"]  # the last two are told once for each session
            if event.outcome == "ok":
                del fields["delivered"]
            if event.waited is not None:
                fields["waited_ms"] = milliseconds(fields.pop("waited"))
        if "seconds" in fields:
            fields["ms"] = milliseconds(fields.pop("seconds"))
        for name in ("delay", "age"):
            if fields.get(name) is not None:
                fields[name] = round(fields[name], 3)
        fields.pop("level", None)
        name = _NAMES.get(type(event)) or _snake_case(type(event).__name__)
        getattr(self._logger, level)(name, time=at, **_told(fields))

    def _allows(self, server: str, at: float) -> bool:
        bucket = self._buckets.get(server)
        if bucket is None:
            bucket = self._buckets[server] = _Bucket(self._clock())
        now = self._clock()
        if bucket.left_out and bucket.open(now):
            self._tell(server, bucket, at)
        if bucket.take(now):
            return True
        self._owing.add(server)
        self.left_out[server] += 1
        return False

    def _settle(self, at: float, *, last: bool = False) -> None:
        now = self._clock()
        for server in sorted(self._owing):
            bucket = self._buckets[server]
            if last or bucket.open(now):
                self._tell(server, bucket, at)

    def _tell(self, server: str, bucket: _Bucket, at: float) -> None:
        self._owing.discard(server)
        self._logger.info("server_output_left_out", time=at, server=server, lines=bucket.left_out)
        bucket.left_out = 0


class Levels:
    """The least that is written, as structlog counts: `least` of what is about no server, `lowest` of all."""

    def __init__(self, settings: LogSettings) -> None:
        self.least = _NUMBERS[settings.level]
        self._servers = {server: _NUMBERS[level] for server, level in settings.levels.items()}
        self.lowest = min(self.least, *self._servers.values(), _NUMBERS["error"])
        self.differ = bool(self._servers)

    def of(self, server: str) -> int:
        """That of what is about this one."""
        return self._servers.get(server, self.least)


class _Bucket:
    """A token bucket which, once empty, stays shut for a second, so that a flood is told of once a second."""

    __slots__ = ("_since", "_tokens", "left_out")

    def __init__(self, now: float) -> None:
        self._since = now
        self._tokens = BURST
        self.left_out = 0

    def open(self, now: float) -> bool:
        self._tokens = min(BURST, self._tokens + (now - self._since) * RATE)
        self._since = now
        return self._tokens >= (RATE if self.left_out else 1)

    def take(self, now: float) -> bool:
        if self.open(now):
            self._tokens -= 1
            return True
        self.left_out += 1
        return False


def build_logs(
    settings: LogSettings,
    *,
    sink: LogSink,
    redactor: Redactor | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LogObserver:
    """The observer that writes to `sink`. `redactor` sees every text; without one, none is a secret.

    `clock` (seconds) paces what is rate-limited.
    """
    redact = redactor or Redactor()
    payloads = settings.payloads is not False
    render: Render = to_json if settings.format == "json" else console(colours=sink.is_terminal)
    sink.describe_dropped = lambda lines: render(
        [{"time": timestamp(time.time()), "level": "warning", "event": "log_lines_dropped", "lines": lines}]
    )

    def finish(_: object, level: str, fields: Fields) -> bytes:
        # The one place that each line passes but those of calls, so that no field is forgotten.
        for key, value in fields.items():
            if type(value) is str:
                fields[key] = redact(value)
            elif type(value) is dict:
                fields[key] = without_secrets(value, redact)
        fields["time"] = timestamp(fields["time"])
        fields["level"] = level
        return render([fields])

    sink.describe_problem = lambda reason: render(
        [{"time": timestamp(time.time()), "level": "warning", "event": "log_not_rotated", "reason": redact(reason)}]
    )

    def write_calls(calls: Sequence[CallFinished], at: float) -> None:
        sink.write(render(of_calls(calls, at, redact, payloads=payloads)))

    levels = Levels(settings)
    logger = structlog.wrap_logger(
        _Lines(sink),
        processors=[finish],
        wrapper_class=structlog.make_filtering_bound_logger(levels.lowest),
        context_class=dict,
        # Placeholders: a dict keeps its order, and these come first on each line.
        time=0.0,
        level="",
        event="",
    )
    observer = LogObserver(logger.bind(), clock, levels, write_calls)
    sink.before_close = observer.finish
    return observer


class _Lines:
    """What structlog calls a logger: takes the finished line under any level's name."""

    def __init__(self, sink: LogSink) -> None:
        self.debug = self.info = self.warning = self.error = sink.write


# -- levels and fields

_NUMBERS: Final[Mapping[LogLevel, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_INFO: Final = _NUMBERS["info"]


def _level(event: Event) -> LogLevel:
    if isinstance(event, Notice):
        return event.level
    if isinstance(event, ServerStateChanged):
        if event.new == "failed":
            return "error"
        if event.new in ("ready", "stopped", "idle"):
            return "info"
        return "warning" if event.reason else "debug"
    if isinstance(event, RequestFinished):
        return "debug"
    if isinstance(event, ListingRecalled):
        return "warning" if event.reason else "debug"
    if isinstance(event, NotificationsDropped):
        return "warning"
    if isinstance(event, ServerStartFinished):
        return "info" if event.outcome == "ok" else "debug"  # the state that follows says why
    return "info"


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {key: value for key, value in fields.items() if value is not None and value != ""}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
