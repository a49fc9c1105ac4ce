"""The hub: one process for many clients, over the network. Puts its ways in together, as `app` does for stdio."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import anyio
from prometheus_client import generate_latest

from . import app
from .config.load import state_directory
from .config.models import Config
from .eras.handshake import SHARED
from .fronts.local import LocalClient
from .web.arguments import Arguments
from .web.guard import Guard
from .web.health import Health
from .web.live import Live
from .web.login import Login
from .web.openapi import OpenApi
from .web.page import Page
from .web.rest import Rest
from .web.server import Server
from .web.site import Handler, Site
from .web.status import Status
from .web.streamable import StreamableHttp
from .web.token import load_token
from .web.websocket import WebSocketFront


async def run_http(config: Config, environ: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Serve clients over the network until a signal comes; `tell` gets the address once clients can come.

    Raises CantServe and NoToken.
    """
    hub = app.Hub(config, environ, offer=SHARED)
    settings = config.proxy.http
    token = load_token(state_directory(config.proxy)) if settings.auth == "token" else None
    if token is not None:
        hub.redactor.learn({token})
    async with AsyncExitStack() as telemetry:
        watchers = app.open_telemetry(hub, telemetry, measure=True)
        status = Status(time.time, hub.redactor, ours=("rest",))
        hub.bus.open(*watchers.observers, status)
        live = Live(hub.fleet, hub.pump, status, time.time, hub.redactor)
        page = Page()
        login = Login(token, hub.pump.now)
        streamable = StreamableHttp(
            hub.pump, timeout=settings.session_timeout, largest=settings.max_body, most=settings.max_in_flight
        )
        websocket = WebSocketFront(hub.pump, most=settings.max_in_flight)
        rest = LocalClient(hub.pump, "rest", name="rest", most=settings.max_in_flight)
        assert watchers.registry is not None
        health = Health(lambda: hub.fleet.settled, partial(generate_latest, watchers.registry))
        handlers = {
            "mcp": streamable.serve,
            "links": login.links,
            "login": login.login,
            "healthz": health.healthz,
            "readyz": health.readyz,
            "metrics": health.metrics,
            "servers": live.servers,
            "calls": live.calls,
            "": page.serve,
            "page": page.serve,
            **_rest_handlers(hub, rest),
        }
        guard = Guard(host=settings.host, token=token, hosts=settings.allowed_hosts, origins=settings.allowed_origins)
        server = Server(settings, Site(guard, handlers, {"ws": websocket.serve, "live": live.live}))
        async with AsyncExitStack() as signals, anyio.create_task_group() as tasks:
            if sys.platform != "win32":
                receiver = signals.enter_context(anyio.open_signal_receiver(*app.SIGNALS))
                tasks.start_soon(app.obey_signals, receiver, hub, tasks)
            async with hub.servers():
                await rest.initialize()
                tasks.start_soon(hub.reloader.watch)
                tasks.start_soon(streamable.expire)
                tell(server.url)
                try:
                    await server.run(streamable.close)
                finally:
                    rest.close()


def _rest_handlers(hub: app.Hub, client: LocalClient) -> dict[str, Handler]:
    """The routes of plain HTTP, all of whose requests go through one client."""
    settings = hub.config.proxy.http
    arguments = Arguments(lambda: hub.relay.catalogue, hub.bus)
    rest = Rest(client, hub.relay, arguments, largest=settings.max_body, most=settings.max_in_flight)
    openapi = OpenApi(client, hub.relay, "mcp-manifold", with_token=settings.auth == "token")
    return {
        "tools": rest.tools,
        "resources": rest.resources,
        "prompts": rest.prompts,
        "openapi.json": openapi.serve,
    }
