"""What comes up over the tables: one server, a log, a question, the keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, RichLog, Static

from ..status import Call
from .detail import Detail, call_facts
from .follow import Follower
from .machine import Seen
from .rows import plain

_READ: Final = 0.3
_MOST_LINES: Final = 5000

Reader = Callable[[bytes], str]
"""Makes a line of the log readable: with colours as a terminal wants them, and nothing else that acts on one."""

KEYS: Final = """\
[b]↑ ↓[/b]      move            [b]Tab[/b]   to the next table
[b]Enter[/b]    on a server, or a call: all that is known of it
[b]r[/b]        restart the server under the cursor; it asks first
[b]l[/b]        follow the log of the server's process
[b]f[/b]        only calls that failed; again: all
[b]/[/b]        only servers and calls with these words; Esc: all
[b]s[/b]        sort by the next column; a click on a heading sorts by that
[b]q[/b]        quit            [b]?[/b]     these keys

[b]SERVERS[/b]  3/5: three of five run. !3/5: and one of the others failed.
[b]STATE[/b]    ● ready  ◐ starting  ○ asleep (known, not needed)
         ↻ backoff (failed, is tried again)  ✖ failed  ■ stopped
[b]RUN[/b]      calls with the server, and behind + those that wait for it
[b]P50 P99[/b]  what half, and nearly all, of its last 500 calls took at most
[b]MEMORY[/b]   resident, with all that the process started\
"""


class Help(ModalScreen[None]):
    """The keys, until any is pressed."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help Static { width: 80; max-width: 100%; height: auto; padding: 1 2; background: $surface; }
    Help Static { border: round $primary; }
    """

    def compose(self) -> ComposeResult:
        """What it is made of."""
        text = Static(KEYS)
        text.border_title = "keys"
        text.border_subtitle = "any key closes this"
        yield text

    def on_key(self) -> None:
        """Whichever it is."""
        self.dismiss()

    def on_click(self) -> None:
        """The same."""
        self.dismiss()


class Confirm(ModalScreen[bool]):
    """A question that is answered with y or n; not with Enter, which inspects what is below. It is asked as of now."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm Static { width: auto; max-width: 90%; height: auto; padding: 1 2; background: $surface; }
    Confirm Static { border: round $warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: Callable[[], Text]) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """What it is made of."""
        yield Static(self._asked())

    def on_mount(self) -> None:
        """What it is about goes on meanwhile."""
        self.set_interval(0.5, lambda: self.query_one(Static).update(self._asked()))

    def _asked(self) -> Text:
        return Text.assemble(self._question(), "\n\n", ("y", "bold"), " yes    ", ("n", "bold"), " no")

    def action_answer(self, answer: bool) -> None:
        """It was answered."""
        self.dismiss(answer)


class Ended(ModalScreen[None]):
    """One call that has ended, in full."""

    DEFAULT_CSS = """
    Ended { align: center middle; }
    Ended Static { width: auto; max-width: 100%; height: auto; max-height: 100%; padding: 1 2; background: $surface; }
    Ended Static { border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "app.pop_screen", "back")]

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def compose(self) -> ComposeResult:
        """What it is made of."""
        text = Static(call_facts(self._call))
        text.border_title = "call"
        text.border_subtitle = "Esc closes this"
        yield text


class Inspect(Screen[None]):
    """One server, over the whole terminal."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "app.pop_screen", "back"),
        Binding("r", "app.restart", "restart"),
        Binding("l", "app.log", "log"),
    ]

    def __init__(self, seen: Seen, key: str) -> None:
        super().__init__()
        self.seen = seen
        self.key = key

    def compose(self) -> ComposeResult:
        """What it is made of."""
        yield Detail("inspected", reached=True)
        yield Footer()

    def on_mount(self) -> None:
        """Show what is known, and keep asking."""
        detail = self.query_one(Detail)
        detail.look_at(self.seen, self.key)
        detail.query_one(RichLog).focus()
        self.set_interval(0.5, detail.paint)
        self.set_interval(0.5, self._read)
        self._read()

    def _read(self) -> None:
        self.query_one(Detail).read()


class LogScreen(Screen[None]):
    """The log of a process, as it grows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,l", "app.pop_screen", "back"),
        Binding("end", "to_end", "follow again"),
    ]
    DEFAULT_CSS = """
    LogScreen RichLog { height: 1fr; border-top: solid $primary; padding: 0 1; }
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        super().__init__()
        self._follower = Follower(path)
        self._reader = reader
        self._problem = ""

    def compose(self) -> ComposeResult:
        """What it is made of."""
        log = RichLog(id="log", wrap=True, max_lines=_MOST_LINES, min_width=20)
        log.border_title = plain(str(self._follower.path))  # which, as a string, would be taken for markup
        with Vertical():
            yield log
        yield Footer()

    def on_mount(self) -> None:
        """Begin with its end."""
        self.query_one(RichLog).focus()
        self.set_interval(_READ, self._read)
        self._read()

    def on_unmount(self) -> None:
        """Let go of the file."""
        self._follower.close()

    def action_to_end(self) -> None:
        """Back to where it grows."""
        self.query_one(RichLog).scroll_end(animate=False)

    def _read(self) -> None:
        log = self.query_one(RichLog)
        try:
            lines = self._follower.lines()
            problem = "" if self._follower.is_there else "there is no such file yet; it is waited for"
        except OSError as error:
            lines, problem = [], f"it can't be read: {error.strerror or error}"
        if problem and problem != self._problem:
            log.write(plain(problem, "yellow"))
        self._problem = problem
        follows = log.is_vertical_scroll_end
        for line in lines:
            log.write(Text.from_ansi(self._reader(line)), scroll_end=follows)
