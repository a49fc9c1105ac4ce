"""However the proxy ends, and whatever its servers make of that, no process is left."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import FULL
from tests.chaos.test_habits import SCRIPT
from tests.support import servers
from tests.support.manifold import Manifold, running, write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left

ROUNDS = 20 if FULL else 5
AT_ONCE = 10

HABITS = [
    "none",
    "has-children",
    "ignores-sigterm",
    "ignores-the-end-of-stdin",
    "ignores-all-that-ends",
    "stops-itself-in-the-end",
]

Process = subprocess.Popen[bytes]


def close_stdin(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()


def sends(number: signal.Signals) -> Callable[[Process], None]:
    return lambda process: process.send_signal(number)


def as_claude_code_does(process: Process) -> None:
    """SIGINT, SIGTERM 0.1 s later, SIGKILL 0.5 s later, and stdin stays open."""
    for number, patience in ((signal.SIGINT, 0.1), (signal.SIGTERM, 0.5)):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    process.kill()


ENDS = [close_stdin, sends(signal.SIGTERM), sends(signal.SIGINT), sends(signal.SIGKILL), as_claude_code_does]
NAMES = ["stdin-closed", "SIGTERM", "SIGINT", "SIGKILL", "claude-code"]


def keeper_of(pid: int) -> int:
    """The shell that ends the servers if the proxy can't."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"mcp-manifold-keeper" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no keeper")


def opened(folder: Path, mark: dict[str, str], own: dict[str, str], stack: contextlib.ExitStack) -> Manifold:
    """A proxy whose servers have all answered, and one of which has been stopped since."""
    command = [sys.executable, "-S", str(SCRIPT)]
    entries = {habit: servers.entry([*command, "--habit", habit], env=mark) for habit in HABITS}
    journal = str(folder / "stopped")
    entries["stopped"] = servers.entry([*command, "--journal", journal], env=mark)
    hub = stack.enter_context(running(write_config(folder, entries), env=own))
    for call in [hub.start_call(f"{key}__note", {"nonce": "x"}) for key in entries]:
        assert "result" in hub.wait(call).members
    [pid] = [pid for pid, line in marked(mark).items() if journal in line]
    os.kill(pid, signal.SIGSTOP)
    return hub


@pytest.mark.parametrize("end", ENDS, ids=NAMES)
def test_no_end_leaves_a_process(end: Callable[[Process], None], tmp_path: Path) -> None:
    mark, own = new_mark(), new_mark()
    for start in range(0, ROUNDS, AT_ONCE):
        with nothing_left(mark, own), contextlib.ExitStack() as stack:
            hubs = [opened(tmp_path / f"{start + n}", mark, own, stack) for n in range(min(AT_ONCE, ROUNDS - start))]
            assert len(marked(mark)) == (len(HABITS) + 3) * len(hubs), marked(mark)  # one has two children
            keepers = [keeper_of(hub.pid) for hub in hubs]
            for hub in hubs:
                end(hub.child.process)
            for hub in hubs:
                hub.child.wait_for_exit()
            eventually(lambda: not marked(mark), lambda: marked(mark))
            eventually(lambda: not marked(own), lambda: marked(own))
            eventually(lambda: not any(is_alive(pid) for pid in keepers), "a keeper is left")  # noqa: B023


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.parametrize("end", ENDS, ids=NAMES)
def test_no_end_amid_starts_leaves_a_process(end: Callable[[Process], None], tmp_path: Path) -> None:
    """Servers that are being started, or started again and again, when the end comes."""
    mark, own = new_mark(), new_mark()
    command = [sys.executable, "-S", str(SCRIPT), "--habit"]
    habits = ["exits-at-once", "never-answers-initialize", "has-children", "closes-stdout-at-once", "never-lists"]
    entries = {habit: servers.entry([*command, habit], env=mark) for habit in habits}
    with nothing_left(mark, own), contextlib.ExitStack() as stack:
        folders = [tmp_path / f"{n}" for n in range(5)]
        hubs = [stack.enter_context(running(write_config(folder, entries), env=own)) for folder in folders]
        for hub in hubs:
            end(hub.child.process)
        for hub in hubs:
            hub.child.wait_for_exit()
        eventually(lambda: not marked(mark), lambda: marked(mark))
        eventually(lambda: not marked(own), lambda: marked(own))
