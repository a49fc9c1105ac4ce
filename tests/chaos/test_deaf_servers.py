"""Servers that are there and do not listen: what has left is told from what has not, and nothing waits for ever."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.test_habits import behaving
from tests.support.manifold import Manifold, running, write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left

FITS = 900_000
TOO_LONG = 3_000_000
"""Bytes: both more than a pipe holds, and only the first is kept to be sent again."""
LONG = 30 * 1024 * 1024
"""Two of these may wait for a server."""


class Deaf:
    """A proxy with one server, `deaf`, which reads nothing more after a call of `misbehave`."""

    def __init__(self, hub: Manifold, journal: Path, mark: dict[str, str]) -> None:
        self.hub = hub
        self._journal = journal
        self.mark = mark

    def call(self, nonce: str, tool: str = "note", padding: int = 0) -> bytes:
        return self.hub.start_call(f"deaf__{tool}", {"nonce": nonce, "padding": "x" * padding})

    def done(self, nonce: str) -> int:
        """How often the journal has this call."""
        return self._journal.read_text().splitlines().count(nonce) if self._journal.exists() else 0

    def stop_reading(self) -> bytes:
        """From here on it does not."""
        id = self.call("hangs", "misbehave")
        eventually(lambda: self.done("hangs") == 1, "the server never got its call")
        return id

    def flush(self) -> None:
        """What was sent before has been handled by now, and is as far on its way as it gets."""
        self.hub.request("ping")

    @property
    def pid(self) -> int:
        [pid] = marked(self.mark)
        return pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def deaf(folder: Path, **settings: Any) -> Iterator[Deaf]:
    journal, mark = folder / "journal", new_mark()
    entry = {**behaving("stops-to-read", journal, env=mark), **settings}
    with nothing_left(mark), running(write_config(folder, {"deaf": entry})) as hub:
        yield Deaf(hub, journal, mark)


def test_a_call_that_had_not_left_when_its_server_died_is_sent_once_more(tmp_path: Path) -> None:
    with deaf(tmp_path) as server:
        hangs = server.stop_reading()
        waits = server.call("waits", padding=FITS)
        server.flush()
        server.kill()
        assert server.hub.wait(hangs).error["data"]["delivered"] == "maybe"
        assert server.hub.wait(waits).result["content"][0]["text"] == "waits"
        assert server.done("waits") == 1
        assert server.done("hangs") == 1


def test_a_call_that_had_not_left_and_is_too_long_to_be_kept_was_not_delivered(tmp_path: Path) -> None:
    with deaf(tmp_path) as server:
        server.stop_reading()
        waits = server.call("waits", padding=TOO_LONG)
        server.flush()
        server.kill()
        error = server.hub.wait(waits).error
        assert error["data"] == {"origin": "mcp-manifold", "server": "deaf", "delivered": "no"}
        assert server.hub.call("deaf__note", {"nonce": "next"}).result["content"][0]["text"] == "next"
        assert server.done("waits") == 0


def test_calls_that_wait_for_a_deaf_server_take_a_bounded_part_of_the_memory(tmp_path: Path) -> None:
    with deaf(tmp_path) as server:
        server.stop_reading()
        ids = [server.call(f"waits {number}", padding=LONG) for number in range(6)]
        server.flush()
        refused = [message for message in server.hub.messages if message.id in ids]
        assert len(refused) == 3, "one is on its way, and two wait"
        for message in refused:
            assert "MiB of calls waiting" in message.error["message"]
            assert message.error["data"]["delivered"] == "no"
            assert message.error["data"]["retryAfterMs"] > 0
        assert peak(server.hub.pid) < 10 * LONG


def peak(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_a_server_that_is_stopped_is_taken_to_hang_and_is_started_again(tmp_path: Path) -> None:
    with deaf(tmp_path, callTimeout=0.3) as server:
        server.hub.wait(server.call("before"))
        first = server.pid
        os.kill(first, signal.SIGSTOP)
        for id in [server.call(f"lost {number}") for number in range(5)]:
            assert "did not answer" in server.hub.wait(id).error["message"]
        eventually(lambda: "did not answer 3 pings" in server.hub.child.stderr(), server.hub.child.stderr)
        eventually(lambda: first not in marked(server.mark), lambda: marked(server.mark))
        eventually(lambda: "result" in server.hub.call("deaf__note", {"nonce": "after"}).members, "it is still away")
        assert server.pid != first
        assert server.done("after") == 1
