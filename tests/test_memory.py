"""How much memory processes take: of real ones."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from proxy import memory

HOLD = "data = bytearray(b'x' * (30 << 20)); print('there', flush=True); input()"
START = "import subprocess, sys; subprocess.{how}([sys.executable, '-S', '-c', {code!r}])"
MIB = 1 << 20


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process whose child has started another and ended; the orphan holds 30 MiB."""
    child = START.format(how="Popen", code=HOLD)
    leader = subprocess.Popen(
        [sys.executable, "-S", "-c", f"{START.format(how='run', code=child)}; input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert leader.stdout is not None
    assert leader.stdout.readline() == "there\n"
    yield leader
    os.killpg(leader.pid, 9)
    leader.communicate()


def test_a_tree_counts_what_it_started_even_what_lost_its_parent(family: "subprocess.Popen[str]") -> None:
    own = memory.of(family.pid)
    assert own is not None
    assert own < 30 * MIB < memory.of_trees([family.pid])[family.pid]


def test_who_is_asked_for_is_not_counted_for_who_started_it(family: "subprocess.Popen[str]") -> None:
    own = memory.of(family.pid) or 0
    with_it = memory.of_trees([os.getpid()])[os.getpid()]
    assert memory.of_trees([os.getpid(), family.pid])[os.getpid()] < with_it - own // 2


def test_without_proc_the_figures_are_those_of_ps(
    family: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_PROC", "/nowhere")
    assert memory.of_trees([family.pid])[family.pid] > 30 * MIB
    assert memory.of(family.pid)
    assert memory.started(family.pid) == ""
    assert memory.is_alive(family.pid, "")


def test_a_process_is_alive_until_it_ends_even_if_nobody_waits_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    since = memory.started(child.pid)
    assert memory.is_alive(child.pid, since)
    assert memory.is_alive(child.pid, "")
    assert not memory.is_alive(child.pid, "1"), "another process of that number"
    child.kill()
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    assert not memory.is_alive(child.pid, since)
    child.communicate()
    assert not memory.is_alive(child.pid, since)
    assert not memory.is_alive(0, "")
    assert memory.of(child.pid) is None
