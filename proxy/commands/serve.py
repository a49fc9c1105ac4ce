"""`mcp-manifold serve`: one process for many clients, over the network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

from .. import app
from ..config.load import load, locate
from ..config.models import Config
from ..web.guard import is_loopback
from .address import alike, at_address


def main(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; 0 then, since ending is what was asked."""
    config = at_address(load(locate(arguments.config, os.environ), os.environ), arguments)
    # The web's libraries take half a second, and no other command needs them.
    from ..serve import run_http

    app.run(run_http, config, os.environ, partial(_begun, config, arguments), _settled)
    return 0


def _begun(config: Config, arguments: argparse.Namespace, url: str) -> None:
    settings = config.proxy.http
    servers = "1 server" if len(config.servers) == 1 else f"{len(config.servers)} servers"
    lines = [f"mcp-manifold serves {servers} on {url}", f"  MCP    {url}/mcp", f"  page   {url}/"]
    if settings.auth == "token":
        shows = alike("token", arguments, "config")
        opens = alike("ui", arguments, "config", "host", "port")
        lines.append(f"  token  `{shows}` shows it; `{opens}` opens the page with it")
    if not is_loopback(settings.host):
        who = (
            "asks them for the token"
            if settings.auth == "token"
            else "ASKS NOBODY FOR A TOKEN: they may call every tool"
        )
        plain = "" if settings.tls_cert else ", and speaks to them without encryption"
        lines.append(f"  It listens at {settings.host}, for other machines too, {who}{plain}.")
    print("\n".join(lines), flush=True)


def _settled(count: int, troubled: Sequence[str]) -> None:
    """Every server has been looked at, and these are not well."""
    if troubled:
        what = "1 server is" if len(troubled) == 1 else f"{len(troubled)} servers are"
        print(f"  {what} not ready, of {count}: {', '.join(troubled)} (the log and `check` say why)", flush=True)
