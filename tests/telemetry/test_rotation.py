"""Files that are moved aside while several write to them."""

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.telemetry.rotation import RETRY, LogFile, numbered
from proxy.telemetry.sink import LogSink

PATIENCE = 30.0


def say(file: LogFile, line: bytes) -> None:
    file.prepare(len(line))
    os.write(file.fd, line)


def kept(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(path.parent.iterdir())}


def test_a_file_that_would_be_too_large_is_moved_aside_and_so_many_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", most=8, keep=2)
    for line in (b"1\n", b"2\n", b"3\n", b"4\n", b"5\n", b"six six\n", b"7\n"):
        say(file, line)
    file.close()
    assert kept(tmp_path / "log") == {"log": b"7\n", "log.1": b"six six\n", "log.2": b"5\n"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}


def test_a_line_longer_than_a_file_may_be_is_written_all_the_same(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", most=4)
    for line in (b"very long\n", b"longer still\n"):
        say(file, line)
    file.close()
    assert kept(tmp_path / "log") == {"log": b"longer still\n", "log.1": b"very long\n"}


def test_a_file_without_a_bound_is_never_moved(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log")
    for _ in range(1000):
        say(file, b"a line\n")
    file.close()
    assert list(kept(tmp_path / "log")) == ["log"]


def test_fewer_files_are_kept_than_before(tmp_path: Path) -> None:
    for number in range(1, 6):
        numbered(tmp_path / "log", number).write_bytes(b"%d" % number)
    file = LogFile(tmp_path / "log", most=1, keep=2)
    say(file, b"a\n")
    say(file, b"b\n")
    file.close()
    assert kept(tmp_path / "log") == {"log": b"b\n", "log.1": b"a\n", "log.2": b"1"}


@pytest.mark.parametrize("leave", [lambda path: path.rename(numbered(path, 1)), Path.unlink], ids=["moved", "removed"])
def test_who_finds_its_file_gone_goes_on_in_a_new_one(leave: object, tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log")
    say(file, b"before\n")
    assert callable(leave)
    leave(tmp_path / "log")
    say(file, b"after\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"after\n"


def test_a_disk_that_complains_at_the_end_of_a_file_is_not_asked_to_write_to_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def complain(fd: int) -> None:
        close(fd)
        raise OSError(errno.ENOSPC, "as network file systems do")

    file = LogFile(tmp_path / "log")
    (tmp_path / "log").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", complain)
        file.prepare(1)
    say(file, b"after\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"after\n"


def test_who_finds_another_file_in_its_place_goes_on_in_that_one(tmp_path: Path) -> None:
    one, other = (LogFile(tmp_path / "log", most=8) for _ in range(2))
    say(one, b"before\n")
    say(other, b"moves it\n")
    say(one, b"after\n")
    one.close()
    other.close()
    assert kept(tmp_path / "log") == {"log": b"moves it\nafter\n", "log.1": b"before\n"}


def test_what_another_process_has_just_moved_is_not_moved_again(tmp_path: Path) -> None:
    one, other = (LogFile(tmp_path / "log", most=8) for _ in range(2))
    say(one, b"before\n")
    say(other, b"moves it\n")
    one._rotate()  # as if it had looked before that
    one.close()
    other.close()
    assert kept(tmp_path / "log") == {"log": b"moves it\n", "log.1": b"before\n"}


def test_a_link_stays_and_what_it_leads_to_is_moved(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere" / "real")
    file = LogFile(tmp_path / "log", most=1)
    say(file, b"a\n")
    say(file, b"b\n")
    file.close()
    assert (tmp_path / "log").is_symlink()
    assert kept(tmp_path / "elsewhere" / "real") == {"real": b"b\n", "real.1": b"a\n"}


def test_what_is_no_plain_file_is_left_alone() -> None:
    file = LogFile(Path(os.devnull), most=1)
    say(file, b"nothing\n")
    say(file, b"comes of it\n")
    file.close()
    assert Path(os.devnull).is_char_device()


def test_nobody_waits_for_another_process_that_is_moving_it(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", most=4)
    say(file, b"one\n")
    with (tmp_path / "log").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        say(file, b"two\n")
    say(file, b"three\n")
    file.close()
    assert kept(tmp_path / "log") == {"log": b"three\n", "log.1": b"one\ntwo\n"}


def test_a_file_that_cannot_be_moved_is_written_on_and_tried_again_later(tmp_path: Path) -> None:
    now = 1000.0
    file = LogFile(tmp_path / "log", most=4, keep=1, clock=lambda: now)
    (tmp_path / "log.1").mkdir()
    for line in (b"one\n", b"two\n", b"three\n"):
        say(file, line)
    assert "directory" in file.problem
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\n"
    file.problem = ""
    now += RETRY
    say(file, b"four\n")
    assert file.problem == "", "it was told"
    (tmp_path / "log.1").rmdir()
    now += RETRY
    say(file, b"five\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"five\n"


def test_the_sink_says_in_the_log_why_it_grows(tmp_path: Path) -> None:
    (tmp_path / "log.1").mkdir()
    sink = LogSink(tmp_path / "log", most=4, keep=1)
    sink.write(b"one\n")
    sink.write(b"two\n")
    sink.close()
    one, two, told = (tmp_path / "log").read_bytes().splitlines()
    assert (one, two) == (b"one", b"two")
    assert json.loads(told)["event"] == "log_not_rotated"


_WRITER = """
import sys
from pathlib import Path
from proxy.telemetry.sink import LogSink
name, lines = sys.argv[2], int(sys.argv[3])
sink = LogSink(Path(sys.argv[1]), most=20_000, keep=1000)
sys.stdin.read(1)
for number in range(lines):
    sink.write(f"{name} {number} {'x' * (number % 97)}\\n".encode())
sink.close()
"""


def test_several_processes_that_write_and_move_one_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    lines = 2000
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "log")]
    writers = [subprocess.Popen([*command, str(name), str(lines)], stdin=subprocess.PIPE) for name in range(4)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()  # go, all at once
    assert [writer.wait(PATIENCE) for writer in writers] == [0] * 4
    files = list(tmp_path.iterdir())
    found = [tuple(line.split(" ")) for file in files for line in file.read_text().splitlines()]
    assert len(files) > 3
    assert sorted(found) == sorted(
        (str(name), str(number), "x" * (number % 97)) for name in range(4) for number in range(lines)
    )
