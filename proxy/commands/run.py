"""`mcp-manifold run`: serve a client on stdio."""

from __future__ import annotations

import argparse
import gc
import os
import sys

from .. import app
from ..config.load import load, locate
from ..fronts.stdio import StandardStreams


def main(arguments: argparse.Namespace) -> int:
    """Serve until the client is gone; 0 then, and after a signal too, since ending is what was asked."""
    config = load(locate(arguments.config, os.environ), os.environ)
    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "mcp-manifold speaks MCP on stdin and stdout, for a client to start; "
            "`mcp-manifold check` and `mcp-manifold tools` are for people. Ctrl-D ends it.",
            file=sys.stderr,
        )
    gc.enable()  # see __main__.py
    app.run(app.run_stdio, config, os.environ, StandardStreams())
    return 0
