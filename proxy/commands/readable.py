"""A line of the log as people read it: local time, the server, what happened; one event a line, and texts below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from rich.color import ColorSystem
from rich.style import Style

from .. import texts

_WIDEST: Final = 20
_INDENT: Final = " " * 14
_LONGEST_SESSION: Final = 8
_STYLES: Final = {
    name: Style.parse(text)
    for name, text in {
        "time": "dim", "server": "cyan", "debug": "dim", "info": "", "warning": "yellow", "error": "red",
        "good": "green", "bad": "red", "dim": "dim", "name": "bold",
    }.items()
}  # fmt: skip
# Of what a person is not told again, since it stands in its column or in the text.
_KNOWN: Final = frozenset({"time", "level", "event", "server", "session", "client", "request_id"})
_BELOW: Final = ("arguments", "result", "traceback")

Record = Mapping[str, Any]


class Readable:
    """`readable(record)` is a line (or several) without a line feed at the end; colours only with `colours`.

    Says the date, on a line of its own, wherever it changes.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = ColorSystem.STANDARD if colours else None
        self._date = ""
        self._width = 8

    def __call__(self, record: Record) -> str:
        date, clock = _local(record.get("time"))
        server = _text(record, "server")
        self._width = max(self._width, min(len(server), _WIDEST))
        level = _text(record, "level")
        columns = (self._in("time", clock), self._in("server", f"{texts.cut(server, _WIDEST):<{self._width}}"))
        lines = [" ".join((*columns, self._what(record, level if level in _STYLES else "info")))]
        if date and date != self._date:
            self._date = date
            lines.insert(0, self._in("dim", f"-- {date} --"))
        lines += [self._below(name, _text(record, name)) for name in _BELOW if name in record]
        return "\n".join(lines)

    def broken(self, line: bytes) -> str:
        """A line that is none of ours, as it is but for what would act on a terminal."""
        return _one(line.decode(errors="replace"))

    def _in(self, style: str, text: str) -> str:
        return _STYLES[style].render(text, color_system=self._colours) if self._colours is not None else text

    def _below(self, name: str, text: str) -> str:
        lines = text.splitlines() or [""]
        first = [] if name == "traceback" else [f"{name}: {lines.pop(0)}"]
        return "\n".join(self._in("dim", f"{_INDENT}{line}") for line in (*first, *lines))

    def _what(self, record: Record, level: str) -> str:
        event = _text(record, "event") or ("call" if "verdict" in record else "")
        if event in ("call", "request", "question"):
            return self._exchange(record, event)
        teller = _TELLERS.get(event)
        if teller is None:
            return self._in(level, f"{event} {_rest(record)}".rstrip())
        first, *more = teller(record).splitlines() or [""]
        return "\n".join((self._in(level, first), *(self._in("dim", f"{_INDENT}{line}") for line in more)))

    def _exchange(self, record: Record, event: str) -> str:
        """A request that ended, with its time and outcome."""
        tool, method = _text(record, "tool") or _text(record, "name"), _text(record, "method")
        what = {"call": tool, "request": f"{method} {tool}", "question": f"asks {method}"}[event]
        outcome = _text(record, "outcome")
        ms = record.get("ms")
        took = f"{ms:,.1f} ms" if isinstance(ms, int | float) else ""
        parts = [
            self._in("name", f"{what:<28}"),
            self._in("good" if outcome == "ok" else "bad", f"{outcome:<10}"),
            f"{took:>12}",
        ]
        if reason := _one(_text(record, "reason")):
            parts.append(self._in("bad", reason))
        if (delivered := _text(record, "delivered")) in ("no", "maybe"):
            parts.append(self._in("dim", f"(delivered: {delivered})"))
        if isinstance(sizes := record.get("argument_bytes"), dict):
            parts.append(self._in("dim", " ".join(f"{_one(str(name))}:{size}" for name, size in sizes.items())))
        parts.append(self._in("dim", _whose(record)))
        return " ".join(part for part in parts if part).rstrip()


def _whose(record: Record) -> str:
    """Of which client a request is, in short."""
    id, session = _text(record, "request_id"), _text(record, "session")
    words = [f"#{id}" if id else "", _text(record, "client"), session[:_LONGEST_SESSION]]
    return " ".join(word for word in words if word)


def _state(record: Record) -> str:
    text = f"{_text(record, 'old')} -> {_text(record, 'new')}"
    if reason := _text(record, "reason"):
        text += f": {reason}"
    delay = record.get("delay")
    return f"{text}; again in {delay:g} s" if isinstance(delay, int | float) else text


def _start(record: Record) -> str:
    ms = record.get("ms")
    took = f"{ms:,.0f} ms" if isinstance(ms, int | float) else "?"
    if record.get("outcome") != "ok":
        return f"did not start ({took})"
    who = " ".join(filter(None, (_text(record, "name"), _text(record, "version"), _text(record, "protocol"))))
    return f"started in {took}" + (f": {who}" if who else "")


def _catalogue(record: Record) -> str:
    kind = _text(record, "kind") or "tools"
    return f"{kind}: {record.get('entries')} (+{record.get('added')} -{record.get('removed')})"


def _connected(record: Record) -> str:
    about = ", ".join(filter(None, (_text(record, name) for name in ("protocol", "front", "peer"))))
    return f"{_text(record, 'client')} {_text(record, 'version')} connected ({about}) {_text(record, 'session')}"


def _gone(record: Record) -> str:
    return f"{_text(record, 'client') or 'a client'} is gone {_text(record, 'session')}"


def _output(record: Record) -> str:
    mark = "!" if record.get("stream") == "stdout" else "|"
    return f"{mark} {_text(record, 'text')}"


def _library(record: Record) -> str:
    return f"{_text(record, 'logger')}: {_text(record, 'text')}"


_TELLERS: Final[Mapping[str, Callable[[Record], str]]] = {
    "server_state": _state,
    "server_start": _start,
    "catalogue": _catalogue,
    "client_connected": _connected,
    "client_gone": _gone,
    "server_output": _output,
    "server_output_left_out": lambda record: f"| ({_text(record, 'lines')} more lines, too many for the log)",
    "notice": lambda record: _text(record, "text"),
    "log": _library,
}


def _rest(record: Record) -> str:
    return " ".join(
        f"{_one(str(name))}={_one(str(value))}"
        for name, value in record.items()
        if name not in _KNOWN and name not in _BELOW
    )


def _text(record: Record, name: str) -> str:
    """A member as a text that can be printed; "" if it is not there."""
    value = record.get(name)
    return texts.printable(texts.clean(str(value))).replace("\t", "    ") if value is not None else ""


def _one(text: str) -> str:
    return " ".join(texts.printable(texts.clean(text)).split("\n"))


def _local(time: object) -> tuple[str, str]:
    """The date and the time of day here; what is no time is shown as nothing."""
    try:
        at = datetime.fromisoformat(str(time)).astimezone()
    except (ValueError, OverflowError):
        return "", " " * 12
    return at.strftime("%Y-%m-%d"), f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
