"""`mcp-manifold tools`: the tools as clients see them, and whose they are."""

from __future__ import annotations

import argparse
import os
import sys

import anyio
import msgspec
from rich.table import Table
from rich.text import Text

from .. import app, texts
from ..catalogue import Route
from ..config.load import load, locate
from ..config.models import Config
from .local import complain, local_client, output

_LEARN_WITHIN = 2.0
"""Seconds in which servers that had to be started may tell the rest of what they list, to be remembered."""


def main(arguments: argparse.Namespace) -> int:
    """Print the list; 1 if a server is missing from it, which stderr names."""
    config = load(locate(arguments.config, os.environ), os.environ)
    found = app.run(_list, config)
    assert isinstance(found, tuple)
    routes, problems = found
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode([_row(route) for route in routes])).decode())
    else:
        _print(routes)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


async def _list(config: Config) -> tuple[tuple[Route, ...], list[str]]:
    async with local_client(config, observers=[complain]) as (hub, client):
        await hub.fleet.until_settled()
        await client.request("tools/list")
        with anyio.move_on_after(_LEARN_WITHIN):
            async with anyio.create_task_group() as tasks:
                for supervisor in hub.fleet.supervisors:
                    if not supervisor.sleeps:
                        tasks.start_soon(supervisor.until_learned)
        problems = [f"server {one.server!r} is missing: {one.problem}" for one in hub.fleet.reports() if one.problem]
        return hub.relay.catalogue.routes(), problems


def _row(route: Route) -> dict[str, str]:
    return {
        "name": route.public,
        "server": route.server,
        "tool": route.own,
        "description": texts.first_line(route.description),
    }


def _print(routes: tuple[Route, ...]) -> None:
    rows = [_row(route) for route in routes]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "server", "tool"):
        widest = max((len(row[heading]) for row in rows), default=0)
        table.add_column(heading, no_wrap=True, min_width=widest)  # only the description gives way
    table.add_column("description")
    for row in rows:
        # Text, since a server's words must not be read as markup.
        names = (Text(row[column]) for column in ("name", "server", "tool"))
        table.add_row(*names, Text(row["description"], no_wrap=True, overflow="ellipsis"))
    output().print(table)
