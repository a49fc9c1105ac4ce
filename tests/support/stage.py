"""A relay on a pump, with everything that it emits kept, for tests of what stands on those two."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import anyio

from proxy import wire
from proxy.config.models import Config, ProxySettings, Server
from proxy.eras.handshake import LATEST, Offer
from proxy.events import Event, Notice, ServerOutput, ServerStateChanged
from proxy.fleet import Fleet
from proxy.fronts.local import LocalClient
from proxy.names import Given
from proxy.pump import Pump
from proxy.relay import Relay, Session
from proxy.remembered import Shelf
from proxy.supervisor import Supervisor
from proxy.transports.channel import Channel, Intake, Output
from proxy.transports.connect import Connect
from tests.support.scripted import PATIENCE, ScriptedServer, configured

Kind = TypeVar("Kind", bound=Event)

LONGEST_TEST = 3 * 24 * 3600.0
"""Seconds."""


class Stage:
    """The parts, on the running loop and by its clock. `notified` are the notifications that a client got.

    `listener` hears of each event the moment it happens.
    """

    def __init__(self, list_wait: float = 10.0, offer: Offer | None = None) -> None:
        self.events: list[Event] = []
        self.listener: Callable[[Event], object] = lambda event: None
        self.relay = Relay(emit=self.emit, name="hub", version="0", list_wait=list_wait, offer=offer)
        self.pump = Pump(self.relay, self.emit, clock=asyncio.get_running_loop().time)
        self.notified: list[tuple[str, Any]] = []
        self._changed = anyio.Event()

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.listener(event)
        self.note()

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Every event of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def states(self, server: str) -> list[str]:
        """The states that a server went through."""
        return [event.new for event in self.of(ServerStateChanged) if event.server == server]

    def notices(self, level: str) -> list[str]:
        return [event.text for event in self.of(Notice) if event.level == level]

    def printed(self, stream: str) -> list[str]:
        return [event.text for event in self.of(ServerOutput) if event.stream == stream]

    async def until(self, check: Callable[[], bool], what: str = "") -> None:
        """Wait until the check holds; it is looked at after each event, change and notification."""
        try:
            with anyio.fail_after(PATIENCE):
                while not check():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; saw {self.events} {self.notified}") from None

    async def client(self) -> LocalClient:
        """A client whose handshake is done."""

        def notified(method: str, params: bytes) -> None:
            self.notified.append((method, json.loads(params or b"null")))
            self.note()

        client = LocalClient(self.pump, "test", notified)
        await client.initialize()
        return client

    def greet(self, capabilities: Any) -> Session:
        """Another client, with these capabilities; what it is sent is dropped."""
        session = self.relay.open_session("able")
        info = {"name": "able", "version": "1"}
        hello = {"protocolVersion": LATEST, "capabilities": capabilities, "clientInfo": info}
        intake = self.pump.client_intake(session)
        intake.data(wire.request(1, "initialize", json.dumps(hello).encode()))
        intake.data(wire.notification("notifications/initialized"))
        return session

    def note(self) -> None:
        """Something happened: whoever waits looks again."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Apart:
    """A `Connect` for several servers, each with its own script."""

    def __init__(self, servers: Mapping[str, Connect]) -> None:
        self._servers = servers

    def __call__(self, server: Server, intake: Intake, output: Output) -> AbstractAsyncContextManager[Channel]:
        return self._servers[server.key](server, intake, output)


def configuration(*servers: Server, **proxy: Any) -> Config:
    """A configuration as it comes from a file."""
    return Config(Path("test.json"), ProxySettings(**proxy), servers)


@contextlib.asynccontextmanager
async def fleet_of(
    stage: Stage,
    servers: Mapping[str, Connect],
    *,
    entries: Mapping[str, Server] | None = None,
    shelf: Shelf | None = None,
    given: Given | None = None,
    afresh: bool = False,
    **proxy: Any,
) -> AsyncIterator[Fleet]:
    """A running fleet of scripted servers. Back-off takes its longest each time.

    With a `shelf`, such as `Listings(tmp_path, {})`, servers sleep as long as nobody needs them; what is remembered of
    them ages by the stage's clock.
    """
    known = {key: configured(key) for key in servers} | dict(entries or {})
    config = configuration(*known.values(), **proxy)
    fleet = Fleet(
        config,
        stage.pump,
        Apart(servers),
        stage.emit,
        random=lambda: 1.0,
        shelf=shelf,
        given=given,
        clock=stage.pump.now,
        afresh=afresh,
    )
    (await stage.client()).close()  # servers are greeted on behalf of a client
    stage.events.clear()
    # On virtual time a test that waits in vain is over at once.
    with anyio.fail_after(LONGEST_TEST):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.run)
            tasks.start_soon(_watch, fleet, stage)
            yield fleet
            tasks.cancel_scope.cancel()
    stage.pump.close()


async def _watch(fleet: Fleet, stage: Stage) -> None:
    while True:
        await fleet.progress()
        stage.note()


@contextlib.asynccontextmanager
async def supervised(
    stage: Stage, server: Connect, entry: Server | None = None, shelf: Shelf | None = None
) -> AsyncIterator[Supervisor]:
    """One supervisor, as its fleet runs it."""
    entry = entry or configured("one")
    async with fleet_of(stage, {entry.key: server}, entries={entry.key: entry}, shelf=shelf) as fleet:
        yield fleet.supervisors[0]


async def learn(
    shelf: Shelf, servers: Mapping[str, ScriptedServer], *, entries: Mapping[str, Server] | None = None, **proxy: Any
) -> None:
    """An earlier session, in which these servers were started and listed; no trace of it is left but in the shelf."""
    async with fleet_of(Stage(), servers, entries=entries, shelf=shelf, **proxy) as fleet:
        for supervisor in fleet.supervisors:
            await supervisor.until_learned()
    for server in servers.values():
        server.connections.clear()


async def call(client: LocalClient, tool: str, arguments: Any = None) -> Any:
    """A tool's result; raises RequestFailed."""
    params = {"name": tool, "arguments": {} if arguments is None else arguments}
    return json.loads(await client.request("tools/call", json.dumps(params).encode()))


async def listed(client: LocalClient) -> list[str]:
    """The names of all tools."""
    tools = json.loads(await client.request("tools/list"))["tools"]
    return [tool["name"] for tool in tools]
