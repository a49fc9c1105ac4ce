"""`mcp-manifold token`: the access token of the hub."""

from __future__ import annotations

import argparse
import os

from ..config.load import load, locate, state_directory
from ..web.token import load_token


def main(arguments: argparse.Namespace) -> int:
    """Print it, and nothing else, for `$(mcp-manifold token)`."""
    config = load(locate(arguments.config, os.environ), os.environ)
    print(load_token(state_directory(config.proxy)))
    return 0
