"""Files that many processes write at once: whoever reads one sees what some writer wrote, or nothing."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.store import files
from tests.support import descriptors

PATIENCE = 30.0
KIND = "thing 1"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes, pipes and owners are those of POSIX")


@contextmanager
def process(program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that runs this program; `files` is imported, `path` is the first argument."""
    head = "import sys; from pathlib import Path; from proxy.store import files; path = Path(sys.argv[1])\n"
    words = [sys.executable, "-c", head + program, *map(str, arguments)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def heard(child: subprocess.Popen[bytes]) -> bytes:
    """Its next line."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# Writing and reading


@settings(max_examples=30)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\n")
@example(b"two\nlines\n")
def test_what_was_written_is_read(body: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "folder", "file")
        files.write(path, KIND, b"before")
        files.write(path, KIND, body)
        assert files.read(path, KIND) == body
        assert names(path.parent) == ["file"]


def test_where_nothing_was_written_there_is_nothing(tmp_path: Path) -> None:
    assert files.read(tmp_path / "file", KIND) is None
    assert files.read(tmp_path / "no folder" / "file", KIND) is None


def test_a_file_that_was_torn_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write(path, KIND, b"some words")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            files.read(path, KIND)


def test_a_file_of_which_any_byte_is_another_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write(path, KIND, b"some words")
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            files.read(path, KIND)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        files.read(path, KIND)


@pytest.mark.parametrize("content", [b'{"mcpServers":{}}', b"\n", b"mcp-manifold thing 1\nbody", b"\xff" * 1000])
def test_a_file_that_is_not_ours_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        files.read(tmp_path / "file", KIND)


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    files.write(tmp_path / "file", "thing 2", b"words of tomorrow")
    with pytest.raises(ValueError, match="another version"):
        files.read(tmp_path / "file", KIND)
    assert files.read(tmp_path / "file", "thing 2") == b"words of tomorrow"


def test_the_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(tmp_path / "file", KIND, b"words")
    somebody_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    with pytest.raises(ValueError, match="another user"):
        files.read(tmp_path / "file", KIND)


def link_to_a_good_one(path: Path) -> None:
    files.write(path.with_name("good"), KIND, b"words")
    path.symlink_to("good")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, files.MOST_BYTES + 1)


def without_an_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


OTHER_THINGS = [
    link_to_a_good_one,
    link_to_itself,
    link_to_nothing,
    Path.mkdir,
    os.mkfifo,
    listen,
    huge,
    without_an_end,
]


@pytest.mark.parametrize("make", OTHER_THINGS, ids=lambda make: make.__name__)
def test_whatever_else_is_in_its_place_is_refused_at_once(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "file")
    before = descriptors.numbers()
    with pytest.raises(ValueError, match=r"\w"):
        files.read(tmp_path / "file", KIND)
    assert descriptors.numbers() == before


def test_a_file_longer_than_anything_of_ours_is_not_even_read(tmp_path: Path) -> None:
    huge(tmp_path / "file")
    with pytest.raises(ValueError, match="no file of ours"):
        files.read(tmp_path / "file", KIND)


def test_a_place_that_can_not_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    for path in (tmp_path / "folder" / "file", tmp_path / ("x" * 300)):
        with pytest.raises(ValueError, match=r"\w"):
            files.read(path, KIND)


@pytest.mark.parametrize("make", [one for one in OTHER_THINGS if one is not Path.mkdir], ids=lambda make: make.__name__)
def test_whatever_else_is_in_its_place_is_replaced_and_what_a_link_leads_to_stays(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / "file")
    files.write(tmp_path / "file", KIND, b"ours")
    assert files.read(tmp_path / "file", KIND) == b"ours"
    if (tmp_path / "good").exists():
        assert files.read(tmp_path / "good", KIND) == b"words"


# What can't be written


def test_a_directory_in_its_place_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        files.write(tmp_path / "file", KIND, b"words")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("place", ["state", "state/folder"])
def test_where_no_directory_can_be_made_nothing_is_written(place: str, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file in the way")
    with pytest.raises(OSError, match=r"\w"):
        files.write(tmp_path / "state" / "folder" / "file", KIND, b"words")
    assert (tmp_path / place).read_text() == "a file in the way"


def test_on_a_disk_that_is_full_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    files.write(tmp_path / "file", KIND, b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            files.write(tmp_path / "file", KIND, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files.read(tmp_path / "file", KIND) == b"before"
    assert names(tmp_path) == ["file"]


# Who may read it


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids="umask {:03o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_made_is_for_this_user_alone(umask: int, tmp_path: Path) -> None:
    state = tmp_path / "above" / "state"
    files.write(state / "folder" / "file", KIND, b"words")
    with files.alone(state / "folder" / ".lock", wait=False):
        pass
    assert mode(state / "folder" / "file") == mode(state / "folder" / ".lock") == 0o600
    assert mode(state / "folder") == mode(state) == 0o700
    assert mode(state.parent) == 0o777 & ~umask, "what is above is not ours"


def test_directories_that_were_there_stay_as_they_are_since_others_may_use_them(umask: int, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "folder").mkdir(parents=True)
    state.chmod(0o755)
    (state / "folder").chmod(0o755)
    files.write(state / "folder" / "file", KIND, b"words")
    assert (mode(state), mode(state / "folder"), mode(state / "folder" / "file")) == (0o755, 0o755, 0o600)


def test_a_file_that_others_could_read_is_replaced_by_one_that_they_can_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o666)
    files.write(tmp_path / "file", KIND, b"words")
    assert mode(tmp_path / "file") == 0o600


# Many at once

WRITER = """
letter = sys.argv[2]
for length in range(60):
    files.write(path, "thing 1", (letter * length * 20).encode())
"""


def test_whoever_reads_while_many_write_sees_what_one_of_them_wrote(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    files.write(path, KIND, b"")
    done, seen, problems = threading.Event(), set[bytes](), list[BaseException]()

    def read() -> None:
        try:
            while not done.is_set():
                body = files.read(path, KIND)
                assert body is not None
                assert len(set(body)) <= 1, "parts of two"
                seen.add(body[:1])
        except BaseException as problem:
            problems.append(problem)

    def write() -> None:
        for length in range(60):
            files.write(path, KIND, b"t" * length)

    readers, writers = [[threading.Thread(target=work) for _ in range(2)] for work in (read, write)]
    with process(WRITER, path, "p") as one, process(WRITER, path, "q") as other:
        for thread in (*readers, *writers):
            thread.start()
        for child in (one, other):
            assert child.wait(PATIENCE) == 0
        for thread in writers:
            thread.join(PATIENCE)
        done.set()
        for thread in readers:
            thread.join(PATIENCE)
    assert problems == []
    assert len(seen) > 1
    assert names(path.parent) == ["file"]


def test_a_writer_that_is_killed_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    body = b"x" * 500_000
    program = "print('writes', flush=True)\nwhile True: files.write(path, 'thing 1', b'x' * 500_000)"
    files.write(path, KIND, body)
    with process(program, path) as child:
        assert heard(child) == b"writes"
        for _ in range(20):
            assert files.read(path, KIND) == body
        child.send_signal(signal.SIGKILL)
        child.wait(PATIENCE)
    assert files.read(path, KIND) == body
    files.tidy(path.parent, ours, 10, time.time() + 7200)
    assert names(path.parent) == ["file"], "what it left behind is gone in time"


# Tidying


def ours(name: str) -> bool:
    return name.startswith("file")


def put(path: Path, age: float, now: float = 1_000_000.0) -> Path:
    path.touch()
    os.utime(path, (now - age, now - age))
    return path


def test_what_writers_left_behind_is_removed_when_it_is_surely_left(tmp_path: Path) -> None:
    put(tmp_path / ".file.new.1234", 3700)
    put(tmp_path / ".file.new.5678", 3500)
    put(tmp_path / "file", 10**6)
    files.tidy(tmp_path, ours, 10, 1_000_000.0)
    assert names(tmp_path) == [".file.new.5678", "file"]


def test_what_is_not_ours_is_left_alone_and_does_not_count(tmp_path: Path) -> None:
    foreign = [".gitignore", ".file.lock", ".notes.new.1", "index.html", "readme"]
    for name in foreign:
        put(tmp_path / name, 10**6)
    for age in (1, 2, 3):
        put(tmp_path / f"file {age}", age)
    files.tidy(tmp_path, ours, 2, 1_000_000.0)
    assert names(tmp_path) == sorted([*foreign, "file 1", "file 2"])


def test_of_too_many_files_the_oldest_are_removed(tmp_path: Path) -> None:
    for age in (5, 3, 1, 4, 2):
        put(tmp_path / f"file {age}", age)
    put(tmp_path / ".file 6.new.12", 100)
    files.tidy(tmp_path, ours, 2, 1_000_000.0)
    assert names(tmp_path) == [".file 6.new.12", "file 1", "file 2"]


def test_what_can_not_be_removed_is_left(tmp_path: Path) -> None:
    (tmp_path / "file directory").mkdir()
    (tmp_path / ".file.new.directory").mkdir()
    put(tmp_path / "file directory", 10)
    put(tmp_path / ".file.new.directory", 4000)
    put(tmp_path / "file", 5)
    files.tidy(tmp_path, ours, 0, 1_000_000.0)
    assert names(tmp_path) == [".file.new.directory", "file directory"]
    files.tidy(tmp_path / "none", ours, 0, 1_000_000.0)


# Locks

HOLDER = """
with files.alone(path, wait=False) as ours:
    print("ours" if ours else "another's", flush=True)
    sys.stdin.read()
print("let go", flush=True)
"""


def test_of_two_processes_one_has_the_lock_until_it_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with process(HOLDER, path) as one:
        assert heard(one) == b"ours"
        with process(HOLDER, path) as other:
            assert heard(other) == b"another's"
        with files.alone(path, wait=False) as ours:
            assert not ours
        assert one.stdin is not None
        one.stdin.close()
        assert heard(one) == b"let go"
        with files.alone(path, wait=False) as ours:
            assert ours
        one.stdin = None


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with process(HOLDER, path) as one:
        assert heard(one) == b"ours"
        one.kill()
        one.wait(PATIENCE)
        with files.alone(path, wait=True) as ours:
            assert ours


def test_who_wants_to_wait_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    program = "print('waits', flush=True)\nwith files.alone(path, wait=True) as ours: print(ours, flush=True)"
    with files.alone(path, wait=True):
        context = process(program, path)
        child = context.__enter__()
        assert heard(child) == b"waits"
        assert child.poll() is None
    try:
        assert heard(child) == b"True"
    finally:
        context.__exit__(None, None, None)


def test_within_one_process_it_is_one_lock_too_and_a_failure_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"

    def fail() -> None:
        with files.alone(path, wait=True) as ours, files.alone(path, wait=False) as too:
            assert (ours, too) == (True, False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with files.alone(path, wait=False) as ours:
        assert ours


def test_a_lock_that_can_not_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(OSError, match=r"\w"), files.alone(tmp_path / "folder" / ".lock", wait=True):
        raise AssertionError("it is nobody's")


def test_what_a_server_is_started_with_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    words = [sys.executable, "-c", "print('runs', flush=True); input()"]
    with files.alone(path, wait=False):
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    try:
        assert heard(child) == b"runs"
        with files.alone(path, wait=False) as ours:
            assert ours
    finally:
        child.kill()
        child.communicate()
