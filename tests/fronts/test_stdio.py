"""The process as a client starts it: whatever its streams are, and however it is ended."""

import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.lowlevel
import pytest

from proxy.events import NotificationsDropped
from proxy.fronts import stdio
from proxy.fronts.stdio import StandardStreams, StdioFront
from proxy.relay import Target
from proxy.relay.target import Limits
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.manifold import RUN, Manifold, running, tools_until, write_config
from tests.support.message import Message
from tests.support.processes import eventually, marked, new_mark, nothing_left
from tests.support.stage import Stage

SESSION = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n'
    b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
    b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}\n'
    b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"gated__pid","arguments":{}}}'
)
"""A whole session; the last line has no end."""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture
def config(tmp_path: Path, gate: Path) -> Path:
    return write_config(tmp_path, {"gated": servers.script("gated.py", str(gate))})


def answered(out: bytes) -> dict[bytes | None, Message]:
    """All messages by id; fails where a line is something else."""
    return {message.id: message for message in map(Message.of, out.splitlines())}


def is_whole_session(out: bytes) -> bool:
    messages = answered(out)
    tools = [tool["name"] for tool in messages[b"2"].result["tools"]]
    text = messages[b"3"].result["content"][0]["text"]
    return tools == ["gated__wait", "gated__pid"] and text.isdigit()


# Kinds of streams


@contextmanager
def stdin_pipe(folder: Path) -> Iterator[IO[bytes]]:
    reading, writing = os.pipe()
    os.write(writing, SESSION)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        yield stream


@contextmanager
def stdin_socket(folder: Path) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(SESSION)
        ours.shutdown(socket.SHUT_WR)
        yield theirs


@contextmanager
def stdin_file(folder: Path) -> Iterator[IO[bytes]]:
    file = folder / "session"
    file.write_bytes(SESSION)
    with file.open("rb") as stream:
        yield stream


@contextmanager
def stdout_file(folder: Path) -> Iterator[tuple[IO[bytes], Callable[[], bytes]]]:
    file = folder / "answers"
    with file.open("wb") as stream:
        yield stream, file.read_bytes


@contextmanager
def stdout_socket(folder: Path) -> Iterator[tuple[socket.socket, Callable[[], bytes]]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def read() -> bytes:
            theirs.close()
            return b"".join(iter(lambda: ours.recv(65536), b""))

        yield theirs, read


@contextmanager
def stdout_pipe(folder: Path) -> Iterator[tuple[IO[bytes], Callable[[], bytes]]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as ours, os.fdopen(writing, "wb") as theirs:

        def read() -> bytes:
            theirs.close()
            return ours.read()

        yield theirs, read


@pytest.mark.parametrize(
    ("stdin", "stdout"),
    [
        (stdin_pipe, stdout_pipe),
        (stdin_pipe, stdout_file),
        (stdin_socket, stdout_socket),
        (stdin_file, stdout_pipe),
        (stdin_file, stdout_file),
    ],
)
def test_a_session_works_over_streams_of_any_kind(stdin: Any, stdout: Any, config: Path, tmp_path: Path) -> None:
    with stdin(tmp_path) as given, stdout(tmp_path) as (taken, read):
        done = subprocess.run(
            [*RUN, str(config)], stdin=given, stdout=taken, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        assert is_whole_session(read())


def test_one_socket_may_be_both_streams(config: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [*RUN, str(config)], stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL
        )
        theirs.close()
        ours.sendall(SESSION)
        ours.shutdown(socket.SHUT_WR)
        ours.settimeout(PATIENCE)
        out = b"".join(iter(lambda: ours.recv(65536), b""))
        assert child.wait(PATIENCE) == 0
    assert is_whole_session(out)


def test_an_empty_stdin_is_a_clean_end(config: Path) -> None:
    done = subprocess.run(
        [*RUN, str(config)], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("closing", ["<&-", ">&-", "<&- >&-", "2>&-"])
def test_streams_that_were_closed_before_are_no_reason_for_a_traceback(closing: str, config: Path) -> None:
    line = f"exec {shlex.join([*RUN, str(config)])} {closing}"
    done = subprocess.run(
        ["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("hangs_up", [False, True], ids=["control-d", "hangs-up"])
def test_a_person_at_a_terminal_is_told_what_to_do_and_can_end_it(hangs_up: bool, config: Path) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen([*RUN, str(config)], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(theirs)
    assert child.stderr is not None
    assert b"mcp-manifold check" in child.stderr.readline()
    if hangs_up:
        os.close(ours)
    else:
        os.write(ours, b"\x04")
    out, err = child.communicate(timeout=PATIENCE)
    if not hangs_up:
        os.close(ours)
    assert (child.returncode, out) == (0, b"")
    assert b"Traceback" not in err


# What is on stdout

CHATTER = """
import os, subprocess, sys, threading, time, warnings
from proxy.cli import run_command_line

def chatter():
    while not os.path.sameopenfile(1, 2):
        time.sleep(0.001)
    while True:
        print("from print", flush=True)
        os.write(1, b"from os.write\\n")
        sys.__stdout__.write("from sys.stdout\\n")
        subprocess.run(["echo", "from a child"])
        warnings.warn("from a warning")
        if sys.stdin is not None and not sys.stdin.closed:
            os.read(0, 100)
        said.set()
        time.sleep(0.001)

def ask():
    os.write(asking, asked)
    said.wait()  # the session ends once all has been said
    os.close(asking)

asked = sys.stdin.buffer.read()
read, asking = os.pipe()
os.dup2(read, 0)
os.close(read)
said = threading.Event()
threading.Thread(target=ask, daemon=True).start()
threading.Thread(target=chatter, daemon=True).start()
code = run_command_line(sys.argv[1:])
assert said.is_set()
os._exit(code)
"""


def test_nothing_but_messages_is_on_stdout_whatever_the_process_prints(config: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHATTER, "run", "--config", str(config)],
        input=SESSION,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert is_whole_session(done.stdout)
    for words in (b"from print", b"from os.write", b"from a child"):
        assert words in done.stderr


# Ends


def open_gate(gate: Path) -> None:
    gate.write_text("open")


def test_calls_in_flight_are_answered_before_the_end(config: Path, gate: Path) -> None:
    with running(config) as hub:
        tools_until(hub, {"gated__wait"})
        calls = [hub.start_call("gated__wait") for _ in range(2)]
        hub.request("ping")
        hub.child.close_stdin()
        # Two readers of one gate: each opening lets through those who wait by then.
        eventually(lambda: opened_and_answered(hub, calls, gate), "the answers came")
        for call in calls:
            assert hub.wait(call).result["content"][0]["text"] == "the gate is open"
        assert hub.child.wait_for_exit() == 0


def opened_and_answered(hub: Manifold, calls: list[bytes], gate: Path) -> bool:
    if all(any(m.id == call for m in hub.messages) for call in calls):
        return True
    with suppress(OSError):  # nobody waits at the gate just now
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    return False


def test_a_client_that_stops_listening_ends_it(config: Path) -> None:
    mark = new_mark()
    child = subprocess.Popen(
        [*RUN, str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **mark},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout, nothing_left(mark):
        child.stdin.write(SESSION + b"\n")
        child.stdin.flush()
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(PATIENCE) == 0


def terminate(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGTERM)


def interrupt(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGINT)


def as_claude_code_does(child: "subprocess.Popen[bytes]") -> None:
    """SIGINT, SIGTERM soon after, stdin open; SIGKILL would come after half a second."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(0.1)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("end", [terminate, interrupt, as_claude_code_does])
@pytest.mark.parametrize("options", [[], ["--deaf", "--family"]], ids=["alone", "deaf-family"])
def test_a_signal_ends_it_and_all_its_children(end: Any, options: list[str], gate: Path, tmp_path: Path) -> None:
    mark = new_mark()
    entry = servers.script("gated.py", str(gate), *options) | {"env": mark}
    log = tmp_path / "log"
    with nothing_left(mark), running(write_config(tmp_path, {"gated": entry}, log={"file": str(log)})) as hub:
        tools_until(hub, {"gated__wait"})
        hub.start_call("gated__wait")
        hub.request("ping")
        assert marked(mark)
        end(hub.child.process)
        assert hub.child.wait_for_exit() == 0
        eventually(lambda: not marked(mark), lambda: marked(mark))
        assert "Traceback" not in hub.child.stderr()
    assert '"tool":"wait"' in log.read_text(), "the log is written to its end"


def test_being_killed_takes_all_children_along(gate: Path, tmp_path: Path) -> None:
    mark = new_mark()
    entry = servers.script("gated.py", str(gate), "--deaf", "--family") | {"env": mark}
    with nothing_left(mark), running(write_config(tmp_path, {"gated": entry})) as hub:
        tools_until(hub, {"gated__wait"})
        eventually(lambda: len(marked(mark)) == 2, lambda: marked(mark))
        hub.child.process.kill()
        eventually(lambda: not marked(mark), lambda: marked(mark))


def test_a_signal_while_it_starts_leaves_nothing(gate: Path, tmp_path: Path) -> None:
    mark, own = new_mark(), new_mark()
    silent = servers.entry([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env=mark)
    config = write_config(tmp_path, {f"s{number}": silent for number in range(5)})
    for _ in range(2):
        with nothing_left(mark), running(config, env=own) as hub:
            hub.child.process.send_signal(signal.SIGTERM)
            assert hub.child.wait_for_exit() == 0
            eventually(lambda: not marked(mark), lambda: marked(mark))


# A client that does not read


class Streams(StandardStreams):
    """Others than the process's own."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self.stdin, self.stdout = stdin, stdout


class Reluctant:
    """A client that reads when it is told to. `sent` counts its requests, `lines` those of what it `heard`."""

    def __init__(self, *, one_socket: bool) -> None:
        self.stage = Stage()
        if one_socket:
            ours, theirs = socket.socketpair()
            streams = Streams(os.dup(theirs.fileno()), theirs.detach())
            self._reading, self._writing = os.dup(ours.fileno()), ours.detach()
        else:
            stdin, self._writing = os.pipe()
            self._reading, stdout = os.pipe()
            streams = Streams(stdin, stdout)
        for fd in (self._reading, self._writing):
            os.set_blocking(fd, False)
        self.front = StdioFront(self.stage.pump, streams, "test")
        [self.session] = self.stage.relay._state.sessions
        self._unsent = b""
        self.sent = 0
        self.heard = bytearray()
        self.lines = 0

    async def write(self, lines: int) -> bool:
        """Write so many requests; False if they are not taken, in very many turns of the loop."""
        self._unsent += b"".join(PING % number for number in range(self.sent, self.sent + lines))
        self.sent += lines
        refused = 0
        while self._unsent and refused < TURNS:
            await anyio.lowlevel.checkpoint()
            try:
                self._unsent = self._unsent[os.write(self._writing, self._unsent[:65536]) :]
                refused = 0
            except BlockingIOError:
                refused += 1
        return not self._unsent

    async def read_until(self, check: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not check():
                await anyio.lowlevel.checkpoint()
                await self.write(0)
                with suppress(BlockingIOError):
                    data = os.read(self._reading, 1 << 20)
                    self.heard += data
                    self.lines += data.count(b"\n")

    @property
    def answers(self) -> list[int]:
        """The ids of the answers so far, in order."""
        return [int(id) for id in re.findall(rb'"id":(\d+),"result"', self.heard)]

    def knows(self, answer: int) -> bool:
        """Whether the newest answer is this one."""
        return self.heard.rpartition(b'"id":')[2].startswith(b"%d," % answer)

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


@asynccontextmanager
async def reluctant(*, one_socket: bool = False) -> AsyncIterator[Reluctant]:
    """A client that is served."""
    client = Reluctant(one_socket=one_socket)
    async with anyio.create_task_group() as tasks:
        await client.front.open()
        tasks.start_soon(client.front.serve)
        try:
            yield client
        finally:
            client.close()
            with anyio.fail_after(PATIENCE, shield=True):
                await client.front._gone.wait()
                writer = client.front._writer
                if isinstance(writer, stdio._Writer) and writer._transport is not None:
                    writer._transport.abort()  # a process just ends; this one goes on
                await writer.closed.wait()
            client.stage.pump.close()


PING = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n'
TURNS = 300
on_either = pytest.mark.parametrize("one_socket", [False, True], ids=["pipes", "socket"])


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@on_either
async def test_a_client_that_writes_100_000_requests_before_it_reads_gets_all_answers_in_order(
    one_socket: bool,
) -> None:
    async with reluctant(one_socket=one_socket) as client:
        assert await client.write(100_000)
        await client.read_until(lambda: client.lines == 100_000)
        assert client.answers == list(range(100_000))


@on_either
async def test_requests_are_not_read_while_too_much_waits_and_go_on_afterwards(
    one_socket: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdio, "CHOKED_FROM", 50_000)
    monkeypatch.setattr(stdio, "HELD_FROM", 200_000)
    async with reluctant(one_socket=one_socket) as client:
        assert not await client.write(100_000), "it is held"
        taken = client.session.received
        assert taken < 1_500_000
        assert client.session.sent < 2_000_000
        await client.read_until(lambda: client.lines == 100_000)
        assert client.answers == list(range(100_000))
        assert client.session.received > taken


async def test_a_client_that_never_reads_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "CHOKED_FROM", 50_000)
    monkeypatch.setattr(stdio, "GIVEN_UP_FROM", 200_000)
    async with reluctant() as client:
        with suppress(BrokenPipeError):
            await client.write(50_000)
        with anyio.fail_after(PATIENCE):
            while client.session in client.stage.relay._state.sessions:
                await anyio.lowlevel.checkpoint()


@on_either
async def test_notifications_for_a_client_that_does_not_read_take_bounded_memory(one_socket: bool) -> None:
    async with reluctant(one_socket=one_socket) as client:
        stage = client.stage
        stage.relay.add_target(Target("one", "one", Limits()))
        link = stage.relay.open_link("one")
        stage.pump.do(stage.relay.greet, link, capabilities={})
        stage.pump.do(stage.relay.ready, link, stage.pump.now())
        os.write(client._writing, SESSION.splitlines(keepends=True)[0] + SESSION.splitlines(keepends=True)[1])
        await client.read_until(lambda: b"\n" in client.heard)
        await client.write(1)
        log = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"%b"}}\n'
        intake = stage.pump.server_intake(link)
        for _ in range(20):
            intake.data(log % (b"x" * 1000) * 1000)
            while intake.is_behind:
                await anyio.lowlevel.checkpoint()
            await client.write(1)
        await client.read_until(lambda: client.knows(20))
        assert len(client.heard) < 4_000_000, "of twenty megabytes"
        assert client.answers == [1, *range(21)]
        await client.read_until(lambda: bool(stage.of(NotificationsDropped)))
        [dropped] = stage.of(NotificationsDropped)
        await client.write(1)
        await client.read_until(lambda: client.knows(21))
        assert client.heard.count(b"notifications/message") + dropped.number == 20_000
