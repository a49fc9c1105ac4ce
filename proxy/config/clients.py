"""The keys that other programs write on an entry, put in terms of ours, so that entries can be pasted as they are.

Claude Code, Claude Desktop, Cursor, VS Code, Cline, Roo, Windsurf, Gemini CLI, Copilot CLI, Kiro, Zed, LM Studio, Warp,
Cherry Studio and fastmcp were looked at. What means the same here is honoured; where the entry has our key too, ours
counts, and lists of denied tools add up. The rest is ignored, and one warning a file says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .problems import kind, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TYPES = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "streamablehttp": "streamable-http",
    "sse": "sse",
    "ws": "ws",
    "websocket": "ws",
}
_TYPE_KEYS = ("transport", "transportType")
_URL_KEYS = ("httpUrl", "serverUrl", "baseUrl")
_CWD_KEYS = ("workingDirectory", "working_directory")
_ALLOW_KEYS = ("includeTools", "enabledTools", "allowedTools")
_DENY_KEYS = ("excludeTools", "disabledTools")
HONOURED = ("disabled", "isActive", "timeout", *_TYPE_KEYS, *_URL_KEYS, *_CWD_KEYS, *_ALLOW_KEYS, *_DENY_KEYS)

_SIGN_IN = "put a token into headers"
# Key -> what to do instead, where a server may not work without it.
IGNORED: Mapping[str, str] = dict.fromkeys(
    (
        "alwaysAllow",
        "alwaysLoad",
        "autoApprove",
        "description",
        "dev",
        "displayName",
        "extensionName",
        "fromGalleryId",
        "gallery",
        "icon",
        "iconUrl",
        "icons",
        "isDefaultServer",
        "keep_alive",
        "logoUrl",
        "longRunning",
        "name",
        "note",
        "provider",
        "remoteConfigured",
        "settings",
        "source",
        "start_on_launch",
        "tags",
        "title",
        "trust",
        "version",
        "watchPaths",
    ),
    "",
) | {
    "auth": _SIGN_IN,
    "authProviderType": _SIGN_IN,
    "authentication": _SIGN_IN,
    "headersHelper": _SIGN_IN,
    "oauth": _SIGN_IN,
    "oauthClientId": _SIGN_IN,
    "oauthScopes": _SIGN_IN,
    "envFile": "put its variables into env",
    "sandbox": "the server is not sandboxed",
    "sandboxEnabled": "the server is not sandboxed",
}

# Claude Code ignores less, too. Cline and Roo write seconds, up to an hour of them.
_SHORTEST_MS = 1000
_LONGEST_MS = 10**15
_LONGEST_AS_SECONDS = 3600


class Adopted(msgspec.Struct):
    """An entry in our own keys. `ignored` are the keys that were dropped; `problems` are (key, what is wrong).

    `timeout` is the milliseconds that were probably meant as seconds, if so.
    """

    entry: dict[str, object]
    ignored: list[str] = []
    problems: list[tuple[tuple[str | int, ...], str]] = []
    timeout: float | None = None


def adopt(raw: Mapping[str, object]) -> Adopted:
    """Translate one entry. Keys that nobody is known to write are left for the shapes to refuse.

    A key whose value is null counts as absent, as programs write it for what is not set.
    """
    entry = {key: value for key, value in raw.items() if value is not None}
    adopted = Adopted(entry)
    if isinstance(entry.get("tools"), list):
        # Copilot CLI: a list of names, or of "*".
        entry["includeTools"] = entry.pop("tools")
    if entry.keys() & IGNORED.keys():
        adopted.ignored = [key for key in entry if key in IGNORED]
        for key in adopted.ignored:
            del entry[key]
    if not entry.keys().isdisjoint(HONOURED):
        _adopt_switches(adopted)
        _adopt_timeout(adopted)
        _adopt_texts(adopted, _URL_KEYS, "url")
        _adopt_texts(adopted, _CWD_KEYS, "cwd")
        _adopt_texts(adopted, _TYPE_KEYS, "type")
        _adopt_tools(adopted)
    name = entry.get("type")
    if isinstance(name, str):
        entry["type"] = _TYPES.get(name.lower().replace("-", "").replace("_", ""), name)
    return adopted


def _adopt_switches(adopted: Adopted) -> None:
    for key, means_enabled in (("disabled", False), ("isActive", True)):
        if key not in adopted.entry:
            continue
        value = adopted.entry.pop(key)
        if not isinstance(value, bool):
            adopted.problems.append(((key,), f"must be true or false, is {kind(value)}"))
            continue
        enabled = value is means_enabled
        if adopted.entry.setdefault("enabled", enabled) is not enabled:
            # Whichever the user changed last, half of them would be surprised.
            adopted.problems.append(((key,), 'contradicts "enabled"; remove one of them'))


def _adopt_timeout(adopted: Adopted) -> None:
    if "timeout" not in adopted.entry:
        return
    value = adopted.entry.pop("timeout")
    if isinstance(value, bool) or not isinstance(value, int | float):
        adopted.problems.append((("timeout",), f"must be a number of milliseconds, is {kind(value)}"))
    elif value > _LONGEST_MS:
        adopted.problems.append((("timeout",), "is far too large"))
    elif "callTimeout" not in adopted.entry:
        if value <= _LONGEST_AS_SECONDS:
            adopted.timeout = float(max(value, 0))
        if value >= _SHORTEST_MS:
            adopted.entry["callTimeout"] = value / 1000


def _adopt_texts(adopted: Adopted, keys: Iterable[str], ours: str) -> None:
    for key in keys:
        if key not in adopted.entry:
            continue
        value = adopted.entry.pop(key)
        if not isinstance(value, str):
            adopted.problems.append(((key,), f"must be a string, is {kind(value)}"))
        elif key not in _URL_KEYS:
            adopted.entry.setdefault(ours, value)
        elif "url" in adopted.entry:
            adopted.problems.append(((key,), "is a second address beside url; remove one of them"))
        else:
            adopted.entry["url"] = value
            if key == "httpUrl":
                adopted.entry.setdefault("type", "http")


def _adopt_tools(adopted: Adopted) -> None:
    entry = adopted.entry
    given = entry.get("tools", {})
    rules = dict(given) if isinstance(given, dict) else None
    for key in (*_ALLOW_KEYS, *_DENY_KEYS):
        if key not in entry:
            continue
        value = entry.pop(key)
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            adopted.problems.append(((key,), "must be an array of strings"))
        elif rules is None:
            continue
        elif key in _ALLOW_KEYS:
            if rules.get("allow") is None:
                rules["allow"] = value
        elif isinstance(rules.setdefault("deny", []), list):
            rules["deny"] = [*rules["deny"], *value]
    if rules:
        entry["tools"] = rules


def warnings(entries: Mapping[str, Adopted]) -> list[str]:
    """What the user should know: a line on all keys ignored, one on time-outs. They lack the file's name."""
    lines = []
    by_key: dict[str, list[str]] = {}
    for server, adopted in entries.items():
        for key in adopted.ignored:
            by_key.setdefault(key, []).append(server)
    if by_key:
        parts = []
        for key, servers in by_key.items():
            instead = f"; {IGNORED[key]}" if IGNORED[key] else ""
            parts.append(f"{key} ({_names(servers)}{instead})")
        lines.append(f"mcpServers: keys that mean nothing here were ignored: {', '.join(parts)}")
    doubtful = {name: each.timeout for name, each in entries.items() if each.timeout is not None}
    ignored = [name for name, milliseconds in doubtful.items() if milliseconds < _SHORTEST_MS]
    kept = {name: milliseconds for name, milliseconds in doubtful.items() if milliseconds >= _SHORTEST_MS}
    if ignored or kept:
        parts = [f"too short and ignored for {_names(ignored)}"] if ignored else []
        parts += [f"read as {milliseconds / 1000:g} s for {quoted(name)}" for name, milliseconds in kept.items()]
        lines.append(
            f'mcpServers: "timeout" counts milliseconds: {", ".join(parts)}; '
            'if seconds were meant, write them as "callTimeout"'
        )
    return lines


def _names(servers: Iterable[str]) -> str:
    return ", ".join(quoted(server) for server in servers)
