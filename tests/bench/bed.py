"""The test bed: the same echo servers direct, behind the bare router and behind the proxy, all alive at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.client import BenchError, Connection, call, deadline

ROOT = Path(__file__).resolve().parents[2]
ECHO = str(Path(__file__).with_name("echo_server.py"))
SIDES = ("direct", "router", "proxy")
TEXT_SIZE = 97  # with the three bytes of a server's label 100 in all


@dataclass(frozen=True)
class EchoServer:
    """How to start one."""

    label: str
    tools: int = 3
    delay: float = 0.0

    @property
    def command(self) -> list[str]:
        options = [f"label={self.label}", f"tools={self.tools}", f"delay={self.delay}"]
        return [sys.executable, "-I", "-S", ECHO, *options]


def echo_servers(count: int, tools: int) -> list[EchoServer]:
    return [EchoServer(f"s{n}", tools) for n in range(count)]


class Side:
    """One way to reach the servers: a connection, and how tools are called on it."""

    def __init__(self, name: str, connection: Connection, log: Path) -> None:
        self.name = name
        self.connection = connection
        self.log = log
        self.calls = 0

    @property
    def pid(self) -> int:
        return self.connection.pid

    def tool(self, name: str, server: int = 0) -> str:
        """The name under which a server's tool is called here; direct there is only the first server."""
        return name if self.name == "direct" else f"s{server}__{name}"

    def echoes(self, count: int, servers: int = 1) -> tuple[list[bytes], dict[int, str]]:
        """Calls that go round the first `servers`, and the text that must come back for each id."""
        lines: list[bytes] = []
        expected: dict[int, str] = {}
        for number in self.connection.take_ids(count):
            server = number % servers
            text = f"{number:0{TEXT_SIZE}}"
            lines.append(call(number, self.tool("echo", server), {"text": text}))
            expected[number] = f"s{server}|{text}"
        self.calls += count
        return lines, expected


def check_echoes(side: Side, answers: Sequence[bytes], expected: Mapping[int, str]) -> None:
    """Each call answered exactly once, with its own text from its own server. BenchError if not."""
    texts: dict[int, object] = {}
    for answer in answers:
        message = json.loads(answer)
        number = message.get("id")
        if type(number) is not int or number in texts or number not in expected:
            raise BenchError(f"{side.name}: nobody waits for this answer: {answer[:300]!r}")
        if "result" not in message:
            raise BenchError(f"{side.name}: a call failed: {answer[:1000]!r}")
        texts[number] = message["result"]["content"][0]["text"]
    if texts != expected:
        wrong = [number for number, text in expected.items() if texts.get(number) != text]
        raise BenchError(f"{side.name}: {len(wrong)} wrong or missing answers, the first to {wrong[0]}")


class Bed:
    """Starts sides. A context manager: whatever it has started is closed at its end, and killed if it will not go."""

    def __init__(
        self, scratch: Path, sides: Sequence[str], sockets: bool = False, ours: Mapping[str, object] | None = None
    ) -> None:
        self.scratch = scratch
        self.names = list(sides)
        self.stack = contextlib.ExitStack()
        self.started = 0
        self.sockets = sockets
        self.ours = dict(ours or {})
        """What the `proxy` section has beside what it always has here."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MCP_MANIFOLD_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        self.env = {**kept, **{f"XDG_{kind}_HOME": str(scratch) for kind in ("CONFIG", "STATE", "CACHE", "DATA")}}

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def command(self, name: str, servers: Sequence[EchoServer], log: Path, state: str) -> list[str]:
        if name == "direct":
            return servers[0].command
        entries = {server.label: {"command": server.command[0], "args": server.command[1:]} for server in servers}
        ours: dict[str, object] = {"log": {"file": str(log), "maxBytes": 0}, "metrics": {"enabled": True, "port": 0}}
        ours["stateDir"] = str(self.scratch / (state or f"{log.stem}-state"))
        for key, value in self.ours.items():
            given = ours.get(key)
            ours[key] = {**given, **value} if isinstance(given, dict) and isinstance(value, dict) else value
        config = log.with_suffix(".json")
        config.write_text(json.dumps({"mcpServers": entries, "proxy": ours}))
        if name == "router":
            return [sys.executable, "-m", "tests.bench.router", "--config", str(config)]
        return [sys.executable, "-m", "proxy", "run", "--config", str(config)]

    def connect(
        self, name: str, servers: Sequence[EchoServer], wrapper: Sequence[str] = (), *, state: str = ""
    ) -> Side:
        """Start one side and nothing more: no handshake yet. `wrapper` goes between the interpreter and `-m`.

        `state` names a state directory that others had before; without it nothing is known of the servers.
        """
        self.started += 1
        log = self.scratch / f"{self.started}-{name}.log"
        command = self.command(name, servers, log, state)
        command[1:1] = wrapper
        connection = Connection(command, self.env, str(ROOT), str(log.with_suffix(".stderr")), self.sockets)
        self.stack.callback(connection.close)
        return Side(name, connection, log)

    @contextlib.contextmanager
    def sides(self, servers: Sequence[EchoServer]) -> Iterator[list[Side]]:
        """All sides, ready for calls; direct is the first of the servers alone."""
        sides = [self.connect(name, servers) for name in self.names]
        for side in sides:
            with deadline(60, f"{side.name}: start with {len(servers)} servers"):
                side.connection.handshake()
                complete_list(side, servers)
        yield sides
        for side in sides:
            side.connection.close()


def complete_list(side: Side, servers: Sequence[EchoServer]) -> None:
    """List the tools until all are there, again after each list_changed."""
    wanted = sum(server.tools for server in (servers[:1] if side.name == "direct" else servers))
    while True:
        names = side.connection.tool_names()
        if len(names) == len(set(names)) == wanted:
            return
        if len(names) > wanted:
            raise BenchError(f"{side.name}: {len(names)} tools of {wanted}, {len(set(names))} of them different")
        side.connection.wait_for("notifications/tools/list_changed")


def rotated(sides: Sequence[Side], turn: int) -> list[Side]:
    """The sides in another order each round, so that none always comes first."""
    cut = turn % len(sides)
    return [*sides[cut:], *sides[:cut]]


def counted_calls(log: Path) -> float | None:
    """The calls that the proxy's own metrics count, found through the port its log names; None if there is none."""
    for line in log.read_text().splitlines()[:200]:
        if "metrics" in line and (found := re.search(r'"port": ?(\d+)|127\.0\.0\.1:(\d+)', line)):
            break
    else:
        return None
    url = f"http://127.0.0.1:{found[1] or found[2]}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("mcp_manifold_calls_total{"))
