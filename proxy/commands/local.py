"""A hub with one client in this process, for commands that ask it something."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from rich.console import Console

from .. import app
from ..config.models import Config
from ..events import Event, Notice, Observer
from ..fronts.local import LocalClient

_NO_TERMINAL = 10_000
"""Columns for a pipe or file, so that nothing is cut or folded for grep."""


def complain(event: Event, at: float | None = None) -> None:
    """An observer that tells a person of warnings; everything else they see in the command's own output."""
    if isinstance(event, Notice) and event.level in ("warning", "error"):
        where = f"server {event.server!r}: " if event.server else ""
        print(f"{where}{event.text}", file=sys.stderr)


class _Piped(Console):
    """Prints for a pipe or file: whole lines, without the blanks that end those of a table."""

    def print(self, *objects: Any, **options: Any) -> None:
        with self.capture() as shown:
            super().print(*objects, **options)
        self.file.write("\n".join(line.rstrip(" ") for line in shown.get().split("\n")))
        self.file.flush()


def output() -> Console:
    """Where a command prints its table."""
    console = Console()
    return console if console.is_terminal else _Piped(width=_NO_TERMINAL)


@asynccontextmanager
async def local_client(
    config: Config, notified: Callable[[str, bytes], None] | None = None, observers: Sequence[Observer] = ()
) -> AsyncIterator[tuple[app.Hub, LocalClient]]:
    """Shake hands with a hub as a client does; servers are started as they are needed."""
    hub = app.Hub(config, os.environ)
    hub.bus.open(*observers)
    async with hub.servers():
        client = LocalClient(hub.pump, "cli", notified)
        await client.initialize()
        try:
            yield hub, client
        finally:
            client.close()
            hub.graces.shorten()
