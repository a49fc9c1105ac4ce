"""The hub as a user runs it: a config file and `python -m proxy serve`."""

import contextlib
import os
import queue
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.config.load import load, state_directory
from proxy.web.token import load_token
from tests.support.client import PATIENCE, ChildWire

SERVE = [sys.executable, "-m", "proxy", "serve", "--port", "0", "--config"]


@dataclass(frozen=True)
class Hub:
    """A running hub. `url` has no slash at the end; `token` is "" where none is asked for."""

    url: str
    token: str
    child: ChildWire

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends to be let in."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@contextlib.contextmanager
def serving(config: Path, env: Mapping[str, str] | None = None) -> Iterator[Hub]:
    """The hub on this config, on any free port; on leaving it is ended, and must have gone well until then."""
    proxy = load(config, {**os.environ, **(env or {})}).proxy
    token = load_token(state_directory(proxy), proxy.http.token_file) if proxy.http.auth == "token" else ""
    child = ChildWire([*SERVE, str(config)], env=env)
    lines: queue.Queue[bytes | None] = queue.Queue()
    try:
        child.open(lines.put)
        yield Hub(_address(child, lines), token, child)
    finally:
        child.close()
    assert child.process.returncode == 0, child.story()
    troubles = [line for line in child.stderr().splitlines() if _is_trouble(line)]
    assert not troubles, "the hub met what it cannot handle:\n" + "\n".join(line[:3000] for line in troubles[:3])


def _address(child: ChildWire, lines: "queue.Queue[bytes | None]") -> str:
    """From the first line, "mcp-manifold serves 2 servers on http://127.0.0.1:40123"."""
    try:
        first = lines.get(timeout=PATIENCE)
    except queue.Empty:
        first = None
    assert first is not None, f"the hub said no address\n{child.story()}"
    return first.decode().rpartition(" ")[2]


def _is_trouble(line: str) -> bool:
    return '"event":"server_output"' not in line and ("Traceback" in line or "internal error" in line)
