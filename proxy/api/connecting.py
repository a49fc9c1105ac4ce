"""`connect`: from a configuration or an address to an open hub, all of which ends with its `async with` block."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import anyio

from .. import app, errors
from ..config import checks
from ..config.load import load, load_text, locate
from ..config.models import Config, ProxySettings, Server, ServerEntry
from ..config.problems import render
from ..errors import SERVER_UNAVAILABLE
from .asking import Asking, Handler
from .elsewhere import Elsewhere
from .errors import ConfigError, ServerUnavailable
from .hub import Hub
from .logs import Log

Source = str | os.PathLike[str] | Mapping[str, Any]
"""A configuration file, the content of one, or the address of a running hub."""

_CALLED: Final = "connect()"
"""What stands for the file in the sentences about a configuration that is none."""

_SCHEME: Final = re.compile(r"\w+://")
_HOST: Final = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d+(?=/|$)")
"""Beginnings of what somebody means as the address of a hub, where it is no file."""

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
    answers at the address or it refuses the token; both are HubErrors. A server that can't start raises nothing here:
    its calls do, and `hub.servers()` has the reason.
    """
    try:
        config, elsewhere, remember = _understand(source, token, headers)
    except errors.ConfigError as problem:
        raise ConfigError(problem.problems) from None
    parts = app.Hub(config, os.environ, afresh=elsewhere is not None, remember=remember)
    parts.bus.open(Log(parts.redactor))
    failed: BaseException | None = None
    async with parts.servers(), anyio.create_task_group() as tasks:
        via = _KEY if elsewhere is not None else None
        asking = Asking(tasks, on_elicitation=on_elicitation, on_sampling=on_sampling, roots=roots, via=via)
        hub = Hub(parts, asking, elsewhere)
        try:
            await hub.open()
            if elsewhere is not None:
                await _reach(parts, str(source), elsewhere)
            yield hub
        except BaseException as raised:
            if isinstance(raised, anyio.get_cancelled_exc_class()):
                raise
            failed = raised  # and raised below: out of a task group it would come in a group
        finally:
            hub.close()
            parts.graces.conclude()
            tasks.cancel_scope.cancel()
    parts.bus.flush()
    if failed is not None:
        raise failed


async def _reach(parts: app.Hub, url: str, elsewhere: Elsewhere) -> None:
    """Wait until the hub elsewhere has answered."""
    await parts.fleet.until_settled()
    [report] = parts.fleet.reports()
    if report.state == "ready":
        return
    where = parts.redactor(url)
    text = f"no hub at {where}: {report.problem}"
    if "HTTP 401" in report.problem:
        shows = "`mcp-manifold token` shows the one that it wants"
        text = f"the hub at {where} wants a token, and was given none: connect(url, token=...); {shows}"
        if any(name.lower() == "authorization" for name in elsewhere.headers):
            text = f"the hub at {where} refuses the token; {shows}"
    raise ServerUnavailable(text, code=SERVER_UNAVAILABLE, server=_KEY, delivered="no")


def _understand(
    source: Source, token: str | None, headers: Mapping[str, str] | None
) -> tuple[Config, Elsewhere | None, bool]:
    """The configuration, the hub where it is elsewhere, and whether anything is remembered."""
    if isinstance(source, str):
        if source.lower().startswith(("http://", "https://")):
            config, elsewhere = _remote(source, token, headers)
            return config, elsewhere, False
        _refuse_an_address(source)
    elif not isinstance(source, (os.PathLike, Mapping)):
        raise TypeError(f"connect() takes a file, a mapping, or the URL of a hub, not {type(source).__name__}")
    if token is not None or headers is not None:
        raise TypeError("connect() takes token or headers with the URL of a hub, which begins with http:// or https://")
    if isinstance(source, Mapping):
        text = json.dumps(source, default=_plain)
        config = load_text(text, Path.cwd() / "configuration", os.environ, _CALLED)
        return config, None, config.proxy.state_dir is not None
    return load(locate(os.fspath(source), os.environ), os.environ), None, True


def _refuse_an_address(source: str) -> None:
    """A file may have any name, and one that is not there and looks like an address is meant as one."""
    if os.path.lexists(source):
        return
    if _SCHEME.match(source):
        raise errors.ConfigError((f"{_CALLED}: the URL of a hub begins with http:// or https://",))
    if host := _HOST.match(source):
        text = f"the URL of a hub begins with http:// or https://; did you mean http://{host[0]}?"
        raise errors.ConfigError((f"{_CALLED}: {text}",))


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON value: {value!r}")


def _remote(url: str, token: str | None, headers: Mapping[str, str] | None) -> tuple[Config, Elsewhere]:
    """The hub elsewhere as the one server here: names stay as they are, and times and numbers are its to limit."""
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        url = urlunsplit(parts._replace(path="/mcp"))
    sent = {**(headers or {})}
    if token:
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
        raise errors.ConfigError(tuple(render(_CALLED, problem) for problem in problems))
    # The shortest name leaves the names of tools the most room, as much as any hub can use.
    settings = ProxySettings(name="h", list_wait=entry.start_timeout)
    return Config(Path(_KEY), settings, (Server(_KEY, "", entry),)), Elsewhere(url, sent)
