"""How much memory processes take: of real ones."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from proxy import memory

GRANDCHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {code!r}])"
HOLD = "data = bytearray(b'x' * (30 << 20)); print('there', flush=True); input()"
MIB = 1 << 20


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process that has started another, which holds 30 MiB."""
    code = f"{GRANDCHILD.format(code=HOLD)}; input()"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", f"{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    yield child
    os.killpg(child.pid, 9)
    child.communicate()


def test_a_tree_counts_what_it_started_and_not_those_that_are_asked_for_by_themselves(
    family: "subprocess.Popen[str]",
) -> None:
    trees = memory.of_trees([os.getpid(), family.pid])
    own = memory.of(family.pid)
    assert own is not None
    assert own < 30 * MIB < trees[family.pid]
    alone = memory.of(os.getpid())
    assert alone is not None
    assert trees[os.getpid()] < memory.of_trees([os.getpid()])[os.getpid()] - 30 * MIB


def test_what_lost_its_parent_is_counted_by_its_group(family: "subprocess.Popen[str]") -> None:
    family.kill()
    family.wait()
    assert memory.of_trees([family.pid]) == {}, "it is gone"


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
