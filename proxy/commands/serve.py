"""`mcp-manifold serve`: one process for many clients, over the network."""

from __future__ import annotations

import argparse
import os

from .. import app
from ..config.load import load, locate
from ..config.models import Config
from .address import at_address


def main(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; 0 then, since ending is what was asked."""
    config = at_address(load(locate(arguments.config, os.environ), os.environ), arguments)
    # The web's libraries take half a second, and no other command needs them.
    from ..serve import run_http

    app.run(run_http, config, os.environ, lambda url: _tell(config, url))
    return 0


def _tell(config: Config, url: str) -> None:
    lines = [f"mcp-manifold serves {len(config.servers)} servers on {url}", f"  MCP    {url}/mcp", f"  page   {url}/"]
    if config.proxy.http.auth == "token":
        lines.append("  token  `mcp-manifold token` shows it; `mcp-manifold ui` opens the page with it")
    print("\n".join(lines), flush=True)
