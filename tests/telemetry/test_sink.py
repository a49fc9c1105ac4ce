"""Lines on real pipes, files and event loops."""

import asyncio
import json
import os
import select
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.config.models import LogSettings
from proxy.events import Event, Notice
from proxy.telemetry.sink import AT_ONCE, LIMIT, LogSink, open_sink
from tests.support.manifold import RUN, write_config

PATIENCE = 30.0


@dataclass
class Pipe:
    """A pipe whose read end is ours: nobody reads unless told to."""

    reader: int
    writer: int

    def read_available(self) -> bytes:
        data = b""
        while select.select([self.reader], [], [], 0)[0]:
            chunk = os.read(self.reader, 65536)
            if not chunk:
                break
            data += chunk
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe(*os.pipe())
    yield pipe
    os.close(pipe.reader)
    os.close(pipe.writer)


def fill(sink: LogSink) -> int:
    """Write lines until the first is dropped; how many were taken."""
    taken = 0
    while not sink.dropped:
        sink.write(b"%07d\n" % taken)
        taken += 1
    return taken - 1


def on_a_disk_with_room(file: Path, code: str) -> int:
    """Run this with a `sink` into the file, which after `room(size)` grows no further; how many writes failed.

    A limit on the file's size is as good as a full disk: some of a write fits, and the rest does not.
    """
    code = (
        "import os, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from proxy.telemetry.sink import LogSink\n"
        "def room(size=resource.RLIM_INFINITY):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file, troubles = sys.argv[1], []\n"
        "sink = LogSink(Path(file)); sink.failed = troubles.append\n"
        f"{code}\n"
        "sink.close(); print(len(troubles))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, timeout=PATIENCE, check=True)
    return int(done.stdout)


def test_without_an_event_loop_a_line_is_written_before_write_returns(pipe: Pipe) -> None:
    LogSink(pipe.writer).write(b"one\n")
    assert pipe.read_available() == b"one\n"


def test_on_an_event_loop_lines_are_gathered_and_written_soon(pipe: Pipe) -> None:
    async def main() -> bytes:
        sink = LogSink(pipe.writer)
        sink.write(b"one\n")
        sink.write(b"two\n")
        at_once = pipe.read_available()
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.reader, readable.set)
        await asyncio.wait_for(readable.wait(), PATIENCE)
        asyncio.get_running_loop().remove_reader(pipe.reader)
        assert at_once == b""
        return pipe.read_available()

    assert asyncio.run(main()) == b"one\ntwo\n"


def test_much_at_once_does_not_wait_for_the_moment_to_pass(pipe: Pipe) -> None:
    async def main() -> bytes:
        sink = LogSink(pipe.writer)
        sink.write(b"x" * 40_000 + b"\n")
        return pipe.read_available()

    assert len(asyncio.run(main())) == 40_001


def test_a_pipe_that_nobody_reads_never_blocks_and_what_is_lost_is_counted(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer)
    taken = fill(sink)
    for _ in range(41):
        sink.write(b"too many\n")
    assert taken * 8 >= LIMIT
    lost = sink.dropped

    read = b""
    while chunk := pipe.read_available():
        read += chunk
        sink.flush()
    *lines, last = read.splitlines()
    assert lines == [b"%07d" % number for number in range(taken)]
    assert json.loads(last) == {"level": "warning", "event": "log_lines_dropped", "lines": lost}
    assert sink.dropped == 0


def test_a_full_pipe_is_tried_again_from_the_event_loop(pipe: Pipe) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        sink = LogSink(pipe.writer)
        taken = fill(sink)
        data = bytearray()
        done = asyncio.Event()

        def on_readable() -> None:
            data.extend(os.read(pipe.reader, 65536))
            if b"log_lines_dropped" in data:
                done.set()

        loop.add_reader(pipe.reader, on_readable)
        await asyncio.wait_for(done.wait(), PATIENCE)
        loop.remove_reader(pipe.reader)
        assert data.startswith(b"0000000\n0000001\n")
        assert b"%07d\n" % (taken - 1) in data
        return bytes(data)

    assert asyncio.run(main()).endswith(b"}\n")


def test_no_line_waits_for_an_event_loop_that_has_ended(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer)

    async def main() -> None:
        sink.write(b"in the first\n")

    asyncio.run(main())
    sink.write(b"after it\n")
    assert pipe.read_available() == b"in the first\nafter it\n"


def test_lines_of_many_threads_stay_whole(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer)

    def write(line: bytes) -> None:
        for _ in range(100):
            sink.write(line)

    threads = [threading.Thread(target=write, args=(name * 99 + b"\n",)) for name in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    lines = pipe.read_available().splitlines()
    assert sorted(set(lines)) == [b"a" * 99, b"b" * 99, b"c" * 99, b"d" * 99]
    assert len(lines) == 400


def test_a_reader_that_went_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = LogSink(writer)
    sink.write(b"nobody hears\n")
    assert sink.dropped == 1
    sink.close()
    os.close(writer)


def test_closing_writes_the_rest_and_later_lines_go_nowhere(pipe: Pipe) -> None:
    async def main() -> None:
        sink = LogSink(pipe.writer)
        sink.write(b"last words\n")
        sink.close()
        sink.write(b"too late\n")
        sink.close()

    asyncio.run(main())
    assert pipe.read_available() == b"last words\n"


def test_closing_does_not_wait_for_a_reader_that_never_reads(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer)
    fill(sink)
    sink.close(patience=0.01)
    os.fstat(pipe.writer)  # stderr is not ours to close


def test_more_lines_at_once_than_are_kept_for_a_slow_reader_are_all_in_a_file(tmp_path: Path) -> None:
    async def main() -> None:
        sink = LogSink(tmp_path / "log")
        sink.write(many)
        sink.close()

    many = b"".join(b"%0999d\n" % number for number in range(2 * LIMIT // 1000))
    asyncio.run(main())
    assert (tmp_path / "log").read_bytes() == many


def test_of_many_lines_at_once_as_many_are_kept_for_a_slow_reader_as_have_room(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer)
    many = [b"%0999d" % number for number in range(2 * LIMIT // 1000)]
    sink.write(b"\n".join(many) + b"\n")
    read = b""
    while chunk := pipe.read_available():
        read += chunk
        sink.flush()
    at = 0
    for line in read.splitlines():
        if b"log_lines_dropped" in line:
            at += json.loads(line)["lines"]
        else:
            assert line == many[at]
            at += 1
    assert at == len(many)
    assert len(read) > LIMIT * 0.9


def test_the_open_file_that_others_share_keeps_its_flags(pipe: Pipe) -> None:
    fill(LogSink(pipe.writer))
    assert os.get_blocking(pipe.writer)


def test_a_log_file_is_private_and_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "manifold.log"
    for line in (b"one\n", b"two\n"):
        sink = LogSink(file)
        sink.write(line)
        sink.close()
    assert file.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700


def test_a_file_that_somebody_moved_is_left_at_the_next_line(tmp_path: Path) -> None:
    file = tmp_path / "manifold.log"
    sink = LogSink(file)
    sink.write(b"before\n")
    file.rename(tmp_path / "manifold.log.1")
    sink.write(b"after\n")
    sink.close()
    assert (tmp_path / "manifold.log.1").read_bytes() == b"before\n"
    assert file.read_bytes() == b"after\n"


def test_a_file_is_moved_aside_as_the_settings_say(tmp_path: Path) -> None:
    sink = open_sink(LogSettings(file=tmp_path / "log", max_bytes=10, keep=1), lambda event: None)
    for number in range(4):
        sink.write(b"line %d\n" % number)
    sink.close()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"log": b"line 3\n", "log.1": b"line 2\n"}


def test_many_lines_at_once_go_to_as_many_files_as_they_need(tmp_path: Path) -> None:
    async def main() -> None:
        sink = LogSink(tmp_path / "log", most=2 * AT_ONCE, keep=9)
        sink.write(many)
        sink.close()

    many = b"".join(b"%0999d\n" % number for number in range(6 * AT_ONCE // 1000))
    asyncio.run(main())
    files = [file.read_bytes() for file in sorted(tmp_path.iterdir(), reverse=True)]
    files.append(files.pop(-1))
    assert max(map(len, files)) <= 2 * AT_ONCE
    assert all(file.endswith(b"\n") for file in files)
    assert b"".join(files) == many


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on a file's size")
def test_a_full_disk_costs_lines_which_are_counted_and_tears_none_that_come_later(tmp_path: Path) -> None:
    file = tmp_path / "log"
    troubles = on_a_disk_with_room(
        file,
        "room(10); [sink.write(line) for line in (b'first\\n', b'second\\n', b'third\\n', b'and more\\n')]\n"
        "room(); sink.write(b'fourth\\n')",
    )
    first, torn, told, fourth = file.read_bytes().splitlines()
    assert (first, torn, fourth) == (b"first", b"seco", b"fourth")
    assert json.loads(told) == {"level": "warning", "event": "log_lines_dropped", "lines": 3}
    assert troubles == 3


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on a file's size")
def test_a_line_that_tells_of_others_and_is_torn_itself_is_told_again(tmp_path: Path) -> None:
    file = tmp_path / "log"
    on_a_disk_with_room(
        file,
        "room(11); sink.write(b'1\\n2\\n3\\n4\\n5\\n6\\n7\\n8\\n'); sink.write(b'9\\n')\n"
        "room(20); sink.write(b'10\\n')\n"
        "room(); sink.write(b'11\\n')",
    )
    *lines, torn, told, last = file.read_bytes().splitlines()
    assert (lines, torn, last) == ([b"1", b"2", b"3", b"4", b"5", b"6"], b'{"level"', b"11")
    assert json.loads(told)["lines"] == 4


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on a file's size")
def test_a_new_file_does_not_begin_with_the_end_of_a_line_that_was_torn_in_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "log"
    code = "room(4); sink.write(b'first\\n'); os.rename(file, file + '.1'); room(); sink.write(b'second\\n')"
    on_a_disk_with_room(file, code)
    told, second = file.read_bytes().splitlines()
    assert (json.loads(told)["lines"], second) == (1, b"second")


def test_a_file_that_cannot_be_opened_leaves_stderr_and_a_warning(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    events: list[Event] = []
    sink = open_sink(LogSettings(file=tmp_path / "taken"), events.append)
    sink.close()
    assert repr(sink).startswith("<LogSink fd")
    assert [(event.level, "taken" in event.text) for event in events if isinstance(event, Notice)] == [
        ("warning", True)
    ]


def test_a_process_without_stderr_logs_into_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.close(2)\n"
        "from proxy.telemetry.sink import LogSink\n"
        "sink = LogSink(); sink.write(b'a line\\n'); sink.close(); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout == b"alive\n"


def test_the_proxy_serves_on_when_its_client_never_reads_stderr(tmp_path: Path) -> None:
    clock = {"command": sys.executable, "args": ["-m", "proxy.samples.clock"]}
    child = subprocess.Popen(
        [*RUN, str(write_config(tmp_path, {"clock": clock}))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    guard = threading.Timer(PATIENCE * 2, child.kill)
    guard.start()
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    with child, child.stdin, child.stdout:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "deaf", "version": "1"}}
        child.stdin.write(_request(0, "initialize", hello))
        for number in range(1, 1001):  # a log of 250 kB; a pipe holds 64
            child.stdin.write(_request(number, "tools/call", {"name": "clock__now", "arguments": {}}))
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            while answer.get("id") != number:
                assert answer, "it ended"
                answer = json.loads(child.stdout.readline())
            assert "result" in answer
        child.stdin.close()
        assert child.wait(PATIENCE) == 0
        assert b"deaf" in child.stderr.read()
    guard.cancel()


def _request(id: int, method: str, params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"
