"""The proxy's side of the control socket: shows what there is to see, and restarts a server when it is told to.

One line of JSON each way. A request is `{"op": "status"}`, `{"op": "watch"}`, `{"op": "restart", "server": KEY}` or
`{"op": "tail", "server": KEY, "after": NUMBER}`. Whatever is said here, and however much of it, calls go on.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskGroup

from .. import __version__, memory
from ..aside import aside
from ..events import Emit, Notice
from ..overview import EVERY, PATIENCE, Changes, Overview
from ..status import Client
from ..texts import printable
from . import peer, stream
from .place import PROTOCOL, Card, Place, find, take

MOST_CONNECTIONS: Final = 16
"""Who comes while so many are there is told so."""

LONGEST_REQUEST: Final = 4096
"""Bytes of one line."""

MOST_JUNK: Final = 20
"""Lines of one connection that are no requests; then it is closed."""

BREATH: Final = 0.02
"""Seconds between two requests of one connection: nobody keeps the proxy busy with them."""

SILENCE: Final = 60.0
"""Seconds after which a connection is closed that asks nothing."""

BEAT: Final = 2.0
"""Seconds after which a watcher is told that there is nothing new: the proxy is alive."""

LOOK: Final = 15.0
"""Seconds between two looks at whether the socket is there: somebody may empty the state directory."""

_MOST_CLIENTS: Final = 20
_AGAIN: Final = 1.0
_AT_ONCE: Final = 64 * 1024


class Process(msgspec.Struct, frozen=True):
    """The process that is seen. `at` is the Unix time of its start, `log` the file of its log ("": stderr)."""

    pid: int
    kind: str
    session: str
    at: float
    version: str
    config: str
    log: str
    clients: list[Client]
    """Those that came first."""


class Request(msgspec.Struct):
    """What is asked. `server` is a key of the configuration; `after` the number of the last line that is known."""

    op: str
    server: str = ""
    after: int = 0


class Control:
    """Listens while `run` runs. `kind` is "run" or "serve", `session` the client's where there is one client.

    `uid_of` says whose a connection is.
    """

    def __init__(
        self,
        overview: Overview,
        emit: Emit,
        *,
        kind: str,
        session: str,
        config: Path,
        log: Path | None,
        at: float,
        uid_of: Callable[[socket.socket], int | None] = peer.uid_of,
    ) -> None:
        self._overview = overview
        self._emit = emit
        self._uid_of = uid_of
        self._connections = 0
        self._refused: set[int | None] = set()
        pid, shown = os.getpid(), printable(str(config))
        self._card = Card(
            PROTOCOL, pid, memory.started(pid), memory.world(), round(at, 3), kind, session, shown, __version__
        )
        self._log = printable(str(log or ""))

    async def run(self, state: Path) -> None:
        """Listen in this state directory until cancelled; without a socket the proxy works as well."""
        if not peer.SUPPORTED:
            self._emit(Notice("debug", "this system has no control socket, so `top` will not show this process"))
            return
        while True:
            try:
                place = take(state, self._card, MOST_CONNECTIONS)
            except OSError as problem:
                why = f"{problem.strerror or problem}: {problem.filename or state}"
                self._emit(Notice("info", f"`top` will not show this process, which can't listen: {why}"))
                return
            await self._listen(place, state)

    async def _listen(self, place: Place, state: Path) -> None:
        """Serve whoever comes, until somebody has removed the socket."""
        try:
            async with anyio.create_task_group() as tasks:
                # Where nobody ever looks, what killed processes left would become more and more.
                tasks.start_soon(aside, partial(find, state), "control")
                tasks.start_soon(_until_removed, place, tasks.cancel_scope)
                while True:
                    connection = await _accepted(place.listener)
                    if not self._may(connection) or self._connections >= 2 * MOST_CONNECTIONS:
                        connection.close()
                        continue
                    self._connections += 1
                    tasks.start_soon(self._serve, connection)
        finally:
            place.close()

    def _may(self, connection: socket.socket) -> bool:
        uid = self._uid_of(connection)
        if peer.is_ours(uid):
            return True
        if uid not in self._refused:
            self._refused.add(uid)
            self._emit(Notice("warning", f"user {uid} was refused at the control socket: it is for our own user alone"))
        return False

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                if self._connections > MOST_CONNECTIONS:
                    with anyio.move_on_after(1.0):
                        await stream.send(connection, _refusal(f"{MOST_CONNECTIONS} connections are open already"))
                else:
                    await _Connection(self._overview, self._process, connection).serve()
        except* anyio.BrokenResourceError:
            pass  # as is its right
        except* Exception:
            # A defect of ours costs this connection: who looks must never harm the calls.
            self._emit(Notice("error", f"the control socket failed:\n{traceback.format_exc()}"))
        finally:
            self._connections -= 1

    def _process(self) -> Mapping[str, Any]:
        card = self._card
        process = Process(
            pid=card.pid,
            kind=card.kind,
            session=card.session,
            at=card.at,
            version=card.version,
            config=card.config,
            log=self._log,
            clients=self._overview.status.who(_MOST_CLIENTS),
        )
        return {"protocol": PROTOCOL, "process": process}


async def _until_removed(place: Place, scope: anyio.CancelScope) -> None:
    while True:
        await anyio.sleep(LOOK)
        if not await aside(place.is_there, "control"):
            break
    scope.cancel()


async def _accepted(listener: socket.socket) -> socket.socket:
    """The next connection. Not by anyio's own listener, for the same reason as in `stream`."""
    while True:
        await anyio.wait_readable(listener)
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue  # it has gone again
        except OSError:
            await anyio.sleep(_AGAIN)  # no descriptors are left, most likely: calls need them more
            continue
        connection.setblocking(False)
        return connection


class _Connection:
    """One connection, and what was asked on it."""

    def __init__(self, overview: Overview, process: Callable[[], Mapping[str, Any]], connection: socket.socket) -> None:
        self._overview = overview
        self._process = process
        self._connection = connection
        self._sending = anyio.Lock()
        self._is_watching = False
        self._junk = 0

    async def serve(self) -> None:
        """Answer until it is closed, says nothing for too long, or says what makes no sense too often."""
        async with anyio.create_task_group() as tasks:
            rest = b""
            while self._junk < MOST_JUNK:
                data = b""
                with anyio.move_on_after(None if self._is_watching else SILENCE):
                    data = await stream.receive(self._connection, _AT_ONCE)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if self._junk < MOST_JUNK:
                        await self._heard(line, tasks)
                if len(rest) > LONGEST_REQUEST:
                    await self._send(_refusal(f"a request has at most {LONGEST_REQUEST} bytes"))
                    break
            tasks.cancel_scope.cancel()

    async def _heard(self, line: bytes, tasks: TaskGroup) -> None:
        try:
            if len(line) > LONGEST_REQUEST:
                raise msgspec.DecodeError("it is too long")
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            self._junk += 1
            await self._send(_refusal(f"this is no request: {problem}"))
        else:
            if request.op != "watch":
                await self._send(self._answer(request))
            elif not self._is_watching:
                self._is_watching = True
                tasks.start_soon(self._watch)
        await anyio.sleep(BREATH)

    def _answer(self, request: Request) -> bytes:
        if request.op == "status":
            return Changes(self._overview, self._process).news() + b"\n"
        if request.op == "restart":
            if self._overview.restart(request.server):
                return _line({"type": "restarting", "server": request.server})
            return _refusal(f"no server {request.server[:200]!r} is configured, or it is disabled")
        if request.op == "tail":
            status = self._overview.status
            lines = status.output(request.server, after=request.after)
            return _line(
                {"type": "tail", "server": request.server, "lines": lines, "steps": status.steps(request.server)}
            )
        self._junk += 1
        return _refusal(f"there is no op {request.op[:100]!r}; there are restart, status, tail and watch")

    async def _watch(self) -> None:
        changes = Changes(self._overview, self._process)
        silent = 0.0
        while True:
            news = changes.news()
            silent = 0.0 if news else silent + EVERY
            if silent >= BEAT:
                news, silent = msgspec.json.encode({"type": "change", "now": self._overview.status.now}), 0.0
            if news:
                await self._send(news + b"\n")
            await anyio.sleep(EVERY)

    async def _send(self, line: bytes) -> None:
        """Raises BrokenResourceError where the reader does not read: the connection is over then."""
        async with self._sending:
            with anyio.move_on_after(PATIENCE) as scope:
                await stream.send(self._connection, line)
            if scope.cancelled_caught:
                raise anyio.BrokenResourceError


def _line(message: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def _refusal(text: str) -> bytes:
    return _line({"type": "error", "text": text})
