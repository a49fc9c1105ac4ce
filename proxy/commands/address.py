"""Where the hub listens, as the command line has it."""

from __future__ import annotations

import argparse
import dataclasses

from msgspec.structs import replace

from ..config.models import Config


def at_address(config: Config, arguments: argparse.Namespace) -> Config:
    """The configuration with --host and --port in it, where they were given."""
    given = {name: value for name in ("host", "port") if (value := getattr(arguments, name)) is not None}
    if not given:
        return config
    return dataclasses.replace(config, proxy=replace(config.proxy, http=replace(config.proxy.http, **given)))
