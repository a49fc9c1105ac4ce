"""The hub: one process for many clients, over the network. Puts its ways in together, as `app` does for stdio."""

from __future__ import annotations

import sys
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
from .web.guard import Guard
from .web.health import Health
from .web.login import Login
from .web.server import Server
from .web.site import Site
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
        hub.bus.open(*watchers.observers)
        login = Login(token, hub.pump.now)
        streamable = StreamableHttp(
            hub.pump, timeout=settings.session_timeout, largest=settings.max_body, most=settings.max_in_flight
        )
        websocket = WebSocketFront(hub.pump, most=settings.max_in_flight)
        assert watchers.registry is not None
        health = Health(lambda: hub.fleet.settled, partial(generate_latest, watchers.registry))
        handlers = {
            "mcp": streamable.serve,
            "links": login.links,
            "login": login.login,
            "healthz": health.healthz,
            "readyz": health.readyz,
            "metrics": health.metrics,
        }
        guard = Guard(host=settings.host, token=token, hosts=settings.allowed_hosts, origins=settings.allowed_origins)
        server = Server(settings, Site(guard, handlers, {"ws": websocket.serve}))
        async with AsyncExitStack() as signals, anyio.create_task_group() as tasks:
            if sys.platform != "win32":
                receiver = signals.enter_context(anyio.open_signal_receiver(*app.SIGNALS))
                tasks.start_soon(app.obey_signals, receiver, hub, tasks)
            async with hub.servers():
                rest = LocalClient(hub.pump, "rest")
                await rest.initialize()
                tasks.start_soon(hub.reloader.watch)
                tasks.start_soon(streamable.expire)
                tell(server.url)
                try:
                    await server.run()
                finally:
                    streamable.close()
                    rest.close()
