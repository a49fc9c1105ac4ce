"""Our end of a child's stdin: nothing is lost on the way, and what has not left is known to the byte."""

import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from proxy.transports.channel import CHOKED_FROM
from proxy.transports.pipe import Pipe
from tests.support import descriptors
from tests.support.client import PATIENCE


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Ends:
    """A pipe, ours under test; what it told."""

    def __init__(self) -> None:
        self.theirs, ours = os.pipe()
        self.told: list[bool] = []
        self.lost = anyio.Event()
        self.pipe = Pipe(ours, self.told.append, self.lost.set)

    def read(self, size: int = 1 << 20) -> bytes:
        """What the kernel has of it, at most so much."""
        return os.read(self.theirs, size)

    async def read_all(self, size: int) -> bytes:
        """So many bytes, for which the other side must be let go on."""
        os.set_blocking(self.theirs, False)
        data = b""
        with anyio.fail_after(PATIENCE):
            while len(data) < size:
                await anyio.wait_readable(self.theirs)
                data += self.read()
        return data

    def fill(self) -> int:
        """Whole lines until the kernel takes no more; returns how many bytes it has."""
        size = 0
        while not self.pipe.waiting:
            self.pipe.write(b"x" * 999 + b"\n")
            size += 1000
        return size - self.pipe.waiting

    def hang_up(self) -> None:
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    async def until_lost(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.lost.wait()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    before = len(descriptors.numbers())
    ends = Ends()
    yield ends
    ends.hang_up()
    ends.pipe.abort()
    await ends.until_lost()
    assert len(descriptors.numbers()) <= before


def line(number: int, size: int = 100) -> bytes:
    return b"%d" % number + b"x" * size + b"\n"


async def test_what_fits_leaves_at_once(ends: Ends) -> None:
    ends.pipe.write(b"one\n")
    ends.pipe.write(memoryview(b"two\n"))
    assert ends.pipe.waiting == 0
    assert ends.read() == b"one\ntwo\n"


async def test_what_does_not_fit_leaves_in_order_as_soon_as_it_is_read(ends: Ends) -> None:
    lines = [line(number, size) for number, size in enumerate([100_000, 3, 200_000, *range(300)])]
    for one in lines:
        ends.pipe.write(one)
    assert 0 < ends.pipe.waiting < sum(map(len, lines))
    assert await ends.read_all(sum(map(len, lines))) == b"".join(lines)
    assert ends.pipe.waiting == 0
    ends.pipe.write(b"and on\n")
    assert ends.read() == b"and on\n"


async def test_it_tells_that_much_waits_once_and_again_when_hardly_anything_does(ends: Ends) -> None:
    size = ends.fill()
    while ends.pipe.waiting <= CHOKED_FROM:
        assert ends.told == []
        ends.pipe.write(line(1, 9999))
        size += 10_001
    ends.pipe.write(line(1))
    assert ends.told == [True]
    await ends.read_all(size)
    assert ends.told == [True, False]


async def test_what_comes_back_begins_with_the_line_that_has_not_left_whole(ends: Ends) -> None:
    kernel = ends.fill()
    ends.pipe.write(line(7))
    first, *others = [bytes(piece) for piece in ends.pipe.take_back()]
    assert first == b"x" * 999 + b"\n"
    assert others == [line(7)]
    whole, cut = divmod(kernel, 1000)
    assert ends.read() == (b"x" * 999 + b"\n") * whole + b"x" * cut
    assert ends.read() == b"", "and nothing more comes"
    assert ends.pipe.take_back() == []


async def test_of_lines_written_together_only_those_come_back_that_have_not_left(ends: Ends) -> None:
    lines = [line(number, 10_000) for number in range(20)]
    ends.pipe.write(b"".join(lines))
    [back] = ends.pipe.take_back()
    left = ends.read()
    assert back == b"".join(lines)[left.rfind(b"\n") + 1 :]
    assert len(left) + len(back) > 200_000


@pytest.mark.parametrize("told", [True, False])
async def test_what_waited_when_nobody_read_any_more_comes_back(told: bool, ends: Ends) -> None:
    ends.fill()
    ends.pipe.write(line(1))
    ends.hang_up()
    if told:
        await ends.until_lost()
    ends.pipe.write(line(2))
    assert b"".join(ends.pipe.take_back()).endswith(b"x\n" + line(1) + line(2))


async def test_a_line_to_nobody_comes_back(ends: Ends) -> None:
    ends.hang_up()
    ends.pipe.write(line(1))
    ends.pipe.write(line(2))
    assert [bytes(piece) for piece in ends.pipe.take_back()] == [line(1), line(2)]
    ends.pipe.write(line(3))
    assert ends.pipe.take_back() == []


async def test_that_nobody_reads_any_more_is_told_though_nothing_is_written(ends: Ends) -> None:
    ends.hang_up()
    await ends.until_lost()
    assert ends.told == []


async def test_closing_lets_what_waits_leave_first(ends: Ends) -> None:
    size = ends.fill() + ends.pipe.waiting
    ends.pipe.close()
    ends.pipe.write(b"too late\n")
    assert len(await ends.read_all(size)) == size
    await ends.until_lost()
    assert ends.read() == b""


async def test_closing_with_nothing_left_is_the_end_at_once(ends: Ends) -> None:
    ends.pipe.close()
    assert ends.read() == b""
    await ends.until_lost()
