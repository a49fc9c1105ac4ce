"""Process groups, and the keeper that ends them when we can't."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.transports import process
from tests.support.client import PATIENCE
from tests.support.processes import MARK, eventually, marked, new_mark, nothing_left

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
import os, subprocess, sys
from proxy.transports.process import Keeper

def start(mark, code):
    ours, theirs = os.pipe()
    keeper.announce([theirs])
    command = [python, "-S", "-c", code]
    subprocess.Popen(command, stdout=theirs, env={**os.environ, "MARK_NAME": mark}, start_new_session=True)
    with open(ours) as pipe:
        assert pipe.readline().endswith(os.linesep)

python, sys.executable = sys.executable, os.environ.get("PYTHON", sys.executable)
keeper = Keeper()
keeper.start()
for what in sys.argv[1:]:
    if what == "!":
        keeper.call_off()
    elif what.startswith("?"):
        start(*what[1:].split(" ", 1))
    elif what.startswith("/"):
        with open(what) as pipe:
            keeper.announce([pipe.fileno()])
    elif what.startswith("-"):
        keeper.forget(int(what[1:]))
    else:
        keeper.watch(int(what))
print("watching", flush=True)
sys.stdin.read()
keeper.close()
print("closed", flush=True)
""".replace("MARK_NAME", MARK)


@contextmanager
def owner(*told: str, mark: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds a keeper for these groups.

    It forgets `-GROUP`, announces the pipe at `/PATH`, and begins to start `?MARK CODE`, which `!` calls off.
    """
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, *told],
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
        with owner(str(kept.pid), str(forgotten.pid), f"-{forgotten.pid}", mark=own) as held:
            held.send_signal(signal.SIGKILL)
            kept.wait(PATIENCE)
        eventually(lambda: not marked(own), lambda: marked(own))
        assert forgotten.poll() is None
        assert len(marked(mark)) == 2


def started(code: str, mark: dict[str, str]) -> str:
    """What has the owner announce a start, and start this group with its mark, but not tell its number."""
    return f"?{mark[MARK]} {code}"


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


@on_linux
@pytest.mark.parametrize("code", [FAMILY, DEAF], ids=["with-grandchild", "ignores-SIGTERM"])
def test_the_keeper_ends_a_child_that_was_being_started_when_its_owner_was_killed(code: str) -> None:
    mark, own = new_mark(), new_mark()
    with nothing_left(mark), group(code, mark) as known:
        with owner(str(known.pid), started(code, mark), mark=own) as held:
            held.send_signal(signal.SIGKILL)
        eventually(lambda: not marked(mark), lambda: marked(mark))


@on_linux
@pytest.mark.parametrize("then", ["the-start-failed", "its-number-was-told"])
def test_the_keeper_looks_for_no_child_whose_start_is_over(then: str) -> None:
    """The pipe may be held by anybody by then: by a daemon of a server's, or as the number of a new one."""
    mark, own = new_mark(), new_mark()
    with nothing_left(mark), group(DEAF, new_mark()) as kept:
        start = [started(FAMILY, mark), "!" if then == "the-start-failed" else str(kept.pid)]
        with owner(str(kept.pid), *start, mark=own) as held:
            held.send_signal(signal.SIGKILL)
        kept.wait(PATIENCE)  # it takes the keeper longer than a look at all processes
        assert len(marked(mark)) == 2


@on_linux
def test_the_keeper_spares_those_who_were_there_before_the_start_whose_pipe_they_hold() -> None:
    """An ssh that shares the connections of another hands its pipes to that one, with all that runs over it."""
    mark, own = new_mark(), new_mark()
    with group(FAMILY, mark) as other, group(DEAF, new_mark()) as kept:
        with owner(str(kept.pid), f"/proc/{other.pid}/fd/1", mark=own) as held:
            held.send_signal(signal.SIGKILL)
        kept.wait(PATIENCE)  # it takes the keeper longer than a look at all processes
        assert len(marked(mark)) == 2


@on_linux
def test_the_keeper_finds_a_python_with_a_relative_path_and_a_library_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is what a relative entry of PATH makes of it."""
    python, mark, own = tmp_path / "python", new_mark(), new_mark()
    python.write_text(f"""#!/bin/sh\n[ "$LD_LIBRARY_PATH" = /its/own ] && exec {sys.executable} "$@"\n""")
    python.chmod(0o700)
    monkeypatch.setenv("PYTHON", os.path.relpath(python))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/its/own")
    with nothing_left(mark):
        with owner(started(FAMILY, mark), mark=own) as held:
            held.send_signal(signal.SIGKILL)
        eventually(lambda: not marked(mark), lambda: marked(mark))


def test_a_keeper_with_nothing_left_to_keep_ends_at_once() -> None:
    mark, own = new_mark(), new_mark()
    with group(FAMILY, mark) as forgotten, owner(str(forgotten.pid), f"-{forgotten.pid}", mark=own) as held:
        out, _ = held.communicate(timeout=PATIENCE)
        assert out == b"closed\n"
        assert marked(own) == {}
        assert forgotten.poll() is None


def test_a_keeper_that_was_not_started_does_nothing() -> None:
    keeper = process.Keeper()
    keeper.watch(1)
    keeper.forget(1)
    keeper.close()


@contextmanager
def replaced() -> Iterator[tuple[process.Keeper, "subprocess.Popen[bytes]", int]]:
    """A keeper, its shell, and a group that it is to forget while that is away: a new one ends the other alone."""
    keeper, mark = process.Keeper(), new_mark()
    with group(FAMILY, mark) as kept, group(FAMILY, mark) as forgotten:
        keeper.start()
        keeper.watch(kept.pid)
        keeper.watch(forgotten.pid)
        assert keeper._shell is not None
        yield keeper, keeper._shell, forgotten.pid
        keeper.start()
        keeper.close()
        assert kept.wait(PATIENCE) == -signal.SIGTERM
        assert forgotten.poll() is None


def test_a_keeper_that_somebody_killed_is_replaced_at_the_next_start() -> None:
    with replaced() as (keeper, killed, forgotten):
        killed.kill()
        killed.wait(PATIENCE)
        keeper.forget(forgotten)


def test_a_keeper_that_stands_still_is_replaced_once_its_pipe_is_full() -> None:
    with replaced() as (keeper, stopped, forgotten):
        stopped.send_signal(signal.SIGSTOP)
        for _ in range(64 * 1024):
            keeper.forget(forgotten)
        assert stopped.returncode == -signal.SIGKILL


@on_linux
def test_the_end_waits_for_no_keeper_that_stands_still() -> None:
    with owner(mark=new_mark()) as held:
        keeper = Path(f"/proc/{held.pid}/task/{held.pid}/children").read_text()
        os.kill(int(keeper), signal.SIGSTOP)
        out, _ = held.communicate(timeout=PATIENCE)
        assert out == b"closed\n"


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
