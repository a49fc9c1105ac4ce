"""A table whose rows have keys: what did not change is not painted again, and the cursor stays with its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from .rows import Column


class Grid(DataTable[Text]):
    """Rows of text. The cursor stays with its row, or in its place where rows come and go all the time."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "inspect")]

    def __init__(self, id: str, *, header: bool = True, keeps_row: bool = True) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=0, show_header=header)
        self._keeps_row = keeps_row
        self.show_cursor = keeps_row
        self._shown_columns: list[tuple[Column, str]] = []
        self._shown: dict[str, list[Text]] = {}

    def on_focus(self) -> None:
        """Where rows come and go, the cursor is of interest only now."""
        self.show_cursor = True

    def on_blur(self) -> None:
        """The same."""
        self.show_cursor = self._keeps_row

    @property
    def chosen(self) -> str:
        """The key of the row under the cursor; "" where there are no rows."""
        if not self._shown or self.cursor_row >= len(self._shown):
            return ""
        return list(self._shown)[self.cursor_row]

    @property
    def room(self) -> int:
        """Characters that a row may have, beside the bar that is there when there are too many rows."""
        return max(0, (self.size.width or self.app.size.width) - 1)

    def choose(self, key: str) -> None:
        """Move the cursor to a row, if it is there."""
        if key in self._shown:
            self.move_cursor(row=list(self._shown).index(key))

    def show(self, columns: Sequence[Column], rows: Mapping[str, list[Text]], mark: str = "") -> None:
        """Show these rows, in this order. The column with the key `mark` is marked as the one they are sorted by."""
        wanted = [(column, " ▼" if column.key == mark else "") for column in columns]
        with self.app.batch_update():
            if wanted != self._shown_columns:
                chosen = self.chosen
                self._set_columns(wanted)
                self._shown = {}
                self._fill(rows, chosen)
            elif list(rows) != list(self._shown):
                self._fill(rows, self.chosen)
            else:
                self._change(rows)
        self._shown = dict(rows)

    def _set_columns(self, wanted: list[tuple[Column, str]]) -> None:
        self.clear(columns=True)
        for column, mark in wanted:
            label = Text(column.label + mark, justify="right" if column.right else "left", no_wrap=True)
            self.add_column(label, width=column.width, key=column.key)
        self._shown_columns = wanted

    def _fill(self, rows: Mapping[str, list[Text]], chosen: str) -> None:
        """Rows came, went, or changed places."""
        scrolled, old = self.scroll_y, self.cursor_row
        self.clear()
        for key, cells in rows.items():
            self.add_row(*self._laid(cells), key=key)
        keys = list(rows)
        row = keys.index(chosen) if chosen in rows and self._keeps_row else min(old, len(keys) - 1)
        if keys:
            self.move_cursor(row=max(0, row), scroll=False)
        self.scroll_to(y=scrolled, animate=False)
        if keys:
            self.move_cursor(row=max(0, row))

    def _change(self, rows: Mapping[str, list[Text]]) -> None:
        for at, (key, cells) in enumerate(rows.items()):
            for column, (old, new) in enumerate(zip(self._shown[key], cells, strict=True)):
                if old != new or old.style != new.style:
                    self.update_cell_at(Coordinate(at, column), self._aligned(column, new))

    def _laid(self, cells: list[Text]) -> list[Text]:
        return [self._aligned(column, cell) for column, cell in enumerate(cells)]

    def _aligned(self, column: int, cell: Text) -> Text:
        """Cut to its column, with a blank between it and the next one."""
        shape = self._shown_columns[column][0]
        laid = cell.copy()
        laid.truncate(shape.width - (0 if shape.right else 1), overflow="ellipsis")
        laid.justify = "right" if shape.right else "left"
        laid.no_wrap = True
        return laid
