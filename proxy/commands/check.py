"""`mcp-manifold check`: connect to every server and say how each one is."""

from __future__ import annotations

import argparse
import os

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import app
from ..config.load import load, locate
from ..config.models import Config
from ..fleet import ServerReport
from ..fronts.local import LocalClient
from .local import complain, output

_WIDE = 110
"""Columns of a terminal from which on problems stand in the table; below, they follow it."""


def main(arguments: argparse.Namespace) -> int:
    """Print the table (or JSON); 0 if all enabled servers are ready, 1 if some are not."""
    config = load(locate(arguments.config, os.environ), os.environ)
    reports = app.run(_survey, config)
    assert isinstance(reports, list)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode({"servers": reports})).decode())
    else:
        _print(config, reports)
    return 0 if all(report.state == "ready" for report in reports) else 1


async def _survey(config: Config) -> list[ServerReport]:
    progress = Console(stderr=True)
    hub = app.Hub(config, os.environ, afresh=True)
    hub.bus.open(complain)
    client = LocalClient(hub.pump, "check")
    await client.initialize()  # servers are greeted on behalf of a client
    async with hub.servers():
        names = [supervisor.key for supervisor in hub.fleet.supervisors]
        with progress.status("connecting") if progress.is_terminal else _Quiet() as status:
            while True:
                waiting = [one.key for one in hub.fleet.supervisors if not (one.surveyed or one.problem)]
                if not waiting:
                    break
                status.update(
                    f"{len(names) - len(waiting)} of {len(names)} answered, waiting for {', '.join(waiting[:5])}"
                )
                await hub.fleet.progress()
        reports = hub.fleet.reports()
        hub.graces.shorten()
    return reports


class _Quiet:
    """A progress display for those who are no terminal."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, text: str) -> None:
        """Show nothing."""


def _print(config: Config, reports: list[ServerReport]) -> None:
    console = output()
    if not reports:
        console.print(f"no server is enabled in {config.path}", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("server", "transport", "protocol"):
        table.add_column(heading, no_wrap=True)
    for heading in ("tools", "resources", "prompts", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    beside = not console.is_terminal or console.width >= _WIDE
    if beside:
        table.add_column("problem", overflow="fold")
    for report in reports:
        row = _row(report)
        table.add_row(*row, Text(report.problem)) if beside else table.add_row(*row)
    console.print(table)
    for found in (found for report in reports for found in report.derived):
        what = "template" if found.kind == "templates" else "resource"
        why = f"{found.first} has the same" if found.first != found.server else "a URI needs a scheme"
        text = f"{found.server}: {what} {found.own} is shown as {found.public}: {why}"
        console.print(Text(text, style="yellow"))
    down = [report for report in reports if report.state != "ready"]
    if not beside:
        for report in down:
            console.print(Text(f"{report.server}: {report.problem}", style="red"))
    if down:
        are = "is" if len(down) == 1 else "are"
        console.print(f"{len(down)} of {len(reports)} servers {are} not ready", style="red", highlight=False)


def _row(report: ServerReport) -> list[Text | str]:
    style = "green" if report.state == "ready" else "red"
    counts = [str(count) if count >= 0 else "-" for count in (report.tools, report.resources, report.prompts)]
    if 0 <= report.shown < report.tools:
        counts[0] = f"{report.shown} of {report.tools}"
    seconds = f"{report.seconds:.2f}" if report.protocol or report.seconds else "-"
    return [Text(report.server, style=style), report.transport, report.protocol or "-", *counts, seconds]
