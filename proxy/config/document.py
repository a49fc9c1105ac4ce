"""JSON data to a valid `ConfigFile`, or everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from . import checks, clients, pushing
from .models import ConfigFile, ProxySettings, ServerEntry
from .problems import Problem, kind, known_keys, quoted, unknown_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .parse import Location

_Shape = TypeVar("_Shape", bound=msgspec.Struct)

_ENTRY_KEYS = (*clients.HONOURED, *clients.IGNORED)
# An editor's schema hint, which changes nothing.
_ACCEPTED = frozenset({"$schema"})
_MANY = 5
_ELSEWHERE = {
    "servers": "mcpServers",
    "context_servers": "mcpServers",
    "mcp": "mcpServers",
    "mcp_servers": "mcpServers",
}


class Document(NamedTuple):
    """`file` is None if there are problems. Warnings lack the file's name."""

    file: ConfigFile | None
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...] = ()


def understand(data: object) -> Document:
    """Check everything that the file alone can tell; environment variables come later."""
    if not isinstance(data, dict):
        return Document(None, (Problem((), f'must be an object like {{"mcpServers": {{}}}}, is {kind(data)}'),))
    problems = _top_level(data)
    servers = data.get("mcpServers", {})
    if not isinstance(servers, dict):
        problems.append(Problem(("mcpServers",), f"must be an object, is {kind(servers)}"))
        servers = {}
    if "" in servers:
        problems.append(Problem(("mcpServers", ""), "a server needs a name"))
    adopted = {key: clients.adopt(raw) for key, raw in servers.items() if isinstance(raw, dict)}
    problems += [
        Problem(("mcpServers", key, *place), what) for key, each in adopted.items() for place, what in each.problems
    ]
    entries = {key: adopted[key].entry if key in adopted else raw for key, raw in servers.items()}
    file = _validate(entries, data.get("proxy", {}), problems)
    for key, entry in file.mcp_servers.items():
        problems += [Problem(("mcpServers", key, *place), what) for place, what in checks.flaws(entry, expanded=False)]
    problems += checks.unclear(file.proxy)
    problems += pushing.flaws(file.proxy.traces, expanded=False)
    problems += pushing.flaws(file.proxy.metrics.otlp, expanded=False)
    problems += checks.clashes(file.mcp_servers)
    problems += checks.too_long(file.mcp_servers, file.proxy.name)
    if problems:
        return Document(None, tuple(problems))
    return Document(file, (), (*clients.warnings(adopted), *_unused(file)))


def _top_level(data: Mapping[str, object]) -> list[Problem]:
    problems = []
    unknown = [key for key in data if key not in known_keys(ConfigFile) and key not in _ACCEPTED]
    if len(unknown) > _MANY:
        # Somebody's ~/.claude.json: a line for each of its keys would hide what to do.
        some = ", ".join(quoted(key) for key in unknown[:_MANY])
        what = f"{len(unknown)} unknown keys ({some}, ...); copy mcpServers alone into a file of its own"
        problems.append(Problem((), what))
    else:
        problems += [Problem((key,), _unknown_top_level(key, data[key])) for key in unknown]
    if "mcpServers" not in data and not any(key in _ELSEWHERE or _is_entry(data[key]) for key in unknown):
        problems.append(Problem(("mcpServers",), "is missing"))
    return problems


def _unknown_top_level(key: str, value: object) -> str:
    if key in _ELSEWHERE:
        return f"unknown key (did you mean {quoted(_ELSEWHERE[key])}?)"
    if key == "inputs":
        return "unknown key; nobody is asked anything here: use ${VAR} instead of ${input:...}"
    if _is_entry(value):
        return 'unknown key; an entry belongs inside "mcpServers"'
    return unknown_key(key, ConfigFile)


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and ("command" in value or "url" in value)


def _validate(entries: dict[str, object], proxy: object, problems: list[Problem]) -> ConfigFile:
    """The shapes' verdict. What they refuse is noted and left out, so that the rest can still be checked."""
    read = {key: _read(raw, ServerEntry, ("mcpServers", key), problems) for key, raw in entries.items()}
    settings = _read(proxy, ProxySettings, ("proxy",), problems) or ProxySettings()
    return ConfigFile(mcp_servers={key: entry for key, entry in read.items() if entry is not None}, proxy=settings)


def _read(value: object, shape: type[_Shape], location: Location, problems: list[Problem]) -> _Shape | None:
    try:
        return msgspec.convert(value, shape, strict=True, dec_hook=decode)
    except msgspec.ValidationError as refusal:
        # Here, since only a mistake in the file is worth the time and memory of pydantic.
        from .explain import explain

        problems += explain(value, shape, location, str(refusal), _ENTRY_KEYS if shape is ServerEntry else ())
        return None


def decode(wanted: type, value: object) -> object:
    """What the shapes hold and JSON does not: paths."""
    if wanted is Path and isinstance(value, str):
        if not value:  # as a path it would be the working directory
            raise ValueError("must not be empty")
        return Path(value)
    raise TypeError(f"must be a string, is {kind(value)}")


def _unused(file: ConfigFile) -> list[str]:
    found = [(key, checks.unused(entry)) for key, entry in file.mcp_servers.items()]
    parts = [f"{', '.join(keys)} ({quoted(key)})" for key, keys in found if keys]
    if not parts:
        return []
    return [f"mcpServers: keys without effect on their kind of server: {'; '.join(parts)}"]
