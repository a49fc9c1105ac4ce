"""The view itself: processes, their servers, and their calls, as they are."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Input, Static

from .. import __version__
from ..control import place
from ..overview import ServerRow
from . import attention, figures, rows
from .detail import Detail
from .grid import Grid
from .machine import DOWN, Machine, Seen
from .restart import question, restarted
from .rows import WIDE, matches, plain
from .screens import Confirm, Ended, Help, Inspect, LogScreen, Reader

TICK = 0.25
"""Seconds between two looks at whether there is something new to show."""

BESIDE = 140
"""Columns of a terminal from which on what is known of a server stands beside the table."""

LOW = 15
"""Lines of a terminal below which calls are not shown."""

FLAT = 9
"""Lines of a terminal below which nothing is shown but servers."""

_AGES = 4
"""Ticks after which ages are shown anew."""

_ALL = "all"
_OF_TABLES = {"failed", "filter", "help", "log", "no_filter", "quit", "restart", "sort"}
_MOST_CALLS = 100
_MOST_TROUBLES = 4

_NOBODY = """\
[b]No proxy is running.[/b]

A client starts one by itself, once it is listed there:
  claude mcp add hub -- mcp-manifold run --config /path/config.json
or start one for many clients:
  mcp-manifold serve --config /path/config.json

It is shown here within a second. This looks in
  $directory
so a proxy whose file has another `stateDir` is found with --config FILE,
and one with `"control": false` is not found.\
"""


Kind = TypeVar("Kind", bound=Widget)


class Top(App[None]):
    """Shows the proxies of a state directory until it is told to quit. `readable` makes what shows one log's lines."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "mcp-manifold top"
    CSS_PATH = "top.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "restart", "restart"),
        Binding("l", "log", "log"),
        Binding("f", "failed", "failed"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("s", "sort", "sort"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
        Binding("escape", "no_filter", "all", show=False),
        Binding("ctrl+c", "exit", show=False, priority=True, system=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True, system=True),
    ]

    def __init__(self, state: Path, readable: Callable[[], Reader]) -> None:
        super().__init__()
        self._readable = readable
        if "TEXTUAL_THEME" not in os.environ:
            self.theme = "tokyo-night"
        self.machine = Machine(state, self._changed)
        self._is_new = True
        self._ticks = 0
        self._sort = ""
        self._filter = ""
        self._failed = False

    def compose(self) -> ComposeResult:
        """What it is made of."""
        yield Static(id="summary")
        yield Static(Content.from_markup(_NOBODY, directory=str(place.directory(self.machine.state))), id="nobody")
        yield Static(id="trouble")
        yield Grid("processes")
        with Horizontal(id="middle"):
            yield Grid("servers")
            yield Detail("detail")
        yield Grid("calls", header=False, keeps_row=False)
        yield Input(placeholder="words; Enter keeps them, Esc shows all", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        if not self.is_headless:  # else the terminal would stay as it is now
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.query_one("#middle").border_title = "servers"
        self.query_one("#calls").border_title = "calls"
        self.query_one("#servers").focus()
        self.run_worker(self.machine.run(), exit_on_error=True)
        self.set_interval(TICK, self._tick)
        self.set_interval(2 * TICK, self._read_detail)

    def on_resize(self) -> None:
        """Columns are made for a width."""
        self._is_new = True

    # What is shown

    def _changed(self) -> None:
        self._is_new = True

    def _tick(self) -> None:
        if not self.is_running:
            return  # it is being left, and its parts go one by one
        self._ticks += 1
        if self._is_new or self._ticks % _AGES == 0:
            self._is_new = False
            self.paint()

    def paint(self) -> None:
        """Show what is known now."""
        screen = self.screen_stack[0]
        processes = self.machine.processes
        screen.set_class(not processes, "-nobody")
        screen.set_class(self.size.width >= BESIDE, "-wide")
        screen.set_class(self.size.height < LOW, "-low")
        screen.set_class(self.size.height < FLAT, "-flat")
        with self.batch_update():
            self._paint_summary(processes)
            self._paint_trouble(processes)
            self._paint_processes(processes)
            self._paint_servers()
            self._paint_calls()
        self._paint_detail()
        if self.focused is None and len(self.screen_stack) == 1:
            self._grid("servers").focus()  # it has no focus to keep while there is nothing to show

    def _paint_summary(self, processes: list[Seen]) -> None:
        servers = [row for seen in processes for row in seen.servers]
        bad = sum(row.state in DOWN for row in servers)
        text = Text.assemble(
            (" mcp-manifold ", "bold reverse"),
            f" {__version__}   " if self.size.width >= WIDE else "   ",
            (f"{len(processes)}", "bold"),
            f" {'process' if len(processes) == 1 else 'processes'}   ",
            (f"{len(servers)}", "bold"),
            (" server" if len(servers) == 1 else " servers") + (", " if bad else "   "),
            (f"{bad} failing   " if bad else "", "bold red"),
            (f"{sum(seen.rate for seen in processes):.1f}", "bold"),
            " calls/s   ",
            (figures.size(sum(seen.memory or 0 for seen in processes)), "bold"),
            " memory",
        )
        if self._filter:
            text.append("   filter: ", style="dim").append_text(plain(self._filter, "bold yellow"))
        self._static("summary", text)

    def _paint_trouble(self, processes: list[Seen]) -> None:
        most = _MOST_TROUBLES if self.size.height >= 2 * LOW else _MOST_TROUBLES - 1 if self.size.height >= LOW else 1
        lines = attention.lines(processes, rows.now(), most)
        self._main("trouble", Static).set_class(not lines, "-none")
        self._static("trouble", Text("\n").join(lines))

    def _static(self, id: str, text: Text) -> None:
        static = self._main(id, Static)
        if static.content != text:
            static.update(text)

    def _paint_processes(self, processes: list[Seen]) -> None:
        grid = self._grid("processes")
        columns = rows.process_columns(grid.room)
        moment = rows.now()
        found = {seen.id: rows.process(seen, columns, moment) for seen in processes}
        if len(processes) > 1:
            found = {_ALL: rows.all_processes(processes, columns), **found}
        grid.show(columns, found)

    def _paint_servers(self) -> None:
        chosen = self.chosen_processes
        of_all = len(chosen) > 1
        grid = self._grid("servers")
        columns = rows.server_columns(grid.room, of_all=of_all)
        found = [
            (seen, row)
            for seen in chosen
            for row in seen.servers
            if not self._filter or matches(self._filter, row.key, row.state, seen.name, str(seen.card.pid))
        ]
        shown = {
            f"{seen.id}\n{row.key}": rows.server(seen, row, columns) for seen, row in rows.in_order(found, self._sort)
        }
        grid.show(columns, shown, self._sort)
        of = "all processes" if of_all else plain(chosen[0].name).plain if chosen else ""
        # A string would be taken for markup, which is then a stranger's.
        self._main("middle", Horizontal).border_title = Text(f"servers of {of}" if of else "servers")

    def _paint_calls(self) -> None:
        chosen = self.chosen_processes
        grid = self._grid("calls")
        columns = rows.call_columns(grid.room, of_one=len(chosen) == 1 and chosen[0].card.kind != "serve")
        most = _MOST_CALLS * 4 if self._filter else _MOST_CALLS
        found = rows.calls(chosen, columns, most, rows.now(), failed=self._failed)
        if self._filter:
            found = {key: cells for key, cells in found.items() if matches(self._filter, *(c.plain for c in cells))}
        grid.show(columns, found)
        running = sum(seen.in_flight for seen in chosen)
        what = "calls that failed" if self._failed else "calls"
        grid.border_title = f"{what}: {running} under way" if running and not self._failed else what

    def _paint_detail(self) -> None:
        detail = self._main("detail", Detail)
        if detail.display:
            seen, row = self.chosen_server
            detail.look_at(seen, row.key if row is not None else "")

    def _read_detail(self) -> None:
        if not self.is_running:
            return
        detail = self._main("detail", Detail)
        if detail.display and len(self.screen_stack) == 1:
            detail.read()

    def _grid(self, id: str) -> Grid:
        return self._main(id, Grid)

    def _main(self, id: str, kind: type[Kind]) -> Kind:
        return self.screen_stack[0].query_one(f"#{id}", kind)

    # What is chosen

    @property
    def chosen_processes(self) -> list[Seen]:
        """The one under the cursor, or all."""
        chosen = self._grid("processes").chosen
        return [seen for seen in self.machine.processes if seen.id == chosen] or self.machine.processes

    @property
    def chosen_server(self) -> tuple[Seen | None, ServerRow | None]:
        """The server that is inspected, or under the cursor."""
        if isinstance(self.screen, Inspect):
            seen, key = self.screen.seen, self.screen.key
            return seen, next((row for row in seen.servers if row.key == key), None)
        id, _, key = self._grid("servers").chosen.partition("\n")
        for seen in self.machine.processes:
            if seen.id == id:
                return seen, next((row for row in seen.servers if row.key == key), None)
        return None, None

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about the tables is not offered where they are covered."""
        if len(self.screen_stack) == 1:
            return True
        covered = _OF_TABLES - {"restart", "log"} if isinstance(self.screen, Inspect) else _OF_TABLES
        return action not in covered

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another process or server is shown."""
        if event.data_table.id in ("processes", "servers"):
            self._is_new = True

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter, or a click."""
        if event.data_table.id == "processes":
            self._grid("servers").focus()
        elif event.data_table.id == "servers":
            self.action_inspect()
        else:
            self._show_call(self._grid("calls").chosen)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a heading sorts by it."""
        key = str(event.column_key.value)
        if event.data_table.id == "servers" and key in rows.SORTS:
            self._sort = "" if key == self._sort else key
            self.paint()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort = rows.SORTS[(rows.SORTS.index(self._sort) + 1) % len(rows.SORTS)]
        self.paint()

    def action_inspect(self) -> None:
        """Show all there is of a server."""
        seen, row = self.chosen_server
        if seen is not None and row is not None:
            self.push_screen(Inspect(seen, row.key))

    def _show_call(self, key: str) -> None:
        """All that is known of a call; of one under way that is what is known of its server."""
        for seen, call in rows.ended(self.machine.processes) + rows.ended(self.machine.processes, failed=True):
            if rows.call_key(seen, call) == key:
                self.push_screen(Ended(call))
                return
        for seen, running in rows.under_way(self.machine.processes):
            if rows.call_key(seen, running) == key:
                self.push_screen(Inspect(seen, running.server))
                return

    def action_failed(self) -> None:
        """Show only calls that failed, or all again."""
        self._failed = not self._failed
        self.paint()

    def action_exit(self) -> None:
        """Leave, whatever is on top."""
        self.exit()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())

    def action_log(self) -> None:
        """Follow the log of the process."""
        seen, _ = self.chosen_server
        if seen is None:
            chosen = self.chosen_processes
            seen = chosen[0] if len(chosen) == 1 else None
        if seen is None or seen.process is None:
            self.notify("choose a server or a process first", severity="warning")
        elif not seen.process.log:
            text = 'its log goes to stderr, which only its client has; set "proxy": {"log": {"file": ...}}'
            self.notify(text, severity="warning", markup=False)
        else:
            self.push_screen(LogScreen(Path(seen.process.log), self._readable()))

    def action_restart(self) -> None:
        """Restart a server, if that is really wanted."""
        seen, row = self.chosen_server
        if seen is None or row is None:
            self.notify("choose a server first", severity="warning")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._restart(seen, row))

        self.push_screen(Confirm(lambda: question(seen, row.key)), answered)

    async def _restart(self, seen: Seen, row: ServerRow) -> None:
        async for text, is_good in restarted(seen, row, lambda: seen in self.machine.processes):
            self.notify(text, severity="information" if is_good else "error", markup=False)

    def action_filter(self) -> None:
        """Type what is to be shown."""
        box = self._main("filter", Input)
        box.display = True
        box.focus()

    def action_no_filter(self) -> None:
        """Show all."""
        box = self._main("filter", Input)
        box.value = ""
        box.display = False
        self._grid("servers").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """At each key."""
        self._filter = event.value
        self.paint()

    def on_input_submitted(self) -> None:
        """Keep it, and go on."""
        self._main("filter", Input).display = False
        self._grid("servers").focus()
