"""The values of a configuration that must never be shown, for whatever writes logs, errors, metrics and traces."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .models import Config, ServerEntry

# Shorter ones occur in ordinary text by chance: redacting them would garble every line and hide nothing.
_SHORTEST = 6
_PLACES = ("HOME", "LOGNAME", "PATH", "PWD", "SHELL", "TEMP", "TERM", "TMPDIR", "USER", "USERNAME", "USERPROFILE")
_PLAIN_VARIABLES = frozenset({*_PLACES, "LANG", "LC_ALL", "LOG_LEVEL", "NODE_ENV", "TZ"})
_PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "user-agent"})

_PLAIN_WORD = re.compile(r"[A-Za-z]{1,15}")
_NUMBER = re.compile(r"[+-]?\d{1,11}(?:\.\d{1,6})?")
_TELLING = re.compile(
    r"key|token|secret|pass|auth|credential|bearer|cookie|session|signature|private|\bsig\b|\bpat\b", re.I
)
_USERINFO = re.compile(r"://[^/?#@:]*:([^/?#@]+)@")
_QUERY = re.compile(r"[?&]([^=&#]+)=([^&#]+)")
_HEADER_FLAGS = frozenset({"-H", "--header"})


def secrets(config: Config, environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """All values to redact: those of env and headers, what variables put into command, args, url and where telemetry
    is pushed to, and what a url or an argument itself calls a key, token or password.

    Left out is what is no secret and common in text: short values, numbers, the values of PATH, HOME and their like in
    `environ` (this process's by default), single plain words of variables whose name promises no secret
    (`MODE=production`), and the names of servers.
    """
    places = os.environ if environ is None else environ
    harmless = {places.get(name) for name in _PLACES}
    harmless.update(text for server in config.servers for text in (server.key, server.prefix))
    found = set(config.expanded)
    for pushed in (config.proxy.traces, config.proxy.metrics.otlp):
        found.update(_of_headers(pushed.headers), _of_text(pushed.endpoint or ""))
    for server in config.servers:
        found.update(server.expanded, _of_environment(server.entry), _of_headers(server.entry.headers))
        found.update(_of_arguments(server.entry.args), _of_text(server.entry.url or ""))
    # A log line never shows a line break as such: a key of many lines has to be found by each of them.
    found.update([line.strip() for value in found if "\n" in value for line in value.splitlines()])
    return frozenset(value for value in found if _is_worth_it(value) and value not in harmless)


def _is_worth_it(value: str) -> bool:
    return len(value.strip()) >= _SHORTEST and not _NUMBER.fullmatch(value)


def _of_environment(entry: ServerEntry) -> Iterator[str]:
    for name, value in entry.env.items():
        if name in _PLAIN_VARIABLES or (_PLAIN_WORD.fullmatch(value) and not _TELLING.search(name)):
            continue
        yield value
        yield from _of_text(value)


def _of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name.lower() not in _PLAIN_HEADERS:
            yield value
            # "Bearer abc": what is sent elsewhere and logged there is the second word.
            yield value.rpartition(" ")[2]


def _of_arguments(args: tuple[str, ...]) -> Iterator[str]:
    before = ""
    for argument in args:
        name, equals, value = argument.partition("=")
        if before in _HEADER_FLAGS:
            header, _, content = argument.partition(":")
            yield from _of_headers({header: content.strip()})
        elif before.startswith("-") and "=" not in before and _TELLING.search(before) and not argument.startswith("-"):
            yield argument
        elif equals and _TELLING.search(name):
            yield value
        yield from _of_text(argument)
        before = argument


def _of_text(text: str) -> Iterator[str]:
    """The password and the telling query values of an address in `text`: as they stand, and as a server reads them."""
    if "://" in text:
        values = _USERINFO.findall(text) + [value for name, value in _QUERY.findall(text) if _TELLING.search(name)]
        for value in values:
            yield value
            yield unquote(value)
