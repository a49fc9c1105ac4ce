"""Find the configuration, read it, and put it together; the one module that reads the disk."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import ConfigError
from . import checks, pushing
from .document import understand
from .environment import child_environment
from .expand import Findings, expand, expand_entry, explain_missing
from .models import Config, HttpSettings, ProxySettings, Server, ServerEntry
from .parse import TextError, parse
from .problems import Problem, json_path, one_line, render
from .secrets import secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Config", "Server", "load", "load_text", "locate", "secrets", "state_directory"]

VARIABLE = "MCP_MANIFOLD_CONFIG"
# Far beyond any configuration, far below what reading /dev/zero would do to the machine.
_LARGEST = 16 * 1024 * 1024
_HUB = re.compile(r"https?://(\[[^]/]+\]|[^/:?#]+):(\d{1,5})/mcp/?$", re.IGNORECASE)
# Paths are not secret, but common: HOME in args must not turn every logged path into asterisks.
_SHOWN_VARIABLES = frozenset({"HOME", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "USER"})
# Section, field and key of each path of ours, in the order in which problems are told.
_PATHS = (
    ("log", "file", "file"),
    ("audit", "file", "file"),
    ("metrics", "textfile", "textfile"),
    ("http", "token_file", "tokenFile"),
    ("http", "tls_cert", "tlsCert"),
    ("http", "tls_key", "tlsKey"),
)
_EXAMPLE = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}'


def locate(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """Where the configuration is: `explicit` (--config), else $MCP_MANIFOLD_CONFIG, else the user's own.

    It need not exist. The working directory is never searched: it is the client's, and may be anybody's checkout.
    """
    given = explicit if explicit is not None else environ.get(VARIABLE)
    if given:
        return _absolute(_with_home(Path(given), environ))
    # Most clients name their file; the others pay for this import.
    from platformdirs import user_config_path

    return user_config_path("mcp-manifold", appauthor=False) / "config.json"


def state_directory(proxy: ProxySettings) -> Path:
    """The directory for what outlives the process; it need not exist."""
    if proxy.state_dir is not None:
        return proxy.state_dir
    # Only what keeps state pays for this import.
    from platformdirs import user_state_path

    return user_state_path("mcp-manifold", appauthor=False)


def state_of_a_broken(path: Path, environ: Mapping[str, str]) -> Path | None:
    """The state directory of a file that is refused, for a look at who runs with it; None where it can't be told."""
    try:
        data = parse(_read(path)).data
    except TextError:
        return None
    proxy = data.get("proxy", {}) if isinstance(data, dict) else None
    given = proxy.get("stateDir") if isinstance(proxy, dict) else False
    if given is not None and not (isinstance(given, str) and given):
        return None
    settled, problems = _settle(ProxySettings(state_dir=None if given is None else Path(given)), path, environ)
    return None if problems else state_directory(settled)


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read the file at `path` and expand it with `environ`.

    Raises ConfigError with one finished line for each problem, and nothing else whatever the file holds. A server
    that lacks a variable, or is of a kind that is not served, is no such problem: its `problem` says why it can't run.
    """
    return _load(lambda: _read(path), _absolute(path), environ)


def load_text(text: str, path: Path, environ: Mapping[str, str], called: str = "") -> Config:
    """The same of a configuration that is there already; `path` is where it would be, with all that is relative.

    Problems name it as it is `called`.
    """
    return _load(lambda: text, path, environ, called)


def _load(read: Callable[[], str], path: Path, environ: Mapping[str, str], called: str = "") -> Config:
    file = called or str(path)
    try:
        parsed = parse(read())
    except TextError as error:
        raise ConfigError((render(file, Problem((), str(error))),)) from None
    problems = [Problem(place, "is given twice") for place in parsed.repeated]
    problems += [Problem(place, "holds half a character (a lone surrogate)") for place in parsed.broken]
    if problems:
        raise ConfigError(tuple(render(file, problem) for problem in problems))
    document = understand(parsed.data)
    if document.file is None:
        raise ConfigError(tuple(render(file, problem) for problem in document.problems))
    proxy, problems = _settle(document.file.proxy, path, environ)
    if problems:
        raise ConfigError(tuple(render(file, problem) for problem in problems))
    servers = []
    unclear: list[str] = []
    for key, entry in document.file.mcp_servers.items():
        server, findings = _resolve(key, entry, path, environ, proxy.http)
        servers.append(server)
        unclear += [f"{json_path(('mcpServers', key))}.{place}" for place in findings.unclear]
    traces, lines, values = pushing.settle(proxy.traces, environ)
    otlp, lines_of_otlp, values_of_otlp = pushing.settle(proxy.metrics.otlp, environ)
    proxy = replace(proxy, traces=traces, metrics=replace(proxy.metrics, otlp=otlp))
    lines += [*lines_of_otlp, *document.warnings]
    if unclear:
        places = ", ".join(dict.fromkeys(unclear))
        lines.append(f"passed on as written, as only ${{VAR}} and ${{VAR:-default}} are filled in: {places}")
    if strangers := [key for key in proxy.log.levels if key not in document.file.mcp_servers]:
        lines.append(f"proxy.log.levels: there is no server of this name: {', '.join(strangers)}")
    if not servers:
        lines.append("mcpServers: is empty, so there is nothing to serve")
    warnings = tuple(one_line(f"{file}: {line}") for line in lines)
    return Config(path, proxy, tuple(servers), warnings, values | values_of_otlp)


def _read(path: Path) -> str:
    try:
        # Not is_file(): `--config <(decrypt config)` is a pipe.
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        raise TextError(
            f"there is no such file; write {_EXAMPLE} into it, name another with --config or ${VARIABLE}, "
            'or try "mcp-manifold demo", which needs none'
        ) from None
    except IsADirectoryError:
        raise TextError("is a directory; the configuration is a JSON file") from None
    except PermissionError:
        raise TextError("may not be read by this user; check its permissions") from None
    except (OSError, ValueError) as error:
        # ValueError: a path with a NUL character.
        raise TextError(f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > _LARGEST:
        raise TextError(f"is larger than {_LARGEST // 1024 // 1024} MiB")
    try:
        # The codec "utf-8-sig" would do it, too, but is one more module to import.
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise TextError("is UTF-16; save it as UTF-8") from None
        line = data.count(b"\n", 0, error.start) + 1
        raise TextError(f"line {line}: is not UTF-8; save the file as UTF-8") from None


def _settle(proxy: ProxySettings, path: Path, environ: Mapping[str, str]) -> tuple[ProxySettings, list[Problem]]:
    """The proxy section with absolute paths: variables and ~ filled in, relative ones beside the file."""
    problems = []

    def settle(value: Path, *place: str) -> Path:
        findings = Findings()
        text = expand(str(value), environ, findings)
        if findings.missing:
            problems.append(Problem(("proxy", *place), explain_missing(findings.missing)))
        elif "\0" in text:
            problems.append(Problem(("proxy", *place), "holds a NUL character"))
        elif not text:
            problems.append(Problem(("proxy", *place), "is empty once its variables are filled in"))
        return path.parent / _with_home(Path(text), environ)

    for section, name, key in _PATHS:
        settings = getattr(proxy, section)
        value = getattr(settings, name)
        if value is not None:
            proxy = replace(proxy, **{section: replace(settings, **{name: settle(value, section, key)})})
    if proxy.state_dir is not None:
        proxy = replace(proxy, state_dir=settle(proxy.state_dir, "stateDir"))
    log, audit = proxy.log.file, proxy.audit.file
    if not problems and log is not None and audit is not None and os.path.normpath(log) == os.path.normpath(audit):
        what = "is the file of the log, too, which is moved and in the end removed; the audit needs one of its own"
        problems.append(Problem(("proxy", "audit", "file"), what))
    return proxy, problems


def _resolve(
    key: str, entry: ServerEntry, path: Path, environ: Mapping[str, str], hub: HttpSettings
) -> tuple[Server, Findings]:
    prefix = key if entry.prefix is None else entry.prefix
    expanded, findings = expand_entry(entry, environ)
    problem = _why_not(expanded, findings, path, environ) if entry.enabled else None
    if problem is None and entry.enabled and _is_hub(expanded, hub):
        problem = "it is the hub of this same file, which would ask itself for ever"
    values = frozenset(value for name, value in findings.values.items() if name not in _SHOWN_VARIABLES)
    return Server(key, prefix, expanded, problem, values), findings


def _why_not(entry: ServerEntry, findings: Findings, path: Path, environ: Mapping[str, str]) -> str | None:
    """Why this one server can't be started, if it can't; never with a value in it."""
    if entry.type == "ws":
        return 'WebSocket servers (type "ws") are not supported; use "http" or "sse", or a command that bridges'
    if findings.missing:
        return explain_missing(findings.missing)
    found = checks.flaws(entry, expanded=True)
    if found:
        place, what = found[0]
        return one_line(f"{json_path(place)} {what} once its variables are filled in")
    if _starts_itself(entry, path, environ):
        return "it starts mcp-manifold on this same file, which would never end"
    return None


def _starts_itself(entry: ServerEntry, path: Path, environ: Mapping[str, str]) -> bool:
    """Whether the entry is this proxy's own, as happens when a client's whole file is copied."""
    words = (entry.command or "", *entry.args)
    ours = [
        index
        for index, word in enumerate(words)
        if PurePath(word).stem == "mcp-manifold" or words[index - 1 : index + 1] == ("-m", "proxy")
    ]
    if not ours or "run" not in words[ours[0] + 1 :]:
        return False
    given = child_environment(entry, environ).get(VARIABLE)
    for index, word in enumerate(words):
        if word == "--config" and index + 1 < len(words):
            given = words[index + 1]
        elif word.startswith("--config="):
            given = word.removeprefix("--config=")
    return os.path.realpath(locate(given, environ if given else {})) == os.path.realpath(path)


def _is_hub(entry: ServerEntry, hub: HttpSettings) -> bool:
    """Whether the entry is where `serve` answers, as happens when a client's whole file is copied."""
    found = _HUB.match(entry.url or "")
    return (
        found is not None
        and int(found[2]) == hub.port
        and found[1].lower() in ("localhost", "127.0.0.1", "[::1]", hub.host.lower())
    )


def _with_home(path: Path, environ: Mapping[str, str]) -> Path:
    """`~` filled in: the arguments in a client's file have seen no shell."""
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home, *path.parts[1:]) if home and path.parts[:1] == ("~",) else path


def _absolute(path: Path) -> Path:
    """Absolute, so that messages are clear to somebody who does not know the client's working directory."""
    try:
        return path.absolute()
    except OSError:
        # The working directory is gone.
        return path
