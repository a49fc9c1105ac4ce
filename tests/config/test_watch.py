"""Whichever way a file is changed, it is noticed; whatever else happens around it is not."""

import asyncio
import os
import resource
import shutil
import sys
import threading
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from proxy.config import watch
from proxy.config.watch import changes_of
from tests.support import descriptors

PATIENCE = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="whether somebody watches is read from /proc")


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def nothing_but_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the file now and then would hide that nobody told of the change."""
    monkeypatch.setattr(watch, "TICK", 24 * 3600 * 1000)
    monkeypatch.setattr(watch, "_STEP", 10)  # so that the tests are soon over
    monkeypatch.setattr(watch, "_MOST_LOOKS", 100_000)  # however slowly a test replaces its file


@pytest.fixture
def soon_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_MOST_LOOKS", 2)


def watched() -> Counter[int]:
    """The inodes of the directories that this process watches, and by how many watchers."""
    found: Counter[int] = Counter()
    for number in descriptors.numbers():
        try:
            lines = Path(f"/proc/self/fdinfo/{number}").read_text().splitlines()
        except FileNotFoundError:
            continue
        words = [line.split() for line in lines if line.startswith("inotify wd:")]
        found.update(int(word.removeprefix("ino:"), 16) for line in words for word in line if word.startswith("ino:"))
    return found


async def until_watching(directory: Path, *, watchers: int = 1) -> None:
    with anyio.fail_after(PATIENCE):
        while watched()[directory.stat().st_ino] < watchers:
            await anyio.lowlevel.checkpoint()


async def until_nothing_is_watched() -> None:
    with anyio.fail_after(PATIENCE):
        while watched() or watching_threads():
            await anyio.lowlevel.checkpoint()


def watching_threads() -> list[set[str]]:
    """The functions that other threads are in, for each that is inside the module."""
    stacks = [
        [above.f_code for above, _ in traceback.walk_stack(frame)]
        for thread, frame in sys._current_frames().items()
        if thread != threading.get_ident()
    ]
    return [
        {code.co_name for code in stack} for stack in stacks if watch.__file__ in [code.co_filename for code in stack]
    ]


async def seen_after(
    changes: AsyncGenerator[None, None], path: Path, change: Callable[[], object], *, watchers: int = 1
) -> str:
    """What the file holds when its change is told of; the change is made once so many watch its directory."""
    seen = []

    async def wait() -> None:
        await anext(changes)
        seen.append(path.read_text())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until_watching(path.parent, watchers=watchers)
            assert seen == []
            change()
    return seen[0]


@asynccontextmanager
async def told(path: Path, *, watching: Path | None = None, changes: int = 1) -> AsyncIterator[list[str | None]]:
    """What the file held (None: it was gone) each time that a change was told; leaving waits for so many `changes`."""
    seen: list[str | None] = []
    enough = anyio.Event()

    async def wait() -> None:
        async for _ in changes_of(path):
            seen.append(path.read_text() if path.is_file() else None)
            if len(seen) >= changes:
                enough.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until_watching(watching or path.parent)
            yield seen
            await enough.wait()
            tasks.cancel_scope.cancel()
    await until_nothing_is_watched()  # or the next test would take this watcher for its own


async def until_gone(seen: list[str | None]) -> None:
    with anyio.fail_after(PATIENCE):
        while not seen:  # noqa: ASYNC110 (what is waited for is told to `told`)
            await anyio.sleep(0.001)
    assert seen == [None]


async def seen_beside(other: Path, change: Callable[[], object]) -> str:
    """The same for another file of a directory that is being watched: once this was told, the first could have been."""
    return await seen_after(changes_of(other), other, change, watchers=2)


# -- ways to change a file


def place(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory / name


def turn(link: Path, target: str) -> None:
    """Let a link lead elsewhere, in one step, as `ln -sfn` and Kubernetes do."""
    temporary = link.with_name(f"{link.name}_new")
    temporary.symlink_to(target)
    temporary.replace(link)


def write_in_place(path: Path) -> None:
    path.write_text("new")


def rename_over(path: Path) -> None:
    place(path.parent, ".config.json.swp", "new").replace(path)


def write_beside_a_backup(path: Path) -> None:
    path.rename(path.with_name("config.json~"))
    path.write_text("new")


def delete_and_write(path: Path) -> None:
    path.unlink()
    path.write_text("new")


def keep_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_text("new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_the_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("before"))
    place(path.parent, path.name, "new")


def delete_the_directory(path: Path) -> None:
    shutil.rmtree(path.parent)
    place(path.parent, path.name, "new")


WAYS = [
    write_in_place,
    rename_over,
    write_beside_a_backup,
    delete_and_write,
    keep_size_and_time,
    replace_the_directory,
    delete_the_directory,
]


@pytest.mark.parametrize("change", WAYS)
async def test_a_change_is_noticed_in_whatever_way_it_is_made(change: Callable[[Path], None], tmp_path: Path) -> None:
    path = place(tmp_path / "config", "config.json", "old")
    changes = changes_of(path)
    assert await seen_after(changes, path, lambda: change(path)) == "new"
    assert await seen_after(changes, path, lambda: path.write_text("newer")) == "newer"


@pytest.mark.parametrize("change", WAYS)
async def test_a_change_of_what_a_link_leads_to_is_noticed(change: Callable[[Path], None], tmp_path: Path) -> None:
    target = place(tmp_path / "dotfiles", "hub.json", "old")
    path = tmp_path / "config" / "config.json"
    path.parent.mkdir()
    path.symlink_to("../dotfiles/hub.json")
    changes = changes_of(path)
    assert await seen_after(changes, path, lambda: change(target)) == "new"
    assert await seen_after(changes, path, lambda: rename_over(target)) == "new"


async def test_a_link_that_is_turned_to_another_file_is_noticed(tmp_path: Path) -> None:
    place(tmp_path / "a", "config.json", "old")
    other = place(tmp_path / "b", "config.json", "new")
    path = tmp_path / "config.json"
    path.symlink_to("a/config.json")
    changes = changes_of(path)
    assert await seen_after(changes, path, lambda: turn(path, "b/config.json")) == "new"
    assert await seen_after(changes, path, lambda: other.write_text("newer")) == "newer"


async def test_a_link_in_a_chain_of_links_that_is_turned_is_noticed(tmp_path: Path) -> None:
    place(tmp_path / "a", "config.json", "old")
    place(tmp_path / "b", "config.json", "new")
    for directory in ("first", "second", "third"):
        (tmp_path / directory).mkdir()
    path, last = tmp_path / "first" / "config.json", tmp_path / "third" / "link"
    path.symlink_to("../second/link")
    (tmp_path / "second" / "link").symlink_to("../third/link")
    last.symlink_to("../a/config.json")
    assert await seen_after(changes_of(path), path, lambda: turn(last, "../b/config.json")) == "new"


async def test_a_config_map_that_kubernetes_updates_is_noticed_each_time(tmp_path: Path) -> None:
    place(tmp_path / "..2026_01", "config.json", "old")
    data, path = tmp_path / "..data", tmp_path / "config.json"
    data.symlink_to("..2026_01")
    path.symlink_to("..data/config.json")

    def update(now: str, before: str) -> None:
        place(tmp_path / now, "config.json", now)
        turn(data, now)
        shutil.rmtree(tmp_path / before)

    changes = changes_of(path)
    assert await seen_after(changes, path, lambda: update("..2026_02", "..2026_01")) == "..2026_02"
    assert await seen_after(changes, path, lambda: update("..2026_03", "..2026_02")) == "..2026_03"


async def test_a_link_far_above_the_file_that_is_turned_is_noticed(tmp_path: Path) -> None:
    place(tmp_path / "releases" / "1" / "etc", "config.json", "old")
    place(tmp_path / "releases" / "2" / "etc", "config.json", "new")
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    path = current / "etc" / "config.json"
    assert await seen_after(changes_of(path), path, lambda: turn(current, "releases/2")) == "new"


@pytest.mark.usefixtures("soon_gone")
async def test_a_directory_that_is_gone_for_a_while_is_waited_for(tmp_path: Path) -> None:
    path = place(tmp_path / "above" / "config", "config.json", "old")
    async with told(path, changes=2) as seen:
        shutil.rmtree(tmp_path / "above")
        await until_gone(seen)
        await until_watching(tmp_path)
        path.parent.parent.mkdir()
        await until_watching(path.parent.parent)
        place(path.parent, path.name, "new")
    assert seen == [None, "new"]


@pytest.mark.usefixtures("soon_gone")
async def test_an_empty_directory_in_the_place_of_the_old_one_is_watched(tmp_path: Path) -> None:
    path = place(tmp_path / "config", "config.json", "old")
    async with told(path, changes=2) as seen:
        path.parent.rename(tmp_path / "before")
        path.parent.mkdir()
        await until_gone(seen)
        await until_watching(path.parent)
        path.write_text("new")
    assert seen == [None, "new"]


async def test_a_link_whose_target_goes_up_from_another_link_is_followed_as_the_system_does(tmp_path: Path) -> None:
    target = place(tmp_path / "real", "config.json", "old")
    (tmp_path / "real" / "inner").mkdir()
    (tmp_path / "shortcut").symlink_to("real/inner")
    path = tmp_path / "config" / "config.json"
    path.parent.mkdir()
    path.symlink_to("../shortcut/../config.json")
    assert await seen_after(changes_of(path), path, lambda: rename_over(target)) == "new"


async def test_links_that_lead_in_a_circle_are_waited_out(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.symlink_to("other.json")
    (tmp_path / "other.json").symlink_to("config.json")
    assert await seen_after(changes_of(path), path, lambda: rename_over(path)) == "new"


async def test_a_file_that_is_made_readable_counts_as_changed(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "text")
    path.chmod(0)
    assert await seen_after(changes_of(path), path, lambda: path.chmod(0o600)) == "text"


# -- what is one change, and what is none


async def test_other_files_of_the_directory_do_not_count(tmp_path: Path) -> None:
    path, other = place(tmp_path, "config.json", "old"), place(tmp_path, "config.json.log", "old")
    async with told(path) as seen:
        for text in ("1", "2", "3"):
            assert await seen_beside(other, partial(other.write_text, text)) == text
        assert seen == []
        path.write_text("new")
    assert seen == ["new"]


async def test_another_file_with_an_unreadable_name_does_not_end_the_watch(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")

    def change() -> None:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
        path.write_text("new")

    changes = changes_of(path)
    assert await seen_after(changes, path, change) == "new"
    assert await seen_after(changes, path, lambda: path.write_text("newer")) == "newer"


async def test_a_burst_of_writes_is_one_change(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    changes = changes_of(path)

    def burst() -> None:
        for number in range(100):
            path.write_text(f"{number}")
            rename_over(path)
        path.write_text("last")

    assert await seen_after(changes, path, burst) == "last"
    assert await seen_after(changes, path, lambda: path.write_text("one more")) == "one more"


async def test_a_file_is_told_of_when_its_writer_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_SETTLE", 0.5)
    path = place(tmp_path, "config.json", "old")
    async with told(path) as seen:
        path.write_text("ha")
        await until_settling()
        path.write_text("half of it")
    assert seen == ["half of it"]


async def until_settling() -> None:
    with anyio.fail_after(PATIENCE):
        while "_settled" not in {name for names in watching_threads() for name in names}:
            await anyio.lowlevel.checkpoint()


@pytest.mark.usefixtures("soon_gone")
async def test_a_file_that_is_gone_is_told_of_once_and_so_is_that_it_is_back(tmp_path: Path) -> None:
    path, other = place(tmp_path, "config.json", "old"), place(tmp_path, "other.json", "old")
    async with told(path, changes=2) as seen:
        path.unlink()
        await until_gone(seen)
        assert await seen_beside(other, partial(other.write_text, "new")) == "new"
        assert seen == [None]
        path.write_text("back")
    assert seen == [None, "back"]


async def test_a_file_that_is_gone_while_it_is_being_replaced_is_one_change(tmp_path: Path) -> None:
    path, other = place(tmp_path, "config.json", "old"), place(tmp_path, "other.json", "old")
    async with told(path) as seen:
        path.unlink()
        await until_settling()
        # It is looked at again and again meanwhile, as each of these takes as long as a file that is settled.
        for text in ("1", "2"):
            assert await seen_beside(other, partial(other.write_text, text)) == text
        assert seen == []
        path.write_text("new")
    assert seen == ["new"]


async def test_a_file_that_is_empty_until_its_writer_has_something_to_write_is_one_change(tmp_path: Path) -> None:
    """As the shell leaves it while the program runs whose output it is to get."""
    path, other = place(tmp_path, "config.json", "old"), place(tmp_path, "other.json", "old")
    async with told(path) as seen:
        path.write_text("")
        await until_settling()
        for text in ("1", "2"):  # meanwhile it is looked at again, as for a file that is gone
            assert await seen_beside(other, partial(other.write_text, text)) == text
        assert seen == []
        path.write_text("new")
    assert seen == ["new"]


@pytest.mark.usefixtures("soon_gone")
async def test_a_file_that_stays_empty_is_told_of(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    async with told(path) as seen:
        path.write_text("")
    assert seen == [""]


@pytest.mark.usefixtures("soon_gone")
async def test_a_directory_in_the_file_s_place_is_told_of_as_a_file_that_is_gone(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    async with told(path, changes=2) as seen:
        path.unlink()
        path.mkdir()
        await until_gone(seen)
        path.rmdir()
        path.write_text("back")
    assert seen == [None, "back"]


async def test_what_was_changed_before_anybody_waited_is_told_at_once_and_once(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    changes = changes_of(path)
    path.write_text("while the configuration was read")
    with anyio.fail_after(PATIENCE):
        await anext(changes)
    path.write_text("while the caller")
    path.write_text("was busy")
    with anyio.fail_after(PATIENCE):
        await anext(changes)
    assert await seen_after(changes, path, lambda: path.write_text("new")) == "new"


async def test_where_no_notification_comes_the_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(watch, "_directories", lambda _: {(0, 0): "/proc"})  # never tells of anything
    path = place(tmp_path, "config.json", "old")
    async with told(path, watching=Path("/proc")) as seen:
        path.write_text("new")
    assert seen == ["new"]


# -- errors and the end


async def test_without_the_directory_nothing_can_be_watched(tmp_path: Path) -> None:
    with anyio.fail_after(PATIENCE), pytest.raises(FileNotFoundError, match="missing"):
        await anext(changes_of(tmp_path / "missing" / "config.json"))


async def test_at_a_limit_of_the_system_the_file_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(tmp_path, "config.json", "old")
    changes = changes_of(path)
    assert await seen_after(changes, path, lambda: path.write_text("new")) == "new"  # all is imported now
    await until_nothing_is_watched()
    monkeypatch.setattr(watch, "TICK", 1)
    newer = place(tmp_path, "newer.json", "newer")
    with anyio.fail_after(PATIENCE), no_descriptor_left():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, changes)
            await anyio.wait_all_tasks_blocked()
            newer.replace(path)
    assert path.read_text() == "newer"


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open("/dev/null", os.O_RDONLY)  # the lowest that is free: all below are in use
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)


async def test_cancelling_ends_it_at_once_and_its_thread_in_time(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    changes = changes_of(path)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, changes)
            await until_watching(tmp_path)
            tasks.cancel_scope.cancel()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
    await until_nothing_is_watched()


async def test_a_task_that_is_cancelled_from_outside_leaves_no_thread(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    task = asyncio.ensure_future(anext(changes_of(path)))
    await until_watching(tmp_path)
    task.cancel()
    with anyio.fail_after(PATIENCE), pytest.raises(asyncio.CancelledError):
        await task
    await until_nothing_is_watched()


async def test_between_two_changes_nothing_is_held(tmp_path: Path) -> None:
    path = place(tmp_path, "config.json", "old")
    changes = changes_of(path)
    assert await seen_after(changes, path, lambda: path.write_text("new")) == "new"
    await until_nothing_is_watched()


async def test_watchfiles_is_not_imported_before_somebody_watches() -> None:
    program = "import sys, proxy.config.watch; assert not [name for name in sys.modules if 'watchfiles' in name]"
    assert (await anyio.run_process([sys.executable, "-c", program])).returncode == 0
