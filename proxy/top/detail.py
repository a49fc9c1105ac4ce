"""All that is known of one server: figures, how its state changed, its last error, its calls, and what it prints."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import RichLog, Static

from ..control import client
from ..control.client import NoAnswer, Tail
from ..overview import ServerRow
from ..status import Step
from ..texts import clean
from . import figures
from .machine import Seen
from .rows import now, plain

_STEPS = 12
_CALLS = 5
_CURVE = 48
_LABEL = 11


class Detail(Vertical):
    """Shows one server at a time, whichever `look_at` names."""

    DEFAULT_CSS = """
    Detail { height: 1fr; }
    Detail VerticalScroll { height: auto; max-height: 60%; padding: 0 1; }
    Detail RichLog { height: 1fr; min-height: 3; border-top: solid $primary; padding: 0 1; }
    """

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._seen: Seen | None = None
        self._key = ""
        self._steps: list[Step] = []
        self._line = 0
        self._pid: int | None = None

    def compose(self) -> ComposeResult:
        """What it is made of."""
        with VerticalScroll(can_focus=False):
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
    """A server in words and figures, a line for each."""
    moment = now()
    sign, style = figures.sign(row.state)
    text = Text()

    def line(label: str, *parts: Text | str) -> None:
        text.append(f"{label:<{_LABEL}}", style="dim")
        for part in parts:
            text.append_text(part) if isinstance(part, Text) else text.append(part)
        text.append("\n")

    text.append_text(plain(row.key, "bold")).append("  ").append(sign, style=style)
    text.append(f" for {figures.age(moment - row.since)}", style="dim").append("\n")
    if row.reason:
        line("because", plain(row.reason))
    if row.next_start is not None:
        line("next start", f"in {figures.age(row.next_start - moment)}")
    line("server", plain(f"{row.name} {row.version}".strip() or "not known yet"), f", {row.transport} {row.protocol}")
    line("process", f"pid {row.pid or '-'}, {figures.size(seen.memories.get(row.key))} with all it started")
    counts = f"{row.tools} tools, {row.prompts} prompts, {row.resources} resources"
    took = f"; the last took {figures.duration(row.start_seconds)}" if row.start_seconds is not None else ""
    line("offers", counts)
    line("starts", f"{row.starts}{took}")
    line("calls", f"{row.calls}, {row.failures} failed; {figures.rate(row.rate)} a second")
    line("takes", f"p50 {figures.duration(row.p50)}, p99 {figures.duration(row.p99)}")
    line("last 4 min", Text(figures.bars(row.spark, _CURVE), style="cyan"))
    running = [call for call in seen.under_way if call.server == row.key]
    for call in sorted(running, key=lambda one: one.started)[:_CALLS]:
        what = "waits" if call.waits else "runs"
        line("under way", plain(call.tool or call.method, "bold"), f" {what} for {figures.age(moment - call.started)}")
    if len(running) > _CALLS:
        line("", f"and {len(running) - _CALLS} more")
    if row.last_error is not None:
        ago = figures.age(moment - row.last_error.at)
        line("last error", plain(row.last_error.text, "red"), Text(f", {ago} ago", style="dim"))
    for at, step in enumerate(steps[:_STEPS]):
        what, colour = figures.sign(step.new)
        why = Text(": ").append_text(plain(step.reason)) if step.reason else ""
        line("" if at else "states", Text(f"{figures.clock(step.at)} ", style="dim"), Text(what, style=colour), why)
    text.right_crop(1)
    return text
