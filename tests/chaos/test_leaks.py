"""After thousands of calls and many restarts the proxy holds what it held before."""

import asyncio
import gc
import itertools
import json
import os
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.app import Hub
from proxy.config.load import load
from proxy.events import Event
from proxy.fronts.local import LocalClient
from proxy.transports.launch import lent
from tests.chaos import FULL
from tests.chaos.test_habits import SCRIPT
from tests.support import descriptors, servers
from tests.support.client import PATIENCE
from tests.support.manifold import Manifold, running, write_config
from tests.support.processes import eventually, marked, new_mark, nothing_left

RESTARTS = 100 if FULL else 10
CALLS = 30_000 if FULL else 6_000
AMID = CALLS // 3
"""So many of the calls come amid restarts, and the rest in peace."""
AT_ONCE = 32
MOST_AMID = 8 * 1024
"""KiB that the proxy may grow amid the restarts: at some 700 it has what it will ever have, 5 MiB more."""
MOST_IN_PEACE = 1024
"""KiB that it may grow in peace for 100,000 calls."""
STRETCHES = 20
"""In which the calls in peace are made: a leak shows in each, but what the allocator takes at times only in few."""


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return ("asyncio", {"use_uvloop": request.param})


def habit(name: str, **more: Any) -> servers.Entry:
    return servers.entry([sys.executable, "-S", str(SCRIPT), "--habit", name], **more)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(found for child in children for found in descendants(child))]


def resident(pid: int) -> int:
    """KiB of memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def open_descriptors(pid: int) -> Counter[str]:
    """What its descriptors are, and how many of each kind."""
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[link.readlink().as_posix().partition(":")[0]] += 1
        except FileNotFoundError:
            continue
    return found


def calls(hub: Manifold, number: int) -> None:
    """So many calls, some of which fail in one way or another."""
    tools = itertools.cycle(["good__note", "good__misbehave", "odd__misbehave", "dumb__misbehave", "good__nothing"])
    flying: list[bytes] = []
    for tool in itertools.islice(tools, number):
        flying.append(hub.start_call(tool, {"nonce": "x"}, {"progressToken": f"t{len(flying)}"}))
        if len(flying) == AT_ONCE:
            for id in flying:
                hub.wait(id)
            flying.clear()
            hub.lines.clear()
            hub.messages.clear()
    for id in flying:
        hub.wait(id)


def test_a_long_life_leaves_no_descriptor_and_no_child_behind(tmp_path: Path) -> None:
    mark = new_mark()

    def configured(round: int) -> Path:
        entries = {"good": "none", "odd": "answers-twice", "dumb": "gives-neither", "crash": "exits"}
        env = {**mark, "ROUND": str(round)}
        return write_config(tmp_path, {key: habit(name, env=env) for key, name in entries.items()})

    with nothing_left(mark), running(configured(0)) as hub:

        def settle() -> tuple[Counter[str], int]:
            """Once all four servers are up and have answered."""
            for key in ("good", "odd", "dumb", "crash"):
                assert "result" in hub.call(f"{key}__note", {"nonce": "x"}).members
            eventually(lambda: len(marked(mark)) == 4, lambda: marked(mark))
            return open_descriptors(hub.pid), len(descendants(hub.pid))

        settle()
        calls(hub, AMID)
        before, memory = settle(), resident(hub.pid)
        for round in range(RESTARTS // 2):
            calls(hub, AMID // (RESTARTS // 2))
            assert "error" in hub.call("crash__misbehave", {"nonce": "x"}).members
            settle()
            old = set(marked(mark))
            configured(round + 1)
            hub.child.process.send_signal(signal.SIGHUP)
            eventually(lambda: not old & set(marked(mark)), lambda: marked(mark))  # noqa: B023
            settle()
        amid = resident(hub.pid) - memory
        stretch = (CALLS - AMID) // STRETCHES
        sizes = [resident(hub.pid)]
        for _ in range(STRETCHES):
            calls(hub, stretch)
            sizes.append(resident(hub.pid))
        eventually(lambda: settle() == before, lambda: (before, settle()))
        growths = [after - size for size, after in itertools.pairwise(sizes)]
        print(f"{amid} KiB more after {AMID} calls amid {RESTARTS} restarts; then {growths} each {stretch} calls")
        assert amid < MOST_AMID
        assert statistics.median(growths) * 100_000 / stretch <= MOST_IN_PEACE


def ours() -> Counter[str]:
    """How many objects of each class of the proxy's there are; what happened is not kept, so it does not count."""
    gc.collect()
    kinds = [type(one) for one in gc.get_objects() if str(type(one).__module__).startswith("proxy.")]
    return Counter(f"{kind.__module__}.{kind.__name__}" for kind in kinds if not issubclass(kind, Event))


def grown(before: Counter[str]) -> dict[str, int]:
    """What there is more of, but for calls that were given up: servers may still speak of those, a bounded number."""
    return {name: number for name, number in (ours() - before).items() if not name.endswith(".Ghost")}


async def test_nothing_pends_and_no_task_runs_on_after_calls_and_crashes(tmp_path: Path) -> None:
    entries = {key: habit(key) for key in ("none", "answers-twice", "gives-neither", "asks-for-ever", "exits")}
    entries["never-answers"] = habit("never-answers", callTimeout=0.05)
    hub = Hub(load(write_config(tmp_path, entries), {}), dict(os.environ))
    hub.bus.open()
    client = LocalClient(hub.pump, "test")

    async def call(tool: str) -> None:
        params = {"name": tool, "arguments": {"nonce": "x"}, "_meta": {"progressToken": tool}}
        try:
            await client.request("tools/call", json.dumps(params).encode())
        except Exception as problem:
            assert "RequestFailed" in type(problem).__name__  # noqa: PT017 (any other is a defect)

    async def round() -> None:
        async with anyio.create_task_group() as tasks:
            for key in [key for key in entries if key != "exits"] * 20:
                tasks.start_soon(call, f"{key}__misbehave")
        await call("exits__note")

    async def until(check: Callable[[], bool]) -> None:
        while not check():  # noqa: ASYNC110 (neither tasks nor descriptors announce their end)
            await anyio.sleep(0.02)

    with anyio.fail_after(PATIENCE):
        await client.initialize()
        async with hub.servers():
            await round()
            await round()
            objects, tasks, held = ours(), len(asyncio.all_tasks()), len(descriptors.numbers())
            for _ in range(3):
                await round()
                await call("exits__misbehave")
                await call("exits__note")
            await until(lambda: (len(asyncio.all_tasks()), len(descriptors.numbers())) == (tasks, held))
            # A timer may hold what has just ended for a moment more.
            await until(lambda: not grown(objects))
            assert sum(number for _, number in hub.relay.in_flight()) == 0
        client.close()


async def test_the_descriptor_of_a_pipe_is_closed_by_the_loop_once(anyio_backend: Any) -> None:
    """A second time would hit whatever another thread has opened under that number meanwhile."""
    is_uvloop = anyio_backend[1]["use_uvloop"]
    for fd in os.pipe():
        lent(fd, "wb").close()
        assert (fd in descriptors.numbers()) == is_uvloop, "uvloop closes it itself, and closes the file as well"
        if is_uvloop:
            os.close(fd)
    reading, writing = os.pipe()
    try:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, lent(writing, "wb"))
        transport.close()
        with anyio.fail_after(PATIENCE):
            while writing in descriptors.numbers():  # noqa: ASYNC110 (nor does a descriptor)
                await anyio.sleep(0.001)
    finally:
        os.close(reading)
