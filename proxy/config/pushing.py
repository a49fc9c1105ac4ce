"""Where telemetry is pushed to: the collector's address and headers, filled in and checked.

A collector that can't be told is no reason not to serve: then nothing is pushed, and a warning says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from . import checks
from .expand import Findings, expand, explain_missing
from .models import OtlpSettings, TracesSettings
from .problems import Problem, json_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .parse import Location

PATH = "/v1/traces"
"""Where collectors take traces, unless the endpoint has a path."""

Settings = TypeVar("Settings", bound=TracesSettings | OtlpSettings)


class _Kind(NamedTuple):
    """What is pushed: where its settings are in the file, and the path that collectors take it at."""

    place: Location
    path: str
    what: str


_KINDS: Final[dict[type, _Kind]] = {
    TracesSettings: _Kind(("proxy", "traces"), PATH, "traces"),
    OtlpSettings: _Kind(("proxy", "metrics", "otlp"), "/v1/metrics", "metrics"),
}


def flaws(settings: Settings, *, expanded: bool) -> list[Problem]:
    """What is wrong with these settings. Before expansion a value with a reference has the benefit of the doubt."""
    at = _KINDS[type(settings)].place
    found = [Problem((*at, *place), what) for place, what in checks.header_flaws(settings.headers)]
    address = settings.endpoint
    if address is not None and not (not expanded and "${" in address) and not checks.is_address(address):
        what = "must be an address that begins with http:// or https:// and has no spaces"
        found.append(Problem((*at, "endpoint"), what))
    return found


def settle(settings: Settings, environ: Mapping[str, str]) -> tuple[Settings, list[str], frozenset[str]]:
    """The settings with their variables filled in, warnings, and the values that the environment gave."""
    if settings.endpoint is None:
        return settings, [], frozenset()
    kind, findings = _KINDS[type(settings)], Findings()
    endpoint = expand(settings.endpoint, environ, findings)
    headers = {name: expand(text, environ, findings) for name, text in settings.headers.items()}
    full = replace(settings, endpoint=_with_path(endpoint, kind.path), headers=headers)
    values = frozenset(findings.values.values())
    wrong = flaws(full, expanded=True)
    if findings.missing:
        why = explain_missing(findings.missing)
    elif wrong:
        place, what = wrong[0]
        why = f"{json_path(place)} {what} once its variables are filled in"
    else:
        return full, [], values
    return replace(settings, endpoint=None), [f"no {kind.what} are sent: {why}"], values


def _with_path(endpoint: str, path: str) -> str:
    try:
        bare = urlsplit(endpoint).path in ("", "/")
    except ValueError:  # no address, which is told elsewhere
        return endpoint
    return endpoint.rstrip("/") + path if bare and not set(endpoint) & {"?", "#"} else endpoint
