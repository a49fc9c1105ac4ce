"""The hub's configuration as its commands see it: the file, and what the command line says about its address."""

from __future__ import annotations

import argparse
import os
import shlex

from ..config.load import VARIABLE, load, locate
from ..config.models import Config


def hub_config(arguments: argparse.Namespace) -> Config:
    """The configuration for a command that asks a hub, which may run with another file than the user's own.

    Where none was named and there is none, the defaults: the address and the token are most often just those.
    """
    path = locate(arguments.config, os.environ)
    if arguments.config is None and VARIABLE not in os.environ and not path.exists():
        return at_address(Config(path), arguments)
    return at_address(load(path, os.environ), arguments)


def at_address(config: Config, arguments: argparse.Namespace) -> Config:
    """The configuration with --host and --port in it, where they were given."""
    given = {name: value for name in ("host", "port") if (value := getattr(arguments, name, None)) is not None}
    return config.with_given(given)


def alike(command: str, arguments: argparse.Namespace, *names: str) -> str:
    """How another command is asked about the same hub: with these of the options that were given here."""
    given = [(name, getattr(arguments, name)) for name in names if getattr(arguments, name) is not None]
    return " ".join(["mcp-manifold", command, *(f"--{name} {shlex.quote(str(value))}" for name, value in given)])
