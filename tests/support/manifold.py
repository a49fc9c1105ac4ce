"""The proxy as a user runs it: a config file and `python -m proxy run`."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.client import ChildWire, RawClient
from tests.support.servers import Entry
from tests.support.spans import elements, members

LIST_CHANGED = "notifications/tools/list_changed"
RUN = [sys.executable, "-m", "proxy", "run", "--config"]


def write_config(folder: Path, servers: Mapping[str, Entry], **proxy: Any) -> Path:
    """A config file in `folder`; state goes beside it, so that nothing of the user's is touched."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "manifold.json"
    file.write_text(json.dumps({"mcpServers": dict(servers), "proxy": {"stateDir": str(folder / "state"), **proxy}}))
    return file


class Manifold(RawClient):
    """A raw client whose peer is the proxy."""

    def __init__(self, config: Path, env: Mapping[str, str] | None = None) -> None:
        self.child = ChildWire([*RUN, str(config)], env=env)
        super().__init__(self.child)

    @property
    def pid(self) -> int:
        return self.child.process.pid

    def tools(self) -> dict[str, bytes]:
        """Name -> definition as sent, over all pages."""
        return list_tools(self)

    def own_troubles(self) -> list[str]:
        """Tracebacks and internal errors in the log, but for what a server printed."""
        lines = self.child.stderr().splitlines()
        return [
            line
            for line in lines
            if '"event":"server_output"' not in line and ("Traceback" in line or "internal error" in line)
        ]


def list_tools(client: RawClient) -> dict[str, bytes]:
    """Name -> definition as sent, over all pages."""
    found: dict[str, bytes] = {}
    cursor: dict[str, Any] = {}
    while True:
        page = members(client.request("tools/list", cursor).raw_result)
        for definition in elements(page["tools"]):
            name = json.loads(members(definition)["name"])
            assert name not in found, f"{name} listed twice"
            found[name] = definition
        if "nextCursor" not in page:
            return found
        cursor = {"cursor": json.loads(page["nextCursor"])}


def tools_until(client: RawClient, expected: set[str]) -> dict[str, bytes]:
    """The list once it has all that is expected, asked for again at each announcement."""
    while True:
        since = len(client.messages)
        tools = list_tools(client)
        if expected <= set(tools):
            return tools
        client.wait_for_notification(LIST_CHANGED, since=since)


@contextlib.contextmanager
def running(config: Path, env: Mapping[str, str] | None = None, *, handshake: bool = True) -> Iterator[Manifold]:
    """The proxy on this config; ended on leaving, gently unless it does not listen."""
    manifold = Manifold(config, env)
    try:
        if handshake:
            manifold.initialize()
        yield manifold
    finally:
        manifold.child.close()
        assert manifold.stray == [], "stdout carries JSON-RPC and nothing else"
        troubles = manifold.own_troubles()
        assert not troubles, "the proxy met what it cannot handle:\n" + "\n".join(line[:3000] for line in troubles[:3])


def log_lines(log: Path) -> list[dict[str, Any]]:
    """The lines of a log file, if it is there; one that is being written at this moment is none yet."""
    whole = log.read_text().split("\n")[:-1] if log.exists() else []
    return [json.loads(line) for line in whole]
