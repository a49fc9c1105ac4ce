"""`${VAR}` and `${VAR:-default}` in the values of an entry.

As in bash, `${VAR}` is the variable, even if empty, and `${VAR:-default}` is the default where the variable is unset or
empty. A default may be empty and may hold anything but `}`. `${env:VAR}`, which editors write, means `${VAR}`. Values
are not expanded again. `$VAR` is plain text; so is `${VAR}` written as `$${VAR}`, which loses one `$`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .models import ServerEntry

_REFERENCE = re.compile(
    r"""
      \$ (?P<escape> \$ (?=\{) )
    | \$\{ (?:env:)? (?P<name> [A-Za-z_][A-Za-z0-9_]*) (?: :- (?P<default> [^}]*) )? \}
    | \$\{ (?P<question> input:[^}]*) \}
    | (?P<other> \$\{ )
    """,
    re.VERBOSE,
)
_BARE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
# What editors fill in themselves: there is no such environment variable, and none should be set.
_EDITORS_OWN = frozenset({"workspaceFolder", "workspaceFolderBasename", "workspaceRoot", "userHome", "pathSeparator"})


class Findings(msgspec.Struct):
    """What came up while expanding; one serves for all texts of an entry.

    `missing` are names that are unset and have no default, `values` what the environment filled in (not the defaults,
    which the file shows anyway), `unclear` the places where something looks like a reference but is none.
    """

    missing: dict[str, None] = {}
    values: dict[str, str] = {}
    unclear: list[str] = []


def expand(text: str, environ: Mapping[str, str], findings: Findings, place: str = "") -> str:
    """`text` with its references replaced; those that can't be stay as they are and are noted in `findings`."""
    if "${" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        if match["other"]:
            findings.unclear.append(place)
            return match[0]
        name, default = match["name"], match["default"]
        if name is None:
            findings.missing[match["question"]] = None
            return match[0]
        value = environ.get(name)
        if default is not None and not value:
            if "${" in default:
                findings.unclear.append(place)
            return default
        if value is None:
            findings.missing[name] = None
            return match[0]
        findings.values[name] = value
        return value

    return _REFERENCE.sub(replace, text)


def expand_entry(entry: ServerEntry, environ: Mapping[str, str]) -> tuple[ServerEntry, Findings]:
    """The entry with command, args, env, cwd, url and headers expanded. Names of env and headers are left alone."""
    findings = Findings()

    def one(text: str, place: str) -> str:
        return expand(text, environ, findings, place)

    def table(texts: Mapping[str, str], place: str) -> dict[str, str]:
        for name, text in texts.items():
            # Gemini CLI expands this; here it would reach the server as it stands.
            if _BARE.fullmatch(text):
                findings.unclear.append(f"{place}.{name}")
        return {name: one(text, f"{place}.{name}") for name, text in texts.items()}

    # In the order of the shape, which is the order in which missing names are reported.
    expanded = msgspec.structs.replace(
        entry,
        command=entry.command and one(entry.command, "command"),
        args=tuple(one(text, f"args[{index}]") for index, text in enumerate(entry.args)),
        env=table(entry.env, "env"),
        cwd=entry.cwd and one(entry.cwd, "cwd"),
        url=entry.url and one(entry.url, "url"),
        headers=table(entry.headers, "headers"),
    )
    return expanded, findings


def explain_missing(names: Iterable[str]) -> str:
    """One sentence on the references that could not be filled."""
    questions = [name for name in names if name.startswith("input:")]
    editors = [name for name in names if name in _EDITORS_OWN]
    variables = [name for name in names if name not in editors and name not in questions]
    parts = []
    if len(variables) == 1:
        parts.append(f"the environment variable {variables[0]} is not set")
    elif variables:
        parts.append(f"the environment variables {', '.join(variables[:-1])} and {variables[-1]} are not set")
    parts += [f"${{{name}}} is filled in by an editor, not here: write it out" for name in editors]
    parts += [f"${{{name}}} is a question asked by VS Code, not here: use ${{VAR}}" for name in questions]
    return "; ".join(parts)
