"""`mcp-manifold ui`: the page of a running hub."""

from __future__ import annotations

import argparse
import ssl
import webbrowser
from typing import Final

import msgspec

from ..config.load import state_directory
from ..config.models import Config, HttpSettings
from ..errors import ManifoldError
from ..web.guard import reached_at
from ..web.token import load_token
from .address import hub_config

_PATIENCE: Final = 10.0


def main(arguments: argparse.Namespace) -> int:
    """Print a link that opens the page once, and open it where there is a browser."""
    config = hub_config(arguments)
    link = _link(config)
    print(link, flush=True)
    if not arguments.print and not webbrowser.open(link):
        print("no browser was found: open the link above within a minute")
    return 0


def _link(config: Config) -> str:
    import httpx2  # here, since no other command speaks HTTP by itself

    settings = config.proxy.http
    url = f"{'https' if settings.tls_cert else 'http'}://{reached_at(settings.host)}:{settings.port}"
    if settings.auth == "none":
        return f"{url}/"
    token = load_token(state_directory(config.proxy), settings.token_file)
    try:
        # Not by way of a proxy that the environment names: it would see the token.
        with httpx2.Client(verify=_trusted(settings), trust_env=False, timeout=_PATIENCE) as client:
            answer = client.post(f"{url}/links", headers={"Authorization": f"Bearer {token}"})
    except httpx2.HTTPError as problem:
        raise ManifoldError(f"no hub answers at {url} ({problem}); `mcp-manifold serve` starts one") from None
    if answer.status_code == 401:
        text = (
            f"the hub at {url} does not take this token: it has another configuration (--config), or was started before"
        )
        raise ManifoldError(f"{text} the token was made; then start it again")
    try:
        code = msgspec.json.decode(answer.content, type=dict[str, str | float])["code"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        raise ManifoldError(f"what listens at {url} is no hub: it answered HTTP {answer.status_code}") from None
    return f"{url}/#{code}"


def _trusted(settings: HttpSettings) -> ssl.SSLContext | bool:
    """Its own certificate is trusted, whoever signed it: it is on this machine."""
    if settings.tls_cert is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(settings.tls_cert)
    except OSError as problem:
        raise ManifoldError(f"`proxy.http.tlsCert` can't be read ({settings.tls_cert}): {problem}") from None
    return context
