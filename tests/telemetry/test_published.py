"""Files of processes that come and go, on a real disk and of real processes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import memory
from proxy.telemetry.published import Process, Published, sweep, this_process

US = this_process("run", "5c40-6b")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="there is no harmless way to ask for another process")


def gone() -> Process:
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = memory.started(child.pid)
    return US._replace(pid=child.pid, started=started or "t1")


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = Published(tmp_path, US, ".prom", 0o644)
    for text in (b"first", b"second"):
        file.write(text)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [text]


@POSIX
def test_its_permissions_are_those_that_were_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        file = Published(tmp_path, US, ".prom", 0o644)
        file.write(b"text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644


def test_a_file_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    file = Published(tmp_path, US, ".prom", 0o644)
    file.write(b"text")
    file.remove()
    file.write(b"late")  # from a thread that was at it when the process ended
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_what_a_killed_process_left_is_swept_and_what_lives_stays(tmp_path: Path) -> None:
    ours, theirs = Published(tmp_path, US, ".json", 0o600), Published(tmp_path, gone(), ".json", 0o600)
    ours.write(b"[]")
    theirs.write(b"[]")
    half = tmp_path / f".{theirs.path.name}.new"
    half.write_bytes(b"[")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [ours.path]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a number that came again can't be told")
def test_another_process_with_the_same_number_is_not_the_same(tmp_path: Path) -> None:
    before = Published(tmp_path, US._replace(started="1"), ".json", 0o600)
    before.write(b"[]")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_what_another_user_left_is_that_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Published(tmp_path, gone(), ".prom", 0o644)
    theirs.write(b"")
    monkeypatch.setattr(os, "geteuid", lambda: theirs.path.stat().st_uid + 1)
    sweep(tmp_path)
    assert theirs.path.exists(), "whether it is gone can't be told where processes of others are hidden"


@POSIX
def test_files_of_other_machines_and_of_other_programs_stay(tmp_path: Path) -> None:
    elsewhere = Published(tmp_path, gone()._replace(world="00000000"), ".json", 0o600)
    elsewhere.write(b"[]")
    (tmp_path / "mcp-manifold.json").write_bytes(b"[]")
    (tmp_path / "mcp-manifold-1-2-00000000.json.bak").write_bytes(b"[]")
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_directory_that_is_not_there_is_told_and_swept_without_complaint(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        Published(tmp_path / "nowhere", US, ".prom", 0o644).write(b"text")
