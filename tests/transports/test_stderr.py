"""A child's stderr: what is told of it, and when."""

import anyio

from proxy.transports.stderr import AT_ONCE, LAST, Stderr
from tests.support.client import PATIENCE

FLOOD = 3 * AT_ONCE + 1


class Listener:
    """Keeps lines, and whether reading was stopped or let go on."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.pauses: list[bool] = []
        self.reads = anyio.Event()
        self.stderr = Stderr(self.lines.append)
        self.stderr.pause = self.pause

    def pause(self, stop: bool) -> None:
        self.pauses.append(stop)
        if not stop:
            self.reads.set()


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(count))


async def test_a_flood_is_told_some_lines_at_a_time_and_meanwhile_not_read() -> None:
    heard = Listener()
    heard.stderr.feed(numbered(FLOOD))
    assert len(heard.lines) == AT_ONCE, "the loop has something else to do as well"
    assert heard.pauses == [True]
    with anyio.fail_after(PATIENCE):
        await heard.reads.wait()
    assert heard.lines == [str(number) for number in range(FLOOD)]
    assert heard.pauses[-1] is False


async def test_a_child_that_ends_is_not_waited_for_and_its_last_lines_are_told() -> None:
    heard = Listener()
    heard.stderr.feed(numbered(AT_ONCE + LAST + 7))
    heard.stderr.exited()
    assert heard.lines[AT_ONCE : AT_ONCE + 2] == ["[7 more lines]", str(AT_ONCE + 7)]
    assert heard.lines[-1] == str(AT_ONCE + LAST + 6)
    assert heard.pauses == [True, False], "what it left in the pipe is still to come"
    heard.stderr.feed(b"Error: it was full\n" * 2 * AT_ONCE + b"last")
    heard.stderr.end()
    assert heard.stderr.last().startswith("Error: it was full")
    assert heard.lines[-1] == "last"


async def test_long_lines_count_for_several() -> None:
    heard = Listener()
    heard.stderr.feed((b"x" * 16 * 1024 + b"\n") * AT_ONCE)
    assert 0 < len(heard.lines) < AT_ONCE / 2
    heard.stderr.end()


async def test_what_is_kept_is_bounded_even_if_it_is_blank() -> None:
    heard = Listener()
    heard.stderr.exited()
    for _ in range(10):
        heard.stderr.feed(b"\n" * 60_000)
    heard.stderr.feed(b"x" * 600_000)
    assert len(heard.stderr._kept) + sum(map(len, heard.stderr._kept)) <= 256 * 1024


async def test_a_line_too_long_is_cut_at_a_blank_so_that_no_secret_is_in_two() -> None:
    heard = Listener()
    heard.stderr.feed(b"w " * 8200 + b"s3c")
    heard.stderr.feed(b"r3t! is out\n" + b"x" * 20_000)
    heard.stderr.end()
    assert heard.lines[1] == "s3cr3t! is out"
    assert heard.lines[2].startswith("xxx"), "without a blank it is cut anywhere"
