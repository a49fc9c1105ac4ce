"""Reading a log that others write to and move aside."""

import subprocess
import sys
from pathlib import Path

from proxy.commands.journal import LINGERING, Journal
from proxy.telemetry.rotation import numbered
from proxy.telemetry.sink import LogSink

TOLD_APART = (
    "import os, pytest\n"
    "from proxy.commands.journal import pause\n"
    "reader, writer = os.pipe(); os.dup2(writer, 1); os.close(writer); pause(0); os.close(reader)\n"
    "with pytest.raises(BrokenPipeError): pause(60)\n"
)


class Reader:
    """A journal on a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.journal = Journal(path, lambda: self.now)

    def lines(self, *, last: bool = False) -> list[str]:
        self.journal.look()
        return [line.decode() for line in self.journal.read(last=last)]


def test_what_was_moved_aside_is_read_first_and_the_oldest_of_it_before_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number, text in ((10, "a"), (2, "b"), (1, "c")):
        numbered(log, number).write_text(f"{text}\n")
    log.write_text("d\n")
    for other in ("log.old", "log.1.gz", "log.", "other.1", "1"):
        (tmp_path / other).write_text("no log\n")
    reader = Reader(log)
    assert reader.lines() == ["a", "b", "c", "d"]
    assert reader.lines() == []
    reader.journal.close()


def test_a_line_is_read_once_it_is_whole_and_its_beginning_only_at_the_end(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "log")
    with (tmp_path / "log").open("a", buffering=1) as log:
        log.write("one\ntw")
        log.flush()
        assert reader.lines() == ["one"]
        log.write("o\nth")
        log.flush()
        assert reader.lines() == ["two"]
    assert reader.lines(last=True) == ["th"]
    assert reader.lines(last=True) == []
    reader.journal.close()


def test_a_log_that_is_not_there_yet_is_read_once_it_is(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "log")
    assert not reader.journal
    assert reader.lines() == []
    (tmp_path / "log").write_text("one\n")
    assert reader.lines() == ["one"]
    assert reader.journal
    reader.journal.close()


def test_every_line_is_read_once_however_often_the_file_is_moved_meanwhile(tmp_path: Path) -> None:
    sink = LogSink(tmp_path / "log", most=50, keep=4)
    reader = Reader(tmp_path / "log")
    read: list[str] = []
    for number in range(600):
        sink.write(b"line %d\n" % number)
        if number % 20 == 0:  # four files of five lines are kept
            read += reader.lines()
    sink.close()
    read += reader.lines()
    assert read == [f"line {number}" for number in range(600)]
    reader.journal.close()


def test_what_is_written_late_to_a_file_that_was_moved_or_removed_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w", buffering=1) as late:
        reader = Reader(log)
        log.rename(numbered(log, 1))
        log.write_text("new\n")
        late.write("late\n")
        assert reader.lines() == ["late", "new"]
        numbered(log, 1).unlink()
        reader.lines()
        late.write("later\n")
        reader.now += LINGERING / 2
        assert reader.lines() == ["later"]
    reader.journal.close()


def test_files_that_were_removed_are_let_go(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reader = Reader(log)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        log.write_text("a\n")
        reader.lines()
        log.unlink()
        reader.lines()
        reader.now += LINGERING
        reader.lines()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    reader.journal.close()


def test_a_file_that_somebody_cut_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a long line\n")
    reader = Reader(log)
    assert reader.lines() == ["a long line"]
    with log.open("r+") as file:
        file.truncate(0)
        file.write("short\n")
    assert reader.lines() == ["short"]
    reader.journal.close()


def test_a_pause_ends_when_nobody_reads_our_output_any_more() -> None:

    done = subprocess.run([sys.executable, "-c", TOLD_APART], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
