"""Children found by the pipes that they were to get."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy import memory
from proxy.transports import process, strays
from tests.support.client import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

# Hands its stdout to a child, and has left itself when that one speaks.
HANDS_OVER = """
import os, sys, time
leader = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == leader:
    time.sleep(0.01)
print("up", flush=True)
time.sleep(600)
"""
# Starts a child of its group when it is told to.
FORKS_LATER = """
import os, sys, time
print("up", flush=True)
sys.stdin.readline()
if not os.fork():
    print("forked", flush=True)
time.sleep(600)
"""
STAYS = "import time; print('up', flush=True); time.sleep(600)"


@contextmanager
def holder(code: str, *, own_session: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has a pipe of ours as its stdout."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=own_session,
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"up\n"
        try:
            yield held
        finally:
            process.kill(held.pid) if own_session else held.kill()
            held.wait(PATIENCE)


def pipe_of(held: "subprocess.Popen[bytes]") -> int:
    assert held.stdout is not None
    return os.fstat(held.stdout.fileno()).st_ino


def test_who_holds_one_of_the_pipes_is_found_and_nobody_else() -> None:
    with holder(STAYS, own_session=True) as one, holder(STAYS, own_session=True) as other:
        assert strays.holding([1, pipe_of(one)], os.getsid(0), 0) == {one.pid}
        assert strays.holding([pipe_of(one), pipe_of(other)], os.getsid(0), 0) == {one.pid, other.pid}
        assert strays.holding([1, 2], os.getsid(0), 0) == set()


def test_a_group_whose_leader_has_gone_is_found() -> None:
    with holder(HANDS_OVER, own_session=True) as one:
        assert strays.holding([pipe_of(one)], os.getsid(0), 0) == {one.pid}


def test_the_session_of_the_proxy_and_its_client_is_never_among_them() -> None:
    with holder(STAYS, own_session=False) as sibling:
        assert strays.holding([pipe_of(sibling)], os.getsid(0), 0) == set()


def test_who_was_there_before_is_not_among_them_nor_are_those_it_leads() -> None:
    """A program that one of our children has given its pipes to, to serve it from there, and what that one starts."""
    with holder(STAYS, own_session=True) as one, holder(FORKS_LATER, own_session=True) as leader:
        assert leader.stdin is not None
        assert leader.stdout is not None
        since = 1 + max(int(memory.started(pid)) for pid in (one.pid, leader.pid))
        while time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") < since:
            pass  # for no longer than a tick
        leader.stdin.write(b"now\n")
        leader.stdin.flush()
        assert leader.stdout.readline() == b"forked\n"
        assert strays.holding([pipe_of(one), pipe_of(leader)], os.getsid(0), since - 1) & {one.pid, leader.pid}
        assert strays.holding([pipe_of(one), pipe_of(leader)], os.getsid(0), since) == set()


@pytest.mark.parametrize("group", [0, 1])
def test_no_group_is_found_whose_number_would_signal_more_than_a_group(
    group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(STAYS, own_session=True) as one:
        monkeypatch.setattr(os, "getpgid", lambda _: group)
        assert strays.holding([pipe_of(one)], os.getsid(0), 0) == set()
