"""What the shapes alone cannot say about an entry, and about entries together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..names import clean_prefix, longest_prefix
from .problems import Problem, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .models import ProxySettings, ServerEntry
    from .parse import Location

_URL = re.compile(r"https?://[^\s\0-\x20\x7f/?#]+[^\s\0-\x20\x7f]*", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?/?", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")


def flaws(entry: ServerEntry, *, expanded: bool) -> list[Problem]:
    """What is wrong with an entry; places are relative to it.

    Before expansion a value with a reference is given the benefit of the doubt, so that whatever is found is the
    file's fault; afterwards whatever is found came out of the environment.
    """
    return [
        *_transport_flaws(entry, expanded),
        *_process_flaws(entry),
        *header_flaws(entry.headers),
        *_rename_flaws(entry),
    ]


def _transport_flaws(entry: ServerEntry, expanded: bool) -> list[Problem]:
    if entry.command is not None and entry.url is not None:
        return [Problem((), "has both command and url; a server is started or reached, not both")]
    if entry.command is None and entry.url is None:
        return [Problem((), "needs a command (a program to start) or a url (a server to reach)")]
    if entry.command is not None and entry.type not in (None, "stdio"):
        return [Problem(("type",), f"{quoted(str(entry.type))} needs a url, but the entry has a command")]
    if entry.url is not None and entry.type == "stdio":
        return [Problem(("type",), '"stdio" needs a command, but the entry has a url')]
    if entry.command is not None and not entry.command.strip():
        return [Problem(("command",), "is empty")]
    if entry.url is not None and not _is_address(entry, expanded):
        return [Problem(("url",), "must be an address that begins with http:// or https:// and has no spaces")]
    return []


def _is_address(entry: ServerEntry, expanded: bool) -> bool:
    url = entry.url or ""
    return entry.type == "ws" or (not expanded and "${" in url) or is_address(url)


def is_address(url: str) -> bool:
    """Whether something could be reached there over HTTP."""
    return _URL.fullmatch(url) is not None


def _process_flaws(entry: ServerEntry) -> list[Problem]:
    """What no process could be started with."""
    texts: list[tuple[Location, str | None]] = [(("command",), entry.command), (("cwd",), entry.cwd)]
    texts += [(("args", index), text) for index, text in enumerate(entry.args)]
    texts += [(("env", name), text) for name, text in entry.env.items()]
    found = [Problem(place, "holds a NUL character") for place, text in texts if text is not None and "\0" in text]
    names: list[tuple[Location, str]] = [(("env", name), name) for name in entry.env]
    names += [(("inheritEnv", index), name) for index, name in enumerate(entry.inherit_env)]
    for place, name in names:
        if not name or "=" in name or "\0" in name:
            found.append(Problem(place, 'is no name of a variable: it is empty or holds "="'))
    if entry.cwd is not None and not entry.cwd.strip():
        found.append(Problem(("cwd",), "is empty"))
    return found


def header_flaws(headers: Mapping[str, str]) -> list[Problem]:
    """What no request could be sent with; places are relative to what has the headers."""
    found = []
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            found.append(Problem(("headers", name), "is no name of a header"))
        if "\r" in value or "\n" in value:
            found.append(Problem(("headers", name), "holds a line break, which would end the header"))
        elif value != value.strip():
            found.append(Problem(("headers", name), "begins or ends with a space"))
        elif not _HEADER_VALUE.fullmatch(value):
            found.append(Problem(("headers", name), "holds characters other than printable ASCII ones"))
    return found


def _rename_flaws(entry: ServerEntry) -> list[Problem]:
    found = []
    taken: dict[str, str] = {}
    for old, new in entry.tools.rename.items():
        place = ("tools", "rename", old)
        if not new:
            found.append(Problem(place, "the new name is empty"))
        elif new in taken:
            found.append(Problem(place, f"{quoted(taken[new])} is renamed to {quoted(new)}, too"))
        taken.setdefault(new, old)
    return found


def unused(entry: ServerEntry) -> tuple[str, ...]:
    """The keys of an entry that have a value, but no effect on its kind of server."""
    if entry.command is not None:
        return ("headers",) if entry.headers else ()
    given = {"args": entry.args, "env": entry.env, "cwd": entry.cwd, "inheritEnv": entry.inherit_env}
    return tuple(key for key, value in given.items() if value)


def too_long(entries: Mapping[str, ServerEntry], name: str) -> list[Problem]:
    """Enabled entries whose prefix leaves no room for the names of tools."""
    most = longest_prefix(name)
    found = []
    for key, entry in entries.items():
        prefix = key if entry.prefix is None else entry.prefix
        if entry.enabled and len(clean_prefix(prefix)) > most:
            place: Location = ("mcpServers", key) if entry.prefix is None else ("mcpServers", key, "prefix")
            what = f"a prefix may have at most {most} characters, so that tool names fit into 64 with mcp__{name}__"
            found.append(Problem(place, f'{what}; this one has {len(prefix)}, give it a shorter "prefix"'))
    return found


def unclear(proxy: ProxySettings) -> list[Problem]:
    """What the proxy section's shape lets pass although it means nothing."""
    if proxy.log.payloads is True:
        return [
            Problem(("proxy", "log", "payloads"), 'must be one of false, "names", "redacted", is true'),
            *_http_flaws(proxy),
        ]
    return _http_flaws(proxy)


def _http_flaws(proxy: ProxySettings) -> list[Problem]:
    """Hosts and origins that no browser or client would ever send."""
    found = []
    for index, host in enumerate(proxy.http.allowed_hosts):
        if not _HOST.fullmatch(host):
            what = f'{quoted(host)} is no name of a host, such as "hub.example.com" or "hub.example.com:8765"'
            found.append(Problem(("proxy", "http", "allowedHosts", index), what))
    for index, origin in enumerate(proxy.http.allowed_origins):
        if not _ORIGIN.fullmatch(origin):
            what = (
                f'{quoted(origin)} is no origin, such as "https://app.example.com": a scheme and a host, no path, no *'
            )
            found.append(Problem(("proxy", "http", "allowedOrigins", index), what))
    return found


def clashes(entries: Mapping[str, ServerEntry]) -> list[Problem]:
    """Enabled entries whose prefixes are the same once cleaned for names (`a b` and `a_b` both give `a_b`)."""
    owners: dict[str, str] = {}
    found = []
    for key, entry in entries.items():
        if not entry.enabled:
            continue
        prefix = clean_prefix(key if entry.prefix is None else entry.prefix)
        owner = owners.setdefault(prefix, key)
        if owner != key:
            place: Location = ("mcpServers", key) if entry.prefix is None else ("mcpServers", key, "prefix")
            what = (
                f"{quoted(prefix)} is the prefix of {quoted(owner)}, too"
                if prefix
                else (f"{quoted(owner)} has no prefix either; only one can do without")
            )
            found.append(Problem(place, f'two entries for one prefix: {what}; give one of them another "prefix"'))
    return found
