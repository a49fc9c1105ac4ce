"""`mcp-manifold token`: the access token of the hub."""

from __future__ import annotations

import argparse

from ..config.load import state_directory
from ..web.token import load_token
from .address import hub_config


def main(arguments: argparse.Namespace) -> int:
    """Print it, and nothing else, for `$(mcp-manifold token)`."""
    config = hub_config(arguments)
    print(load_token(state_directory(config.proxy), config.proxy.http.token_file))
    return 0
