"""All that is known of one server: figures, how its state changed, its last error, its calls, and what it prints."""

from __future__ import annotations

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import RichLog, Static

from ..control import client
from ..control.client import NoAnswer, Tail
from ..overview import ServerRow
from ..status import Call, Step
from ..texts import clean
from . import figures
from .machine import Seen
from .rows import brief, named, now, outcome, plain

_STEPS = 12
_CALLS = 5
_CURVE = 48
_LABEL = 11
_LONGEST_REASON = 1500

# Results are nobody's but the client's: what a server itself said is not known here.
_UNTOLD = {
    "tool_error": "the tool says so in its result, which only its client has, and the log with `log.payloads`",
    "error": "the server answered with an error, which only its client has, and the log with `log.payloads`",
}


class Detail(Vertical):
    """Shows one server at a time, whichever `look_at` names; `reached`: its facts can be scrolled with keys."""

    DEFAULT_CSS = """
    Detail { height: 1fr; }
    Detail VerticalScroll { height: auto; max-height: 60%; padding: 0 1; }
    Detail RichLog { height: 1fr; min-height: 3; border-top: solid $primary; padding: 0 1; }
    """

    def __init__(self, id: str, *, reached: bool = False) -> None:
        super().__init__(id=id)
        self._reached = reached
        self._seen: Seen | None = None
        self._key = ""
        self._steps: list[Step] = []
        self._line = 0
        self._pid: int | None = None

    def compose(self) -> ComposeResult:
        """What it is made of."""
        with VerticalScroll(can_focus=self._reached):
            yield Static(id="facts")
        log = RichLog(id="stderr", wrap=True, max_lines=1000, min_width=20)
        log.border_title = "what it prints"
        yield log

    def look_at(self, seen: Seen | None, key: str) -> None:
        """Show this server of this process, from now on."""
        if (seen, key) != (self._seen, self._key):
            self._seen, self._key, self._steps, self._line = seen, key, [], 0
            self.query_one(RichLog).clear()
        self.paint()

    @property
    def row(self) -> ServerRow | None:
        """The server, if it is still there."""
        rows = self._seen.servers if self._seen is not None else []
        return next((row for row in rows if row.key == self._key), None)

    def paint(self) -> None:
        """Show the figures of now."""
        row = self.row
        if self._seen is None or row is None:
            self.query_one("#facts", Static).update("no server is chosen" if not self._key else "it is gone")
            return
        self.query_one("#facts", Static).update(facts(self._seen, row, self._steps))

    @work(exclusive=True, group="tail")
    async def read(self) -> None:
        """Ask for what it has printed, and how its state changed."""
        seen, key = self._seen, self._key
        if seen is None or not key:
            return
        try:
            tail = await client.tail(seen.card, key, self._line)
        except NoAnswer:
            return  # the process is gone, or hangs, which the tables say
        if (seen, key) == (self._seen, self._key):
            self._take(tail)

    def _take(self, tail: Tail) -> None:
        log = self.query_one(RichLog)
        for line in tail.lines:
            text = Text(f"{figures.clock(line.at)} ", style="dim").append(clean(line.text), style="not dim")
            log.write(text, scroll_end=log.is_vertical_scroll_end)
            self._line = line.number
        if tail.steps != self._steps:
            self._steps = tail.steps
            self.paint()


def facts(seen: Seen, row: ServerRow, steps: list[Step]) -> Text:
    """A server in words and figures, a line for each; first how it is, and what it fails at."""
    sheet, moment = _Sheet(), now()
    sign, style = figures.sign(row.state)
    age = Text(f" for {figures.age(moment - row.since)}", style="dim")
    sheet.text.append_text(plain(row.key, "bold")).append("  ").append(sign, style=style).append_text(age)
    if row.reason:
        sheet.line("because", plain(row.reason, longest=_LONGEST_REASON))
    if row.next_start is not None:
        sheet.line("next start", f"in {figures.age(row.next_start - moment)}")
    _add_calls(sheet, seen, row, moment)
    what = plain(f"{row.name} {row.version}".strip() or "not known yet")
    sheet.line("server", what, f", {row.transport} {row.protocol}".rstrip())
    if row.pid is not None:
        sheet.line("process", f"pid {row.pid}, {figures.size(seen.memories.get(row.key))} with all it started")
    sheet.line("offers", f"{row.tools} tools, {row.prompts} prompts, {row.resources} resources")
    took = f"; the last took {figures.duration(row.start_seconds)}" if row.start_seconds is not None else ""
    sheet.line("starts", f"{row.starts}{took}")
    for at, step in enumerate(steps[:_STEPS]):
        state, colour = figures.sign(step.new)
        reason = brief(step.reason) if step.reason != row.reason or at else ""  # which stands above
        why = Text(": ").append_text(plain(reason)) if reason else ""
        when = Text(f"{figures.clock(step.at)} ", style="dim")
        sheet.line("" if at else "states", when, Text(state, style=colour), why)
    return sheet.text


def _add_calls(sheet: _Sheet, seen: Seen, row: ServerRow, moment: float) -> None:
    running = [call for call in seen.under_way if call.server == row.key]
    for call in sorted(running, key=lambda one: one.started)[:_CALLS]:
        does = "waits" if call.waits else "runs"
        sheet.line("under way", plain(named(call), "bold"), f" {does} for {figures.age(moment - call.started)}")
    if len(running) > _CALLS:
        sheet.line("", f"and {len(running) - _CALLS} more")
    failures = [call for call in seen.failures if call.server == row.key][:_CALLS]
    for at, failed in enumerate(failures):
        when = Text(f"{figures.clock(failed.at)} ", style="dim")
        sheet.line("" if at else "failed", when, plain(named(failed), "bold"), " ", plain(outcome(failed), "red"))
    if row.last_error is not None and row.last_error.text != row.reason and not failures:
        ago = Text(f", {figures.age(moment - row.last_error.at)} ago", style="dim")
        sheet.line("last error", plain(row.last_error.text, "red"), ago)
    if not row.calls:
        return
    sheet.line("calls", f"{row.calls}, {row.failures} failed; {figures.rate(row.rate)} a second")
    sheet.line("takes", f"p50 {figures.duration(row.p50)}, p99 {figures.duration(row.p99)}")
    sheet.line("last 4 min", Text(figures.bars(row.spark, _CURVE), style="cyan"))


class _Sheet:
    """A text of lines that have labels."""

    def __init__(self) -> None:
        self.text = Text()

    def line(self, label: str, *parts: Text | str) -> None:
        self.text.append(f"\n{label:<{_LABEL}}", style="dim")
        for part in parts:
            self.text.append_text(part) if isinstance(part, Text) else self.text.append(part)


def call_facts(call: Call) -> Text:
    """A call that has ended, a line for each of what is known."""
    good = call.outcome == "ok"
    facts = [
        ("call", plain(named(call), "bold")),
        ("server", plain(call.server or "none")),
        ("outcome", Text("✓ ok" if good else "✗ ").append_text(plain("" if good else call.outcome))),
        ("because", plain(call.reason or _UNTOLD.get(call.outcome, ""), "red", _LONGEST_REASON)),
        ("took", Text(figures.duration(call.seconds))),
        ("ended", Text(f"{figures.clock(call.at)}, {figures.age(now() - call.at)} ago")),
        ("size", Text(f"{call.bytes_in} bytes asked, {call.bytes_out} answered")),
        ("client", plain(call.client)),
        ("session", plain(call.session)),
        ("request", plain(call.id)),
    ]
    lines = [Text(f"{label:<{_LABEL}}", style="dim").append_text(text) for label, text in facts if text.plain]
    return Text("\n").join(lines)
