"""What needs looking at, in a few lines.

Proxies that are silent, configurations that can't be used, servers that are down, the last call that failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from . import figures
from .machine import DOWN, Seen
from .rows import brief, ended, named, outcome, plain

RECENT = 600.0
"""Seconds for which a call that failed is worth a line."""


def lines(processes: list[Seen], moment: float, most: int) -> list[Text]:
    """The worst first, at most so many; if there are more it is told how many, and the call has a line in any case."""
    found = [_silent(seen) for seen in processes if seen.problem or seen.hangs]
    found += _misconfigured(processes)
    found += _down(processes)
    failed = _failed(processes, moment)
    room = most - len(failed)
    shown = found if len(found) <= room else found[: max(1, room - 1)]
    if len(shown) < len(found):
        shown.append(Text(f"  and {len(found) - len(shown)} more", style="dim"))
    return [*shown, *failed][:most]


def _silent(seen: Seen) -> Text:
    why = seen.problem or f"it does not answer, and said nothing for {figures.age(seen.silence)}"
    return Text.assemble(("! ", "bold yellow"), plain(seen.name, "bold"), f" (pid {seen.card.pid}): ", plain(why))


def _misconfigured(processes: Iterable[Seen]) -> list[Text]:
    """Files that were edited and can't be used, one line each, however many processes have them."""
    problems = dict.fromkeys(seen.misconfigured.splitlines()[0] for seen in processes if seen.misconfigured)
    told = "! the configuration stays as it was: "
    return [Text.assemble((told, "bold yellow"), plain(problem)) for problem in problems]


def _down(processes: Iterable[Seen]) -> list[Text]:
    """Servers that are down, one line for all processes in which the same one is down for the same reason."""
    alike: dict[tuple[str, str, str], int] = {}
    for seen in processes:
        for row in seen.servers:
            if row.state in DOWN:
                key = row.key, row.state, brief(row.reason)
                alike[key] = alike.get(key, 0) + 1
    ordered = sorted(alike.items(), key=lambda one: DOWN.index(one[0][1]))
    return [_server(key, state, why, count) for (key, state, why), count in ordered]


def _server(key: str, state: str, why: str, count: int) -> Text:
    sign, style = figures.sign(state)
    times = f" in {count} processes" if count > 1 else ""
    return Text.assemble((f"{sign[0]} ", style), plain(key, "bold"), f"{times}: ", plain(why))


def _failed(processes: Iterable[Seen], moment: float) -> list[Text]:
    """The last call that failed, unless that is long ago."""
    for _, call in ended(processes, failed=True):
        if moment - call.at > RECENT:
            break
        ago = f" {figures.age(moment - call.at)} ago, "
        return [Text.assemble(("✗ ", "red"), plain(f"{call.server} {named(call)}", "bold"), ago, plain(outcome(call)))]
    return []
