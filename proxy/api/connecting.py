"""`connect`: from a configuration or an address to an open hub, all of which ends with its `async with` block."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import anyio

from .. import app
from ..config import checks
from ..config.load import load, load_text, locate
from ..config.models import Config, ProxySettings, Server, ServerEntry
from ..config.problems import render
from ..errors import SERVER_UNAVAILABLE, ConfigError
from ..events import Event, Notice, ServerOutput, ServerStateChanged
from .asking import Asking, Handler, logger
from .errors import ServerUnavailable
from .hub import Hub

Source = str | os.PathLike[str] | Mapping[str, Any]
"""A configuration file, the content of one, or the address of a running hub."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_KEY: Final = "hub"
_LONGEST: Final = 24 * 3600.0
_AT_ONCE: Final = 200
"""Below the calls that a hub allows one client, so that what is more waits here and is not refused there."""


@asynccontextmanager
async def connect(
    source: Source,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    on_elicitation: Handler | None = None,
    on_sampling: Handler | None = None,
    roots: Sequence[str | os.PathLike[str]] | None = None,
) -> AsyncIterator[Hub]:
    """Open a hub: the servers of a configuration in this process, or a hub that runs elsewhere.

        async with connect("servers.json") as hub: ...
        async with connect({"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}) as hub: ...
        async with connect("http://127.0.0.1:8765", token=token) as hub: ...

    In this process servers start beside the block, and the first list waits for them. What is remembered between runs
    is that of the file; of a mapping it is nothing unless it says `proxy.stateDir`, and relative paths in it are
    relative to the working directory. `proxy.log`, `proxy.metrics` and `proxy.http` have no effect. `token` or
    `headers` are sent to a hub elsewhere.

    Servers may ask their client; what there is a handler for they are told. `on_elicitation` gets the params of a form
    and returns `{"action": "accept", "content": {...}}`, or "decline" or "cancel"; `on_sampling` returns a message of
    the model; both may be async. `roots` are directories.

    Leaving the block ends all servers, however it is left. Raises ConfigError, and ServerUnavailable where no hub
    answers at the address or it refuses the token.
    """
    config, is_remote, remember = _understand(source, token, headers)
    parts = app.Hub(config, os.environ, afresh=is_remote, remember=remember)
    parts.bus.open(_Log(parts))
    problem: BaseException | None = None
    async with parts.servers(), anyio.create_task_group() as tasks:
        via = _KEY if is_remote else None
        asking = Asking(tasks, on_elicitation=on_elicitation, on_sampling=on_sampling, roots=roots, via=via)
        hub = Hub(parts, asking)
        try:
            await hub.open()
            if is_remote:
                await _reach(parts, str(source))
            yield hub
        except BaseException as raised:
            if isinstance(raised, anyio.get_cancelled_exc_class()):
                raise
            problem = raised  # and raised below: out of a task group it would come in a group
        finally:
            hub.close()
            parts.graces.conclude()
            tasks.cancel_scope.cancel()
    parts.bus.flush()
    if problem is not None:
        raise problem


async def _reach(parts: app.Hub, url: str) -> None:
    """Wait until the hub elsewhere has answered."""
    await parts.fleet.until_settled()
    [report] = parts.fleet.reports()
    if report.state != "ready":
        text = f"no hub at {parts.redactor(url)}: {report.problem}"
        if "HTTP 401" in report.problem:
            text = (
                f"the hub at {parts.redactor(url)} refuses the token; `mcp-manifold token` shows the one that it wants"
            )
        raise ServerUnavailable(text, code=SERVER_UNAVAILABLE, server=_KEY, delivered="no")


def _understand(source: Source, token: str | None, headers: Mapping[str, str] | None) -> tuple[Config, bool, bool]:
    """The configuration, whether the hub is elsewhere, and whether anything is remembered."""
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return _remote(source, token, headers), True, False
    if token is not None or headers is not None:
        raise TypeError("connect() takes token or headers with the URL of a hub")
    if isinstance(source, Mapping):
        config = load_text(json.dumps(source, default=_plain), Path.cwd() / "configuration", os.environ)
        return config, False, config.proxy.state_dir is not None
    return load(locate(os.fspath(source), os.environ), os.environ), False, True


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON value: {value!r}")


def _remote(url: str, token: str | None, headers: Mapping[str, str] | None) -> Config:
    """The hub elsewhere as the one server here: names stay as they are, and times and numbers are its to limit."""
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        url = urlunsplit(parts._replace(path="/mcp"))
    sent = {**(headers or {})}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    entry = ServerEntry(
        type="http",
        url=url,
        headers=sent,
        prefix="",
        call_timeout=_LONGEST,
        call_maximum=_LONGEST,
        ask_timeout=_LONGEST,
        max_running=_AT_ONCE,
        max_queued=100 * _AT_ONCE,
    )
    problems = checks.flaws(entry, expanded=True)
    if problems:
        raise ConfigError(tuple(render("connect()", problem) for problem in problems))
    # The shortest name leaves the names of tools the most room, as much as any hub can use.
    return Config(Path(_KEY), ProxySettings(name="h", list_wait=entry.start_timeout), (Server(_KEY, "", entry),))


class _Log:
    """An observer that tells Python's logging; where that goes is the program's business."""

    def __init__(self, parts: app.Hub) -> None:
        self._redact = parts.redactor

    def __call__(self, event: Event, at: float | None = None) -> None:
        match event:
            case Notice():
                self._tell(_LEVELS[event.level], event.server, event.text)
            case ServerStateChanged():
                why = f" ({event.reason})" if event.reason else ""
                level = logging.WARNING if event.new in ("backoff", "failed") else logging.INFO
                self._tell(level, event.server, f"{event.old} -> {event.new}{why}")
            case ServerOutput():
                self._tell(logging.DEBUG, event.server, event.text)

    def _tell(self, level: int, server: str, text: str) -> None:
        if logger.isEnabledFor(level):
            where = f"server {server!r}: " if server else ""
            logger.log(level, "%s", self._redact(where + text))
