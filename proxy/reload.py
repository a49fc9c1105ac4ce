"""Follows the configuration file while the proxy runs: read anew at a change or on request, applied only where good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from .aside import aside
from .config.changes import Changes, compare
from .config.load import load, secrets
from .config.models import Config
from .config.watch import changes_of
from .errors import ConfigError
from .events import Emit, Notice
from .fleet import Fleet

READ_WITHIN: Final = 10.0
"""Seconds. A pipe may be in the file's place that nobody writes to."""

_LIVE: Final = frozenset({"proxy.instructions"})
"""Settings that take effect at once; what was built with the others stays as it is until the next start."""


class Reloader:
    """Keeps a fleet to its file. `learn` is told the secrets of each new configuration before anything uses it."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        fleet: Fleet,
        emit: Emit,
        learn: Callable[[Iterable[str]], None],
    ) -> None:
        self._started = self._config = config
        self._environ = environ
        self._fleet = fleet
        self._emit = emit
        self._learn = learn
        self._wanted = False
        self._reading = False
        self._changes = changes_of(config.path)  # from here on none is missed
        self.problem = ""
        """Why the file can't be used as it was read last, in lines; what was read before it stays."""

    async def reload(self) -> None:
        """Read the file and apply what changed; what can't be used is told, and changes nothing."""
        self._wanted = True
        if self._reading:
            return  # it is read once more when that is done
        self._reading = True
        try:
            while self._wanted:
                self._wanted = False
                await self._reload()
        finally:
            self._reading = False

    async def _reload(self) -> None:
        path = self._config.path
        config = None
        try:
            with anyio.move_on_after(READ_WITHIN):
                config = await aside(partial(_load, path, self._environ), "configuration")
        except ConfigError as problem:
            self._refuse(*problem.problems)
            return
        if config is None:
            self._refuse(f"{path} could not be read within {READ_WITHIN:g} s")
            return
        was_told, self.problem = self.problem, ""
        config = config.with_given(self._config.given)
        changes = compare(self._config, config)
        self._learn(secrets(config))
        self._config = config
        if not changes:
            self._emit(Notice("info" if was_told else "debug", f"{path} was read again: nothing changed"))
            return
        for warning in config.warnings:
            self._emit(Notice("warning", warning))
        self._emit(Notice("info", f"{path} was read again: {_summary(changes)}"))
        if _late(changes):
            self._tell_what_waits(_late(compare(self._started, config)))
        self._fleet.apply(config, changes)

    def _tell_what_waits(self, late: list[str]) -> None:
        if late:
            self._emit(Notice("warning", f"takes effect when mcp-manifold is started anew: {', '.join(late)}"))
        else:
            self._emit(Notice("info", "mcp-manifold need not be started anew: all settings are again as it runs"))

    def _refuse(self, *lines: str) -> None:
        self.problem = "\n".join(lines)
        for line in lines:
            self._emit(Notice("error", f"the configuration stays as it was: {line}"))

    async def watch(self) -> None:
        """Reload at each change of the file, until cancelled."""
        try:
            async for _ in self._changes:
                await self.reload()
        except FileNotFoundError as problem:
            text = f"{self._config.path} can't be watched for changes ({problem}); SIGHUP reads it again"
            self._emit(Notice("warning", text))


def _load(path: Path, environ: Mapping[str, str]) -> Config:
    """`load`, but for a file that was there: how to write the first one is no advice."""
    try:
        path.stat()
    except FileNotFoundError:
        raise ConfigError((f"{path}: there is no such file any more",)) from None
    except OSError:
        pass  # which is better said by `load`
    return load(path, environ)


def _late(changes: Changes) -> list[str]:
    return sorted(set(changes.settings) - _LIVE)


def _summary(changes: Changes) -> str:
    parts = [
        ("started", [server.key for server in changes.added]),
        ("restarted", [server.key for server in changes.changed]),
        ("stopped", list(changes.removed)),
        ("changed", list(changes.settings)),
    ]
    said = [f"{what} {', '.join(keys)}" for what, keys in parts if keys]
    return "; ".join(said) or "only the order of the servers changed"
