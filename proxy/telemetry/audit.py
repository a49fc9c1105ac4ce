"""Events -> the audit: a file with one row for each tool call, which nobody here ever moves or cuts.

A row is written to the system a moment after its call ended, and at the end of the proxy. It is not forced to the
disk: what was written survives the proxy, however that ends, but perhaps not a loss of power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ..events import CallFinished, Event, Notice
from .sink import LogSink
from .timestamp import milliseconds, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config.models import AuditSettings
    from ..events import Emit
    from .redact import Redactor


class Row(msgspec.Struct, omit_defaults=True):
    """One call. `verdict` is "refused" where it was given to no server, and `reason` then says why.

    `front` and `peer` are how and from where the client came, as far as that is known. `name` is what was asked for
    where it is no tool. `arguments_sha256` is taken over the bytes of `arguments` as the client sent them.
    """

    time: str
    client: str
    session: str
    request_id: str
    server: str
    tool: str
    verdict: str
    outcome: str
    delivered: str
    ms: float
    arguments_sha256: str = ""
    name: str = ""
    reason: str = ""
    front: str = ""
    peer: str = ""


_encode: Final = msgspec.json.Encoder()


class Audit:
    """Takes events and writes rows to `sink`. `redact` sees every text of others'."""

    def __init__(self, sink: LogSink, redact: Redactor, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._redact = redact
        self._clock = clock
        sink.describe_dropped = self._missing

    def __call__(self, event: Event, at: float | None = None) -> None:
        """Write the row of a call that ended at `at`, in Unix seconds, or just now."""
        if type(event) is CallFinished:
            self.take_calls((event,), self._clock() if at is None else at)

    def take_calls(self, calls: Sequence[CallFinished], at: float) -> None:
        """Write the rows of calls that ended together."""
        time, shown, number = timestamp(at), self._redact.shown, self._redact.number
        rows = [
            Row(
                time,
                shown[call.client],
                shown[call.session],
                number(call.request_id),
                shown[call.server],
                shown[call.tool],
                "refused" if call.delivered == "no" and call.outcome != "cancelled" else "allowed",
                call.outcome,
                call.delivered,
                milliseconds(call.seconds),
                call.noted.digest if call.noted is not None else "",
                shown[call.name],
                shown[call.reason],
                call.front,
                call.peer,
            )
            for call in calls
        ]
        self._sink.write(_encode.encode_lines(rows))

    def _missing(self, rows: int) -> bytes:
        row = {"time": timestamp(self._clock()), "event": "rows_missing", "rows": rows}
        return _encode.encode_lines([row])


def open_audit(
    settings: AuditSettings, redact: Redactor, emit: Emit, clock: Callable[[], float]
) -> tuple[Audit, Callable[[], None]] | None:
    """The audit that the settings name, and what closes it; None where there is none.

    Where rows can't be written that is told once, as an error, and calls go on: how many are missing is in the file as
    soon as it can be written again.
    """
    file = settings.file
    if file is None:
        return None
    try:
        sink = LogSink(file)
    except OSError as problem:
        emit(Notice("error", f"no audit: {file}: {problem.strerror or problem}"))
        return None
    told = set[str]()

    def failed(problem: OSError) -> None:
        reason = problem.strerror or str(problem)
        if reason not in told:
            told.add(reason)
            emit(Notice("error", f"rows are missing in the audit {file}: {reason}"))

    sink.failed = failed
    return Audit(sink, redact, clock), sink.close
