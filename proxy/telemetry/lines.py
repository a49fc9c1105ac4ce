"""What the lines of the log look like: the line of a call, and every line's bytes, for programs or for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ..events import CallFinished, Noted
from .redact import Redactor
from .timestamp import milliseconds, timestamp

Fields = MutableMapping[str, Any]


class CallLine(msgspec.Struct):
    """A `call`, its keys in the order of the line; made by `of_calls`. There is one for each call, so that it has a
    shape of its own: by way of structlog it would cost 4 us more.
    """

    time: str
    level: str
    event: str
    client: str
    session: str
    request_id: str
    server: str
    tool: str
    outcome: str
    ms: float
    bytes_in: int
    bytes_out: int
    name: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    delivered: str | UnsetType = UNSET
    waited_ms: float | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET
    argument_bytes: dict[str, int] | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    result: str | UnsetType = UNSET


def of_calls(calls: Sequence[CallFinished], at: float, redact: Redactor, *, payloads: bool) -> list[CallLine]:
    """Their lines, without secrets; `at` is when they ended, in Unix seconds. With `payloads` they have what was noted
    of those, which the audit may need alone.
    """
    time, shown, number = timestamp(at), redact.shown, redact.number
    lines = []
    for call in calls:
        line = CallLine(
            time,
            "info",
            "call",
            shown[call.client],
            shown[call.session],
            number(call.request_id),
            shown[call.server],
            shown[call.tool],
            call.outcome,
            milliseconds(call.seconds),
            call.bytes_in,
            call.bytes_out,
        )
        if call.outcome != "ok":
            line.name = redact(call.name) or UNSET
            line.reason = redact(call.reason) or UNSET
            line.delivered = call.delivered
        if call.waited is not None:
            line.waited_ms = milliseconds(call.waited)
        if call.trace is not None:
            line.trace_id = call.trace.trace_id
        if payloads and call.noted is not None:
            _add_payload(line, call.noted, redact)
        lines.append(line)
    return lines


def _add_payload(line: CallLine, noted: Noted, redact: Redactor) -> None:
    """What is told of it, if anything is."""
    if noted.sizes is not None:
        line.argument_bytes = without_secrets(noted.sizes, redact)
    line.arguments = redact(noted.arguments) or UNSET
    line.result = redact(noted.result) or UNSET


def without_secrets(sizes: Mapping[str, int], redact: Redactor) -> dict[str, int]:
    """Sizes by name, where a name may be a secret."""
    return {redact(name): size for name, size in sizes.items()}


_encode: Final = msgspec.json.Encoder()

Lines = Sequence[CallLine] | Sequence[Fields]
Render = Callable[[Lines], bytes]


def to_json(lines: Lines) -> bytes:
    """Lines for programs."""
    return _encode.encode_lines(lines)


_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}


def console(*, colours: bool) -> Render:
    """What makes lines for people."""

    def render(line: CallLine | Fields) -> str:
        fields = msgspec.structs.asdict(line) if isinstance(line, CallLine) else dict(line)
        clock, level, event = fields.pop("time")[11:-1], fields.pop("level"), fields.pop("event")
        start, end = (_COLOURS[level], "\x1b[0m") if colours else ("", "")
        pairs = " ".join(f"{key}={_value(value)}" for key, value in fields.items() if value is not UNSET)
        return f"{clock} {start}{level:<7}{end} {event:<16} {pairs}\n"

    return lambda lines: "".join(map(render, lines)).encode()


def _value(value: object) -> str:
    text = str(value)
    # Quoted, a text can't pass for another field or another line.
    return text if text and text.isprintable() and not set(text) & set(' "=') else _encode.encode(text).decode()
