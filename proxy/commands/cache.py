"""`mcp-manifold cache`: what is remembered of the servers, so that they need not run for their lists."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import anyio
import msgspec
from rich.table import Table
from rich.text import Text

from .. import app
from ..config.load import load, locate, state_directory
from ..config.models import Config, Server
from ..eras.handshake import LATEST, Offer
from ..errors import ConfigError
from ..fronts.local import LocalClient
from ..store.given import GivenNames
from ..store.listings import Listings, Memory
from ..wire import open_object
from .local import complain, output


class Remembered(msgspec.Struct):
    """One row: what is remembered of a server for one kind of client. `age` is in seconds, `size` in bytes."""

    server: str
    version: str = ""
    protocol: str = ""
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    age: float | None = None
    size: int = 0
    client: str = ""


def main(arguments: argparse.Namespace) -> int:
    """Show, renew or forget; 1 where a server could not be listed."""
    config = load(locate(arguments.config, os.environ), os.environ)
    chosen = _chosen(config, arguments.servers)
    listings = Listings(state_directory(config.proxy), os.environ)
    if arguments.action == "clear":
        return _clear(config, chosen, listings, names=arguments.names)
    problems: list[str] = []
    if arguments.action == "refresh":
        problems = _refresh(config, chosen, listings)
    redact = app.redactor_of(config)
    rows = [row for server in chosen for row in _rows(server, listings, redact)]
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        _print(rows)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _chosen(config: Config, keys: list[str]) -> list[Server]:
    servers = {server.key: server for server in config.servers if server.entry.enabled}
    unknown = [key for key in keys if key not in servers]
    if unknown:
        text = f"{config.path}: there is no enabled server {unknown[0]!r}; there are {', '.join(servers)}"
        raise ConfigError((text,))
    return [servers[key] for key in keys] if keys else list(servers.values())


# Refreshing


def _refresh(config: Config, chosen: list[Server], listings: Listings) -> list[str]:
    """List the servers anew for each kind of client that was here; returns what went wrong."""
    offers = {memory.offer: None for server in chosen for memory, _ in listings.all(server)}
    config = Config(config.path, config.proxy, tuple(chosen), config.warnings)
    problems: dict[str, None] = {}
    for offer in offers or {Offer(LATEST, b"{}"): None}:
        found = app.run(_learn, config, offer)
        assert isinstance(found, list)
        problems.update(dict.fromkeys(found))
    return list(problems)


async def _learn(config: Config, offer: Offer) -> list[str]:
    hub = app.Hub(config, os.environ, afresh=True)
    hub.bus.open(complain)
    client = LocalClient(hub.pump, "cache", offer=offer)
    await client.initialize()
    async with hub.servers():
        async with anyio.create_task_group() as tasks:
            for supervisor in hub.fleet.supervisors:
                tasks.start_soon(supervisor.until_learned)
        problems = [
            f"server {one.server!r} could not be listed: {one.problem}" for one in hub.fleet.reports() if one.problem
        ]
        hub.graces.shorten()
    return problems


# Forgetting


def _clear(config: Config, chosen: list[Server], listings: Listings, *, names: bool) -> int:
    number = sum(listings.forget(server) for server in chosen)
    print(f"forgot {number} {'list' if number == 1 else 'lists'}; the servers are started once to be listed again")
    if names and GivenNames(state_directory(config.proxy), config.path).forget():
        print("forgot the names that tools were given; some may get other ones")
    return 0


# Showing


def _rows(server: Server, listings: Listings, redact: Callable[[str], str]) -> list[Remembered]:
    return [_row(server, memory, size, redact) for memory, size in listings.all(server)] or [Remembered(server.key)]


def _row(server: Server, memory: Memory, size: int, redact: Callable[[str], str]) -> Remembered:
    counts = {kind: len(items) for kind, items in memory.listings.items()}
    able = ", ".join(open_object(memory.offer.capabilities)) or "nothing special"
    return Remembered(
        server=server.key,
        version=redact(memory.hello.version),
        protocol=redact(memory.hello.protocol),
        tools=counts.get("tools", 0),
        resources=counts.get("resources", 0) + counts.get("templates", 0),
        prompts=counts.get("prompts", 0),
        age=max(0.0, time.time() - memory.saved),
        size=size,
        client=redact(f"{memory.offer.protocol}: {able}"),
    )


def _print(rows: list[Remembered]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("server", "version", "protocol"):
        table.add_column(heading, no_wrap=True)
    for heading in ("tools", "resources", "prompts", "age", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("for clients that can", overflow="fold")
    for row in rows:
        if row.age is None:
            table.add_row(Text(row.server), *["-"] * 7, "nothing is remembered: it is started to be listed")
            continue
        counts = (str(row.tools), str(row.resources), str(row.prompts))
        size = f"{max(1, round(row.size / 1024))} kB"
        table.add_row(
            Text(row.server), Text(row.version), row.protocol, *counts, _duration(row.age), size, Text(row.client)
        )
    output().print(table)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
