"""Process groups, and the keeper that ends them when we can't."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from proxy.transports import process
from tests.support.client import PATIENCE
from tests.support.processes import eventually, marked, new_mark

FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print("up", flush=True)
time.sleep(600)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


@contextmanager
def group(code: str, mark: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python program as the leader of its own group; it has printed its first line."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, env={**os.environ, **mark}, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline()
        try:
            yield leader
        finally:
            process.kill(leader.pid)
            leader.wait(PATIENCE)


@pytest.mark.parametrize("end", [process.ask_to_end, process.kill])
def test_a_signal_reaches_the_whole_group(end: Callable[[int], None]) -> None:
    mark = new_mark()
    with group(FAMILY, mark) as leader:
        eventually(lambda: len(marked(mark)) == 2, lambda: marked(mark))
        assert process.is_group_alive(leader.pid)
        end(leader.pid)
        leader.wait(PATIENCE)
        eventually(lambda: not marked(mark), lambda: marked(mark))


def test_a_group_lives_as_long_as_its_last_process() -> None:
    mark = new_mark()
    with group(FAMILY, mark) as leader:
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait(PATIENCE)
        assert process.is_group_alive(leader.pid)
        process.kill(leader.pid)
        eventually(lambda: not marked(mark), lambda: marked(mark))


def test_asking_may_be_ignored_and_killing_may_not() -> None:
    mark = new_mark()
    with group(DEAF, mark) as leader:
        process.ask_to_end(leader.pid)
        assert process.is_group_alive(leader.pid)
        process.kill(leader.pid)
        assert leader.wait(PATIENCE) == -signal.SIGKILL


def test_signals_to_a_group_that_is_gone_are_of_no_consequence() -> None:
    done = subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)
    done.wait(PATIENCE)
    process.ask_to_end(done.pid)
    process.kill(done.pid)
    assert not process.is_group_alive(done.pid)


OWNER = """
import sys
from proxy.transports.process import Keeper
keeper = Keeper()
keeper.start()
for group in sys.argv[1:]:
    keeper.watch(int(group.lstrip("-")))
for group in sys.argv[1:]:
    if group.startswith("-"):
        keeper.forget(int(group[1:]))
print("watching", flush=True)
sys.stdin.read()
keeper.close()
print("closed", flush=True)
"""


@contextmanager
def owner(*groups: str, mark: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds a keeper for these groups, and forgets those with a minus sign again."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, *groups],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **mark},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"watching\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.parametrize("code", [FAMILY, DEAF], ids=["with-grandchild", "ignores-SIGTERM"])
def test_the_keeper_ends_the_groups_of_an_owner_that_was_killed(code: str) -> None:
    mark, own = new_mark(), new_mark()
    with group(code, mark) as first, group(code, mark) as second:
        with owner(str(first.pid), str(second.pid), mark=own) as held:
            held.send_signal(signal.SIGKILL)
        eventually(lambda: first.poll() is not None and second.poll() is not None, "both leaders ended")
        eventually(lambda: not marked(mark), lambda: marked(mark))
        eventually(lambda: not marked(own), lambda: marked(own))


def test_the_keeper_asks_before_it_kills() -> None:
    polite = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint(1, flush=True)\n"
    mark, own = new_mark(), new_mark()
    with group(polite + "time.sleep(600)", mark) as leader, owner(str(leader.pid), mark=own) as held:
        held.send_signal(signal.SIGKILL)
        assert leader.wait(PATIENCE) == 7


def test_the_keeper_leaves_a_group_alone_that_it_was_told_to_forget() -> None:
    mark, own = new_mark(), new_mark()
    with group(FAMILY, mark) as kept, group(FAMILY, mark) as forgotten:
        with owner(str(kept.pid), f"-{forgotten.pid}", mark=own) as held:
            held.send_signal(signal.SIGKILL)
            kept.wait(PATIENCE)
        eventually(lambda: not marked(own), lambda: marked(own))
        assert forgotten.poll() is None
        assert len(marked(mark)) == 2


def test_a_keeper_with_nothing_left_to_keep_ends_at_once() -> None:
    mark, own = new_mark(), new_mark()
    with group(FAMILY, mark) as forgotten, owner(f"-{forgotten.pid}", mark=own) as held:
        out, _ = held.communicate(timeout=PATIENCE)
        assert out == b"closed\n"
        assert marked(own) == {}
        assert forgotten.poll() is None


def test_a_keeper_that_was_not_started_does_nothing() -> None:
    keeper = process.Keeper()
    keeper.watch(1)
    keeper.forget(1)
    keeper.close()


def test_somebody_who_kills_the_keeper_does_not_kill_us() -> None:
    keeper, mark = process.Keeper(), new_mark()
    with group(FAMILY, mark) as leader:
        keeper.start()
        keeper.watch(leader.pid)
        assert keeper._shell is not None
        keeper._shell.kill()
        keeper._shell.wait(PATIENCE)
        keeper.forget(leader.pid)
        keeper.watch(leader.pid)
        keeper.close()
        assert leader.poll() is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (1, "exited with code 1"),
        (-9, "was killed by SIGKILL"),
        (-200, "was killed by signal 200"),
        (None, "ended"),
    ],
)
def test_an_exit_is_told_in_words(code: int | None, words: str) -> None:
    assert process.describe_exit(code) == words
