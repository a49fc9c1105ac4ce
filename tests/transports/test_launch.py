"""A started child reports to its owner: what it writes, which pipes it closes, how it ends."""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from proxy.transports.launch import Launched, launch
from proxy.transports.process import Keeper
from tests.support import descriptors
from tests.support.client import PATIENCE

CAT = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[True, False], ids=["pidfd", "thread"])
def _how_the_end_is_heard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old kernels have no pidfd."""
    if not request.param:
        monkeypatch.delattr(os, "pidfd_open")


pytestmark = pytest.mark.usefixtures("_how_the_end_is_heard")


class Owner:
    """Keeps everything that it is told."""

    def __init__(self) -> None:
        self.data = {1: b"", 2: b""}
        self.lost: list[int] = []
        self.code: int | None = None
        self.full: list[bool] = []
        self._changed = anyio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.data[fd] += data
        self._note()

    def pipe_connection_lost(self, fd: int) -> None:
        self.lost.append(fd)
        self._note()

    def pipe_is_full(self, full: bool) -> None:
        self.full.append(full)
        self._note()

    def process_exited(self, code: int) -> None:
        assert self.code is None, "told once"
        self.code = code
        self._note()

    def _note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until_all_is_over(self) -> None:
        with anyio.fail_after(PATIENCE):
            while self.code is None or not {1, 2} <= set(self.lost):
                await self._changed.wait()

    async def until_heard(self, fd: int, size: int) -> None:
        with anyio.fail_after(PATIENCE):
            while len(self.data[fd]) < size:
                await self._changed.wait()


async def start(owner: Owner, code: str) -> Launched:
    return await launch(owner, [sys.executable, "-S", "-c", code], {"PATH": os.environ["PATH"]}, None, Keeper())


async def test_it_reports_both_streams_their_ends_and_the_exit_code() -> None:
    owner = Owner()
    child = await start(owner, "import sys; sys.stderr.write('err'); print('out'); sys.exit(7)")
    await child.connect()
    await owner.until_all_is_over()
    child.release()
    assert owner.data == {1: b"out\n", 2: b"err"}
    assert owner.code == 7


async def test_a_signal_is_a_negative_code() -> None:
    owner = Owner()
    child = await start(owner, "import time; time.sleep(600)")
    await child.connect()
    os.kill(child.pid, signal.SIGKILL)
    await owner.until_all_is_over()
    child.release()
    assert owner.code == -signal.SIGKILL


async def test_what_is_written_to_its_stdin_reaches_it_until_that_is_closed() -> None:
    owner = Owner()
    child = await start(owner, CAT)
    stdin = await child.connect()
    stdin.write(b"x" * 300_000 + b"\n")
    await owner.until_heard(1, 300_001)
    stdin.close()
    await owner.until_all_is_over()
    child.release()
    assert owner.code == 0


async def test_a_child_that_does_not_read_is_told_of_and_again_when_it_has_read() -> None:
    owner = Owner()
    child = await start(owner, CAT)
    os.kill(child.pid, signal.SIGSTOP)
    stdin = await child.connect()
    stdin.write(b"x" * 2_000_000)
    assert owner.full == [True]
    stdin.write(b"y\n")
    assert owner.full == [True]
    os.kill(child.pid, signal.SIGCONT)
    await owner.until_heard(1, 2_000_002)
    assert owner.full == [True, False]
    stdin.close()
    await owner.until_all_is_over()
    child.release()


async def test_the_child_leads_a_session_of_its_own() -> None:
    owner = Owner()
    child = await start(owner, "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))")
    await child.connect()
    await owner.until_all_is_over()
    child.release()
    assert owner.data[1] == b"True\n"


async def test_a_child_holds_no_pipe_of_another_one() -> None:
    """Or the end of the first one's stdin would not be seen while the second one lives."""
    first, second = Owner(), Owner()
    one = await start(first, CAT)
    two = await start(second, "import os, sys; print(len(os.listdir('/proc/self/fd')), flush=True); sys.stdin.read()")
    stdin, other = await one.connect(), await two.connect()
    await second.until_heard(1, 2)
    stdin.close()
    await first.until_all_is_over()
    assert second.code is None
    assert second.data[1] == b"4\n", "stdin, stdout, stderr, and the folder that it looks at"
    other.close()
    await second.until_all_is_over()
    one.release()
    two.release()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Popen's own, about just that
async def test_letting_go_of_a_child_that_lives_on_closes_all_that_we_hold_of_it() -> None:
    await run()
    before = len(descriptors.numbers())
    child = await start(Owner(), "import time; time.sleep(600)")
    await child.connect()
    child.release()
    try:
        await until_open(before)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # where a thread waits for it, that one was first
            os.waitpid(child.pid, 0)  # noqa: ASYNC222


async def test_a_command_that_is_not_there_raises_and_leaves_no_descriptor() -> None:
    before = len(descriptors.numbers())
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            await launch(Owner(), ["no-such-command-anywhere"], {}, None, Keeper())
    assert len(descriptors.numbers()) == before


class Told(Keeper):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def announce(self, pipes: Iterable[int]) -> None:
        self.told.append([os.fstat(fd).st_ino for fd in pipes])

    def call_off(self) -> None:
        self.told.append("off")

    def watch(self, pid: int) -> None:
        self.told.append(pid)


async def test_the_keeper_hears_of_the_pipes_of_each_start_and_what_came_of_it() -> None:
    keeper, owner = Told(), Owner()
    with pytest.raises(FileNotFoundError):
        await launch(owner, ["no-such-command-anywhere"], {}, None, keeper)
    code = "import os; print([os.fstat(fd).st_ino for fd in (0, 1, 2)])"
    child = await launch(owner, [sys.executable, "-S", "-c", code], {}, None, keeper)
    await child.connect()
    await owner.until_all_is_over()
    child.release()
    assert keeper.told[1:] == ["off", json.loads(owner.data[1]), child.pid]


async def test_however_few_descriptors_are_left_none_is_lost() -> None:
    await run()  # a loop opens one for itself at the first use
    before = len(descriptors.numbers())
    refused = 0
    with no_descriptor_left() as taken:
        for _ in range(12):
            try:
                await run()
            except OSError:
                refused += 1
            os.close(taken.pop())
    assert refused >= 6
    await until_open(before)


async def until_open(number: int) -> None:
    """Until no more descriptors than these are open: uvloop closes some a few turns later."""
    with anyio.fail_after(PATIENCE):
        while len(descriptors.numbers()) > number:
            await anyio.lowlevel.checkpoint()


async def run() -> None:
    """A child from start to end."""
    owner = Owner()
    child = await start(owner, "")
    await child.connect()
    await owner.until_all_is_over()
    child.release()


@contextmanager
def no_descriptor_left() -> Iterator[list[int]]:
    """All that this process may have are in use; closing one of those given leaves room for one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors.numbers()) + 20, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield taken
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
