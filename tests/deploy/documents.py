"""What is deployed, read as the tools that use it read it; and the table of our series."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types

from tests.support.servers import ROOT

DEPLOY = ROOT / "deploy"

_DERIVED = ("_bucket", "_sum", "_count")


def load(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text())


def series() -> dict[str, set[str]]:
    """The series of docs/metrics.md and their labels, with what a histogram is made of."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if row := re.fullmatch(r"\| `(mcp_manifold_\w+)` \| (\w+) \| (.*?) ?\| .*", line):
            name, kind, labels = row.groups()
            own = set(re.findall(r"`(\w+)`", labels))
            if kind == "histogram":
                found |= {name + suffix: own | {"le"} if suffix == "_bucket" else own for suffix in _DERIVED}
            else:
                found[name] = own
    return found


def unknown(expression: str, *, also: frozenset[str] = frozenset()) -> list[str]:
    """What an expression names and we don't export: series, and labels of selectors. `also` are recorded series."""
    known = series()
    wrong = []
    for name, selector in re.findall(r"\b((?:server:)?mcp_manifold_[\w:]+)(?:\{(.*?)\})?", expression):
        if name in also:
            continue
        if name not in known:
            wrong.append(name)
            continue
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", selector))
        wrong += [f"{name}{{{label}}}" for label in sorted(asked - known[name] - {"job", "instance"})]
    return wrong
