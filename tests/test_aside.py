"""Work in a thread that nobody has to wait for: not its caller, not the loop, and not the process at its end."""

import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from proxy.aside import aside

PATIENCE = 30.0


class Held:
    """Work that is done when it is told to."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.let_go = threading.Event()
        self.threads: list[threading.Thread] = []

    def __call__(self) -> str:
        self.threads.append(threading.current_thread())
        self.began.set()
        assert self.let_go.wait(PATIENCE)
        return "done"

    def end(self) -> None:
        """Let it go, and wait for its thread."""
        self.let_go.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


async def begun(held: Held) -> None:
    """Waits in turns of the loop, which goes on meanwhile."""
    with anyio.fail_after(PATIENCE):
        while not held.began.is_set():
            await anyio.lowlevel.checkpoint()


async def test_what_the_work_returns_is_returned() -> None:
    assert await aside(lambda: [1, 2], "work") == [1, 2]


class Odd(BaseException):
    pass


@pytest.mark.parametrize("problem", [ValueError("why"), Odd("no Exception")])
async def test_what_the_work_raises_is_raised(problem: BaseException) -> None:
    def fail() -> None:
        raise problem

    with pytest.raises(type(problem)) as caught:
        await aside(fail, "work")
    assert caught.value is problem


async def test_it_is_done_in_a_thread_of_this_name_for_which_no_process_waits() -> None:
    thread = await aside(threading.current_thread, "the name")
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("the name", True)


async def test_the_loop_goes_on_meanwhile() -> None:
    held, done = Held(), list[str]()

    async def wait() -> None:
        done.append(await aside(held, "work"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await begun(held)
        assert done == []
        held.let_go.set()
    assert done == ["done", "done"]
    held.end()


async def test_work_that_is_cancelled_is_left_to_itself() -> None:
    held = Held()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(aside, held, "work")
            await begun(held)
            tasks.cancel_scope.cancel()
    assert held.threads[0].is_alive()
    held.let_go.set()
    while held.threads[0].is_alive():
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("fails", [False, True])
def test_work_that_ends_after_its_loop_ends_in_silence(fails: bool) -> None:
    held = Held()

    def work() -> str:
        held()
        if fails:
            raise ValueError("which nobody hears")
        return "done"

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(aside, work, "work")
            await begun(held)
            tasks.cancel_scope.cancel()

    anyio.run(main)
    held.end()


def test_a_process_ends_though_such_work_never_does(tmp_path: Path) -> None:
    program = """
import anyio, sys, threading
from proxy.aside import aside

def forever():
    began.set()
    threading.Event().wait()

began = threading.Event()

async def main():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aside, forever, "work")
        while not began.is_set():
            await anyio.sleep(0)
        tasks.cancel_scope.cancel()

anyio.run(main)
print("over")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE, check=True)
    assert (done.stdout, done.stderr) == (b"over\n", b"")
