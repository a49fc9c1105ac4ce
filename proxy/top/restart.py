"""A restart by hand: the question before it, and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
from rich.text import Text

from ..control import client
from ..control.client import NoAnswer
from ..overview import ServerRow
from . import figures
from .machine import DOWN, Seen
from .rows import named, now, plain

PATIENCE = 120.0
"""Seconds for which the end of a restart is waited for."""

_LOOK = 0.1
_MOST = 3


def question(seen: Seen, key: str) -> Text:
    """Whether to do that, with what it costs now."""
    text = Text.assemble("Restart ", plain(key, "bold"), " of ", plain(seen.name), f" (pid {seen.card.pid})?")
    row = _row(seen, key)
    if row is None or not row.in_flight:
        return text
    some = "1 call under way" if row.in_flight == 1 else f"{row.in_flight} calls under way"
    text.append(f"\n\nIts {some} will fail:", style="bold yellow")
    running = [call for call in seen.under_way if call.server == key and not call.waits]
    for call in sorted(running, key=lambda one: one.started)[:_MOST]:
        text.append("\n  ").append_text(plain(named(call))).append(f", for {figures.age(now() - call.started)}")
    if row.in_flight > _MOST:
        text.append(f"\n  and {row.in_flight - _MOST} more")
    return text


async def restarted(seen: Seen, row: ServerRow, is_seen: Callable[[], bool]) -> AsyncIterator[tuple[str, bool]]:
    """Restart it. Yields what there is to say, and whether that is good; `is_seen`: its process is still there."""
    name = plain(row.key).plain
    try:
        await client.restart(seen.card, row.key)
    except NoAnswer as problem:
        later = "; if it goes on, it may still do it" if seen.hangs else ""
        yield f"{name} is not restarted: {problem}{later}", False
        return
    yield f"{name} is being restarted", True
    with anyio.move_on_after(PATIENCE):
        while True:
            await anyio.sleep(_LOOK)
            fresh = _row(seen, row.key)
            if fresh is None or not is_seen():
                yield f"{name} is gone", False
                return
            if fresh.starts > row.starts:
                break
        if fresh.state in DOWN:
            yield f"{name} is down again: {plain(fresh.reason).plain}", False
        else:
            yield f"{name} is ready again, after {figures.duration(fresh.start_seconds)}", True
        return
    yield f"{name} is not ready yet", False


def _row(seen: Seen, key: str) -> ServerRow | None:
    return next((row for row in seen.servers if row.key == key), None)
