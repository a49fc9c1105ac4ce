"""The hub: one process for many clients, over the network. Puts its ways in together, as `app` does for stdio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
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
from .web.guard import Guard, WrongTokens
from .web.health import Health
from .web.live import Live
from .web.login import Login
from .web.openapi import OpenApi
from .web.page import Page
from .web.rest import Rest
from .web.server import Server
from .web.site import Handler, Site
from .web.streamable import StreamableHttp
from .web.token import load_token
from .web.websocket import WebSocketFront


async def run_http(
    config: Config,
    environ: Mapping[str, str],
    begun: Callable[[str], None],
    settled: Callable[[int, Sequence[str]], None],
) -> None:
    """Serve clients over the network until a signal comes.

    `begun` gets the address once clients can come; `settled`, when every server has been looked at, how many there are
    and which of them are not well. Raises CantServe and NoToken.
    """
    hub = app.Hub(config, environ, offer=SHARED, traced=True)
    settings = config.proxy.http
    token = load_token(state_directory(config.proxy), settings.token_file) if settings.auth == "token" else None
    if token is not None:
        hub.redactor.learn({token})
    async with AsyncExitStack() as telemetry:
        watchers = app.open_telemetry(hub, telemetry, measure=True)
        overview = app.open_overview(hub, ours=("rest",))
        hub.bus.open(*watchers.observers, overview.status)
        live = Live(overview)
        page = Page()
        login = Login(token, hub.pump.now)
        streamable = StreamableHttp(
            hub.pump, timeout=settings.session_timeout, largest=settings.max_body, most=settings.max_in_flight
        )
        websocket = WebSocketFront(hub.pump, most=settings.max_in_flight)
        rest = LocalClient(hub.pump, "rest", name="rest", most=settings.max_in_flight, front="rest")
        assert watchers.outlets is not None
        health = Health(lambda: hub.fleet.settled, partial(generate_latest, watchers.outlets.metrics.registry))
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
        guard = Guard(
            host=settings.host,
            token=token,
            hosts=settings.allowed_hosts,
            origins=settings.allowed_origins,
            wrong=WrongTokens(hub.bus, hub.pump.now),
        )
        server = Server(settings, Site(guard, handlers, {"ws": websocket.serve, "live": live.live}))
        async with AsyncExitStack() as signals, anyio.create_task_group() as tasks:
            if sys.platform != "win32":
                receiver = signals.enter_context(anyio.open_signal_receiver(*app.SIGNALS))
                tasks.start_soon(app.obey_signals, receiver, hub, tasks)
            async with hub.servers():
                await rest.initialize()
                tasks.start_soon(hub.reloader.watch)
                if config.proxy.control:
                    tasks.start_soon(app.serve_control, hub, overview, "serve")
                watchers.outlets.is_at(server.url)
                tasks.start_soon(app.publish, watchers.outlets)
                tasks.start_soon(streamable.expire)
                begun(server.url)
                tasks.start_soon(_tell_settled, hub, settled)
                try:
                    await server.run(streamable.close)
                finally:
                    rest.close()


async def _tell_settled(hub: app.Hub, settled: Callable[[int, Sequence[str]], None]) -> None:
    await hub.fleet.until_settled()
    reports = hub.fleet.reports()
    settled(len(reports), [report.server for report in reports if report.problem])


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
