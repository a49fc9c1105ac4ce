"""Real children: how they start, what passes, how they end, and that nothing of them stays."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.errors import ConnectionLost, Hopeless, ServerError, StartFailed
from proxy.transports.channel import CHOKED_FROM, MOST_BUFFERED, Graces
from proxy.transports.process import Keeper, is_group_alive
from proxy.transports.stdio import Child, open_stdio
from tests.support import descriptors
from tests.support.client import PATIENCE
from tests.support.collector import Collector
from tests.support.processes import MARK, eventually, marked, new_mark, nothing_left

CAT = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
"""Gives back what it gets, and ends with its stdin."""

STAYS = "import time; print('up', flush=True); time.sleep(600)"
"""Does not look at its stdin."""

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAYS

ORPHAN = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {STAYS!r}], stdin=subprocess.DEVNULL)\n"
)
"""Put before another program: a child of the child, which holds its stdout and stderr."""


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def heard() -> Collector:
    return Collector()


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-u", "-c", code]


@asynccontextmanager
async def opened(
    command: list[str], heard: Collector, *, cwd: str | None = None, graces: Graces | None = None, **env: str
) -> AsyncIterator[Child]:
    """An open child; its keeper is let go afterwards."""
    keeper = Keeper()
    try:
        with anyio.fail_after(PATIENCE):
            async with open_stdio(
                "one",
                command,
                env={"PATH": os.environ["PATH"], **env},
                cwd=cwd,
                intake=heard,
                output=heard,
                keeper=keeper,
                graces=graces or Graces(),
            ) as child:
                yield child
    finally:
        keeper.close()


async def end_of(child: Child) -> ServerError:
    with anyio.fail_after(PATIENCE):
        return await child.ended()


# What passes


async def test_lines_pass_both_ways_byte_for_byte(heard: Collector) -> None:
    lines = [
        b'{"big":12345678901234567890.123,"huge":1e400,"half":"\\ud800","deep":' + b"[" * 50 + b"]" * 50 + b"}",
        b"  no json at all \xff\xfe\r",
        '{"é":"\u2028"}'.encode(),
    ]
    async with opened(python(CAT), heard) as child:
        child.write(b"\n".join(lines) + b"\n")
        await heard.until(lambda: len(heard.lines) == len(lines))
    assert heard.lines == lines


async def test_a_line_of_ten_megabytes_passes_both_ways(heard: Collector) -> None:
    line = b'"' + b"x" * 10_000_000 + b'"\n'
    async with opened(python(CAT), heard) as child:
        child.write(line)
        await heard.until(lambda: len(heard.bytes) >= len(line))
    assert heard.bytes == line


async def test_a_banner_comes_before_the_answers(heard: Collector) -> None:
    async with opened(python("print('Welcome!')\n" + CAT), heard) as child:
        child.write(b"{}\n")
        assert await heard.line(2) == b"{}"
    assert heard.lines == [b"Welcome!", b"{}"]


async def test_stderr_comes_line_by_line_apart_from_stdout(heard: Collector) -> None:
    code = "import sys; sys.stderr.write('one\\r\\n\\ntwo \\xff\\nlast'); sys.stderr.flush(); print('out')"
    async with opened(python(code), heard) as child:
        await end_of(child)
    assert heard.printed[:2] == ["one", ""]
    assert heard.printed[2].startswith("two ")
    assert heard.printed[3:] == ["last"]
    assert heard.lines == [b"out"]


async def test_a_flood_on_stderr_never_blocks_the_child_and_is_passed_on_in_short_lines(heard: Collector) -> None:
    code = "import sys; sys.stderr.write('x' * 3_000_000); sys.stderr.flush(); print('done')\n" + CAT
    async with opened(python(code), heard):
        assert await heard.line() == b"done"
        await heard.until(lambda: len(heard.printed) > 3)
    assert max(map(len, heard.printed)) <= 16 * 1024


async def test_the_child_sees_its_environment_and_nothing_else(heard: Collector) -> None:
    async with opened(["env"], heard, GIVEN="yes") as child:
        await end_of(child)
    assert sorted(heard.lines) == sorted([b"GIVEN=yes", b"PATH=" + os.environ["PATH"].encode()])


async def test_the_child_runs_in_its_directory(heard: Collector, tmp_path: Path) -> None:
    async with opened(["pwd"], heard, cwd=str(tmp_path)) as child:
        await end_of(child)
    assert heard.lines == [str(tmp_path).encode()]


async def test_a_command_is_found_in_the_path_that_the_child_gets(heard: Collector, tmp_path: Path) -> None:
    tool = tmp_path / "my-server"
    tool.write_text("#!/bin/sh\necho here\n")
    tool.chmod(0o755)
    async with opened(["my-server"], heard, PATH=f"{tmp_path}:/usr/bin:/bin") as child:
        await end_of(child)
    assert heard.lines == [b"here"]


# What does not start


@pytest.mark.parametrize(
    ("command", "cwd", "hint"),
    [
        ("~/bin/server", None, "${HOME}"),
        ("npx -y server", None, "`args`"),
        ("bin/server", None, "relative"),
        ("cat", "~/folder", "${HOME}"),
    ],
)
async def test_the_usual_slips_are_named(command: str, cwd: str | None, hint: str, heard: Collector) -> None:
    with pytest.raises(Hopeless) as caught:
        async with opened([command], heard, cwd=cwd):
            pass
    assert hint in caught.value.reason


async def test_a_command_that_is_not_there_is_hopeless(heard: Collector) -> None:
    with pytest.raises(Hopeless, match="'no-such-command-anywhere' was not found"):
        async with opened(["no-such-command-anywhere"], heard):
            pass


async def test_a_command_that_may_not_be_executed_is_hopeless(heard: Collector, tmp_path: Path) -> None:
    plain = tmp_path / "server"
    plain.write_text("#!/bin/sh\n")
    for command, why in ((plain, "may not be executed"), (tmp_path, "is a directory")):
        with pytest.raises(Hopeless, match=why):
            async with opened([str(command)], heard):
                pass


async def test_a_directory_that_is_not_there_is_hopeless_and_not_blamed_on_the_command(
    heard: Collector, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    for cwd in (tmp_path / "no-such-folder", file):
        with pytest.raises(Hopeless, match=f"working directory '{cwd}'"):
            async with opened(python(CAT), heard, cwd=str(cwd)):
                pass


async def test_arguments_that_no_process_can_get_fail_the_start(heard: Collector) -> None:
    for command in ([sys.executable, "\0"], [sys.executable, "x" * 3_000_000]):
        with pytest.raises(StartFailed, match="could not be started"):
            async with opened(command, heard):
                pass


async def test_a_failed_start_leaves_no_open_file(heard: Collector) -> None:
    before = len(descriptors.numbers())
    for _ in range(5):
        with pytest.raises(Hopeless):
            async with opened(["no-such-command-anywhere"], heard):
                pass
    assert len(descriptors.numbers()) <= before


# How it ends by itself


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            "import sys; sys.exit('the licence has expired')",
            "it exited with code 1; its last words: the licence has expired",
        ),
        ("print('bye')", "it exited with code 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it was killed by SIGKILL"),
        ("import os, sys, time; os.close(1); time.sleep(600)", "it closed its output"),
        ("import os, sys, time; os.close(0); time.sleep(600)", "it closed its input"),
    ],
)
async def test_an_end_is_told_with_its_reason(code: str, why: str, heard: Collector) -> None:
    async with opened(python(code), heard, graces=Graces(0.1, 2.0)) as child:
        child.write(b"{}\n")
        problem = await end_of(child)
    assert isinstance(problem, ConnectionLost)
    assert problem.reason.startswith(why)


async def test_what_a_child_said_last_is_heard_before_its_end(heard: Collector) -> None:
    line = b"x" * 200_000
    code = f"import sys; sys.stdout.write('{'x' * 10}' * 20_000); sys.stdout.flush()"
    async with opened(python(code), heard) as child:
        await end_of(child)
        assert heard.bytes == line
        assert heard.ended


async def test_the_exit_of_a_child_is_its_end_though_a_grandchild_holds_its_pipes(heard: Collector) -> None:
    mark = new_mark()
    async with opened(python(ORPHAN + "sys.exit(4)"), heard, graces=Graces(0.1, 2.0), **mark) as child:
        problem = await end_of(child)
        assert problem.reason == "it exited with code 4"
        eventually(lambda: len(marked(mark)) == 1, lambda: marked(mark))
    assert marked(mark) == {}


async def test_writing_to_a_child_that_has_ended_does_nothing(heard: Collector) -> None:
    async with opened(python(""), heard) as child:
        await end_of(child)
        for _ in range(10):
            child.write(b"x" * 100_000 + b"\n")
    child.write(b"after the end\n")


async def test_a_child_that_does_not_read_is_given_up_before_it_eats_the_memory(heard: Collector) -> None:
    async with opened(python(STAYS), heard, graces=Graces(0.1, 2.0)) as child:
        chunk = b"x" * (8 << 20)
        for _ in range(MOST_BUFFERED // len(chunk) + 2):
            child.write(chunk)
        assert "does not read its input" in (await end_of(child)).reason


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (["starting", "", "  "], "starting"),
        (["Traceback (most recent call last):", '  File "x.py", line 1', "KeyError: 'HOME'"], "KeyError: 'HOME'"),
        (
            ["Error: no module 'x'", "    at Module.load (node:1)", "  code: 'X',", "}", "", "Node.js v20"],
            "Error: no module 'x'",
        ),
        (["fatal: no licence", "bye"], "fatal: no licence"),
        (["Error:", "\tno licence", "bye"], "Error: no licence"),
        (["word " * 100], ("word " * 100)[:299] + "…"),
        (["\x1b[31mError:\x1b[0m\tin   red\r"], "Error: in red"),
    ],
)
async def test_the_line_that_says_most_is_given_as_its_last_words(
    lines: list[str], last: str, heard: Collector
) -> None:
    code = f"import sys; sys.stderr.write({chr(10).join(lines)!r}); sys.exit(1)"
    async with opened(python(code), heard) as child:
        assert (await end_of(child)).reason == f"it exited with code 1; its last words: {last}"


async def test_a_child_that_floods_us_with_lines_waits(heard: Collector) -> None:
    flood = "import os\nwhile True: os.write(2, b'x\\n' * 30_000)"
    async with opened(python(flood), heard, graces=Graces(0.01, 0.1)) as child:
        await heard.until(lambda: len(heard.printed) > 1000)
        assert len(child.stderr._waiting) < 200_000, "what has been read and not told"


async def test_last_words_after_a_flood_are_not_waited_for(heard: Collector) -> None:
    code = "import sys; sys.stderr.write('x\\n' * 20_000 + 'fatal: full'); sys.exit(1)"
    async with opened(python(code), heard) as child:
        assert (await end_of(child)).reason == "it exited with code 1; its last words: fatal: full"


# How it is ended


async def test_a_child_that_floods_us_while_it_is_ended_is_not_listened_to_for_ever(heard: Collector) -> None:
    code = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: sys.stdout.write('x' * 65536)"
    )
    async with opened(python(code), heard, graces=Graces(0.3, 0.1)):
        await heard.until(lambda: len(heard.bytes) > 1_000_000)
        before = len(heard.bytes)
    assert len(heard.bytes) - before < 3_000_000


async def test_the_end_of_stdin_is_enough_for_a_good_child(heard: Collector) -> None:
    code = CAT + "\nimport signal; signal.signal(signal.SIGTERM, lambda *_: print('TERM')); print('ended by stdin')"
    async with opened(python(code), heard) as child:
        child.write(b"{}\n")
        await heard.line()
    assert heard.lines == [b"{}", b"ended by stdin"]
    assert child.code == 0


async def test_a_child_that_ignores_the_end_of_stdin_is_asked_to_end(heard: Collector) -> None:
    async with opened(python(STAYS), heard, graces=Graces(0.05, 10.0)) as child:
        await heard.line()
    assert child.code == -signal.SIGTERM


async def test_a_child_that_ignores_that_too_is_killed(heard: Collector) -> None:
    async with opened(python(DEAF), heard, graces=Graces(0.05, 0.05)) as child:
        await heard.line()
    assert child.code == -signal.SIGKILL


async def test_in_a_hurry_a_child_is_asked_at_once(heard: Collector) -> None:
    graces = Graces(quiet=600.0)
    async with opened(python(STAYS), heard, graces=graces) as child:
        await heard.line()
        graces.hurry()
    assert child.code == -signal.SIGTERM


@pytest.mark.parametrize("code", [CAT, STAYS, DEAF], ids=["good", "stays", "deaf"])
async def test_nothing_of_the_group_lives_after_leaving(code: str, heard: Collector) -> None:
    mark = new_mark()
    async with opened(python(ORPHAN + "print('here', flush=True)\n" + code), heard, graces=Graces(0.1, 0.3), **mark):
        await heard.until(lambda: b"here\n" in heard.bytes and b"up\n" in heard.bytes)
        assert len(marked(mark)) == 2
    assert marked(mark) == {}


async def test_being_cancelled_ends_it_in_the_same_way(heard: Collector) -> None:
    mark = new_mark()
    with anyio.CancelScope() as scope:
        async with opened(python(ORPHAN + STAYS), heard, graces=Graces(0.05, 0.3), **mark):
            await heard.line(2)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert marked(mark) == {}


async def test_being_cancelled_while_it_starts_leaves_nothing() -> None:
    mark = new_mark()
    for _ in range(3):
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with opened(python(STAYS), Collector(), graces=Graces(0.05, 0.3), **mark):
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
    assert marked(mark) == {}


async def test_an_error_inside_ends_it_too(heard: Collector) -> None:
    mark = new_mark()

    async def fail() -> None:
        async with opened(python(STAYS), heard, graces=Graces(0.05, 0.3), **mark):
            await heard.line()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert marked(mark) == {}


async def test_hundred_children_leave_no_descriptor_behind(heard: Collector) -> None:
    async def once() -> None:
        async with opened(python("import sys; sys.stdin.read()"), Collector()):
            pass

    await once()
    before = len(descriptors.numbers())
    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(once)
    assert len(descriptors.numbers()) <= before


OWNER = """
import anyio, os, sys
from proxy.transports.channel import Graces
from proxy.transports.process import Keeper
from proxy.transports.stdio import open_stdio

class Heard:
    def data(self, data):
        print(data.decode(), end="", flush=True)
    def end(self):
        pass

async def main():
    env = {"PATH": os.environ["PATH"], "MARK_NAME": os.environ["MARK_VALUE"]}
    rest = {"output": print, "keeper": Keeper(), "graces": Graces()}
    async with open_stdio("one", sys.argv[1:], env=env, cwd=None, intake=Heard(), **rest):
        await anyio.sleep_forever()

anyio.run(main, backend_options={"use_uvloop": True})
""".replace("MARK_NAME", MARK)


@pytest.mark.parametrize("code", [CAT, STAYS, DEAF], ids=["good", "stays", "deaf"])
def test_the_group_is_ended_even_if_we_are_killed(code: str) -> None:
    mark = new_mark()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *python(ORPHAN + "print('here', flush=True)\n" + code)],
        stdout=subprocess.PIPE,
        env={**os.environ, "MARK_VALUE": mark[MARK]},
    )
    try:
        assert owner.stdout is not None
        assert {owner.stdout.readline(), owner.stdout.readline()} == {b"here\n", b"up\n"}
        eventually(lambda: len(marked(mark)) == 2, lambda: marked(mark))
        owner.kill()
        eventually(lambda: not marked(mark), lambda: marked(mark))
    finally:
        owner.kill()
        owner.communicate(timeout=PATIENCE)
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


KILLED_AMID_A_START = """
import anyio, os, signal, sys
from proxy.transports.channel import Graces
from proxy.transports.process import Keeper
from proxy.transports.stdio import open_stdio

class Deadly(Keeper):
    deadly = False
    def watch(self, pid):
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        super().watch(pid)

class Heard:
    def data(self, data):
        up.set()
    def end(self):
        pass

async def main():
    global up
    up = anyio.Event()
    keeper = Deadly()
    env = {"PATH": os.environ["PATH"], "MARK_NAME": os.environ["MARK_VALUE"]}
    rest = {"env": env, "cwd": None, "intake": Heard(), "output": print, "keeper": keeper, "graces": Graces()}
    known, starting = sys.argv[1:]
    async with open_stdio("known", [sys.executable, "-S", "-c", known], **rest):
        await up.wait()
        print(keeper._shell.pid, flush=True)
        keeper.deadly = True
        async with open_stdio("starting", [sys.executable, "-S", "-c", starting], **rest):
            pass

anyio.run(main, backend_options={"use_uvloop": True})
""".replace("MARK_NAME", MARK)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child may be left then")
def test_a_child_is_ended_even_if_we_are_killed_before_its_number_is_told() -> None:
    """And no daemon of a server that is known, though it holds the pipes of that one."""
    mark, daemons = new_mark(), new_mark()
    stays = "import time; time.sleep(600)"
    detaches = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {stays!r}], env={daemons!r},"
        " start_new_session=True)\n"
    )
    with nothing_left(mark, daemons):
        owner = subprocess.run(
            [sys.executable, "-c", KILLED_AMID_A_START, detaches + DEAF, stays],
            stdout=subprocess.PIPE,
            env={**os.environ, "MARK_VALUE": mark[MARK]},
            timeout=PATIENCE,
            check=False,
        )
        assert owner.returncode == -signal.SIGKILL
        eventually(lambda: not marked(mark), lambda: marked(mark))
        eventually(lambda: not is_group_alive(int(owner.stdout)), "the keeper ended")
        assert len(marked(daemons)) == 1


# A child that does not read


@asynccontextmanager
async def stopped(heard: Collector) -> AsyncIterator[tuple[Child, int, list[bool]]]:
    """A child that gives back what it gets, but is stopped now; what it tells of being full or not."""
    told: list[bool] = []
    async with opened(python("import os; print(os.getpid())\n" + CAT), heard) as child:
        child.choked = told.append
        pid = int(await heard.line())
        os.kill(pid, signal.SIGSTOP)
        yield child, pid, told


async def test_a_child_that_does_not_read_is_told_of_and_again_when_it_has_read(heard: Collector) -> None:
    async with stopped(heard) as (child, pid, told):
        lines = 0
        while not told:
            child.write(b"x" * 9999 + b"\n")
            lines += 1
            assert lines * 10_000 < 4 * CHOKED_FROM
        assert told == [True]
        child.write(b"last\n")
        os.kill(pid, signal.SIGCONT)
        await heard.until(lambda: heard.lines[-1] == b"last")
        assert told == [True, False]
        assert len(heard.lines) == lines + 2


async def test_a_child_that_reads_is_never_told_of_however_much_it_gets(heard: Collector) -> None:
    told: list[bool] = []
    async with opened(python(CAT), heard) as child:
        child.choked = told.append
        for number in range(1, 101):
            child.write(b"x" * 9999 + b"\n")
            await heard.line(number)
        assert told == []


async def test_a_child_that_has_ended_takes_no_more_and_says_so_before_its_end_is_known(heard: Collector) -> None:
    told: list[bool] = []
    async with opened(python(CAT), heard) as child:
        child.choked = told.append
        child.write(b"{}\n")
        await heard.line()
        assert told == []
        child.write(b"\n")
        child.begin_end()
        await end_of(child)
        assert set(told) == {True}


async def test_what_had_not_left_for_a_child_that_was_killed_is_taken_back(heard: Collector) -> None:
    request = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b"}}\n'
    async with stopped(heard) as (child, pid, _):
        child.write(request % (1, b"x"))
        child.write(request % (2, b"x" * 1_000_000))
        child.write(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}\n')
        child.write(request % (3, b"x"))
        os.kill(pid, signal.SIGKILL)
        await end_of(child)
        assert child.take_back() == [2, 3]


async def test_what_is_taken_back_never_reaches_the_child(heard: Collector) -> None:
    async with stopped(heard) as (child, pid, _):
        child.write(b"first\n")
        child.write(b"x" * 1_000_000 + b"\n")
        assert child.take_back() == []
        child.write(b"last\n")
        os.kill(pid, signal.SIGCONT)
        await end_of(child)
    assert b"first\n" in heard.bytes
    assert not heard.bytes.endswith(b"\n")
    assert b"last" not in heard.bytes
