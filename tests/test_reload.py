"""A changed file becomes what runs, as far as it can be used; everything else is told and changes nothing."""

import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy.config import watch
from proxy.config.load import load
from proxy.fleet import Fleet
from proxy.fronts.local import LocalClient
from proxy.reload import Reloader
from tests.support.client import PATIENCE
from tests.support.scripted import ScriptedServer
from tests.support.stage import Apart, Stage, call, listed


@pytest.fixture
def anyio_backend() -> Any:
    """The file is read and watched in threads, for which virtual time would not wait."""
    return ("asyncio", {"use_uvloop": True})


class Following:
    """A fleet of scripted servers, the file that it follows, and a client that has seen its tools."""

    def __init__(self, stage: Stage, fleet: Fleet, reloader: Reloader, file: Path, client: LocalClient) -> None:
        self.stage = stage
        self.fleet = fleet
        self.reloader = reloader
        self.file = file
        self.client = client
        self.learned: list[tuple[set[str], int]] = []
        """Each time the secrets, and how many events there had been by then."""

    def write(self, *keys: str, proxy: dict[str, Any] | None = None, **entries: Any) -> None:
        """Servers by key; those in `entries` with more than a command."""
        self.file.write_text(text(*keys, proxy=proxy, **entries))

    async def reload(self, *keys: str, proxy: dict[str, Any] | None = None, **entries: Any) -> None:
        self.write(*keys, proxy=proxy, **entries)
        await self.reloader.reload()

    @property
    def last(self) -> str:
        return self.stage.notices("info")[-1].partition("was read again: ")[2]


def text(*keys: str, proxy: dict[str, Any] | None = None, **entries: Any) -> str:
    servers = {key: {"command": "scripted"} for key in keys}
    servers |= {key: {"command": "scripted", **entry} for key, entry in entries.items()}
    return json.dumps({"mcpServers": servers, "proxy": proxy or {}})


class Anything:
    """A scripted server for any key, made when it is first asked for."""

    def __init__(self) -> None:
        self.servers: dict[str, ScriptedServer] = {}

    def __getitem__(self, key: str) -> ScriptedServer:
        return self.servers.setdefault(key, ScriptedServer("t"))


@asynccontextmanager
async def following(
    folder: Path, *keys: str, given: dict[str, Any] | None = None, **environ: str
) -> AsyncIterator[Following]:
    """Those servers, listed once; `given` is what the command line said about the address."""
    file = folder / "manifold.json"
    file.write_text(text(*keys))
    stage, config = Stage(), load(file, environ).with_given(given or {})
    fleet = Fleet(config, stage.pump, Apart(Anything()), stage.emit, random=lambda: 1.0)  # type: ignore[arg-type]
    learned: list[tuple[set[str], int]] = []

    def learn(secrets: Iterable[str]) -> None:
        learned.append((set(secrets), len(stage.events)))

    reloader = Reloader(config, environ, fleet, stage.emit, learn)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.run)
            client = await stage.client()
            await fleet.until_settled()
            await listed(client)
            found = Following(stage, fleet, reloader, file, client)
            found.learned = learned
            yield found
            tasks.cancel_scope.cancel()
    stage.pump.close()


async def test_a_file_with_other_servers_starts_and_stops_them(tmp_path: Path) -> None:
    async with following(tmp_path, "stays", "goes", "differs") as it:
        await it.reload("stays", "comes", differs={"callTimeout": 7})
        assert it.last == "started comes; restarted differs; stopped goes"
        await it.stage.until(lambda: bool(it.stage.notified))
        assert await listed(it.client) == ["stays__t", "comes__t", "differs__t"]
        assert it.stage.states("stays") == ["starting", "ready"]


async def test_the_file_is_compared_with_the_one_before_and_not_with_the_first(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        await it.reload("a", "b")
        await it.reload("a")
        assert it.last == "stopped b"
        await it.reload("a", "b")
        assert it.last == "started b"


async def test_a_file_that_says_the_same_changes_nothing(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        it.file.write_text(it.file.read_text().replace(",", " , "))
        await it.reloader.reload()
        assert it.stage.notices("info") == []
        assert any("nothing changed" in line for line in it.stage.notices("debug"))
        assert it.stage.states("a") == ["starting", "ready"]


async def test_an_address_from_the_command_line_is_no_change_of_the_file(tmp_path: Path) -> None:
    async with following(tmp_path, "a", given={"port": 18765}) as it:
        for keys in (("a", "b"), ("a",)):
            await it.reload(*keys)
        assert it.last == "stopped b"
        await it.reload("a", proxy={"http": {"port": 1234, "host": "::1"}})
        assert it.last == "changed proxy.http.host"


async def test_another_order_is_called_what_it_is(tmp_path: Path) -> None:
    async with following(tmp_path, "a", "b") as it:
        await it.reload("b", "a")
        assert it.last == "only the order of the servers changed"
        assert await listed(it.client) == ["b__t", "a__t"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "line 1"),
        ('{"mcpServers": {"a": {"comand": "x"}}}', "comand"),
        ('{"mcpServers": []}', "mcpServers"),
        ("", "manifold.json"),
        (None, "no such file"),
    ],
)
async def test_a_file_that_is_not_valid_changes_nothing_and_is_told_why(
    content: str | None, says: str, tmp_path: Path
) -> None:
    async with following(tmp_path, "a") as it:
        if content is None:
            it.file.unlink()
        else:
            it.file.write_text(content)
        await it.reloader.reload()
        errors = it.stage.notices("error")
        assert errors
        assert all(line.startswith("the configuration stays as it was: ") for line in errors)
        assert says in errors[0]
        assert await call(it.client, "a__t") == {"content": [], "echo": {}}
        assert it.stage.states("a") == ["starting", "ready"]
        assert it.learned == []
        assert it.reloader.problem == "\n".join(line.partition("as it was: ")[2] for line in errors)
        await it.reload("a", "b")
        assert it.last == "started b", "the last valid one is what counts"
        assert it.reloader.problem == ""


async def test_all_problems_of_a_file_are_told(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        await it.reload("a", b={"callTimeout": -1}, c={"nonsense": 1})
        errors = "\n".join(it.stage.notices("error"))
        assert "callTimeout" in errors
        assert "nonsense" in errors
        assert it.stage.states("a") == ["starting", "ready"]


async def test_new_secrets_are_known_before_anything_of_the_file_is_told_or_started(tmp_path: Path) -> None:
    async with following(tmp_path, "a", TOKEN="t0k3n-from-outside") as it:
        it.stage.events.clear()
        await it.reload("a", b={"env": {"KEY": "s3cr3t-in-the-file", "TOKEN": "${TOKEN}"}})
        assert it.learned == [({"s3cr3t-in-the-file", "t0k3n-from-outside"}, 0)]


async def test_settings_that_need_a_new_start_are_named_without_their_values(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        await it.reload("a", proxy={"name": "other-name", "instructions": "Be quick.", "log": {"level": "debug"}})
        [warning] = it.stage.notices("warning")
        assert "proxy.log.level, proxy.name" in warning
        assert "instructions" not in warning
        assert "other-name" not in warning
        assert it.stage.states("a") == ["starting", "ready"]


async def test_a_setting_that_was_put_back_needs_no_new_start_any_more(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        await it.reload("a", proxy={"name": "other", "log": {"level": "debug"}})
        await it.reload("a", proxy={"log": {"level": "debug"}})
        assert it.stage.notices("warning")[1].endswith(" is started anew: proxy.log.level")
        await it.reload("a", "b", proxy={"log": {"level": "debug"}})
        await it.reload("a", "b")
        assert len(it.stage.notices("warning")) == 2
        assert "need not be started anew" in it.stage.notices("info")[-1]


async def test_a_warning_of_the_new_file_is_told(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        await it.reload("a", b={"autoApprove": ["x"]})
        assert any("autoApprove" in line for line in it.stage.notices("warning"))


async def test_a_variable_that_is_missing_costs_only_the_server_that_needs_it(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        await it.reload("a", "c", b={"args": ["${NO_SUCH_VARIABLE}"]})
        await it.stage.until(lambda: bool(it.stage.notified))
        assert await listed(it.client) == ["a__t", "c__t"]
        [report] = [one for one in it.fleet.reports() if one.server == "b"]
        assert "NO_SUCH_VARIABLE" in report.problem


async def test_what_was_read_first_is_not_applied_last(tmp_path: Path) -> None:
    """Here the first to read has to wait for its text; the file has long been another one when that comes."""
    async with following(tmp_path, "a") as it, anyio.create_task_group() as tasks:
        slow = tmp_path / "slow"
        os.mkfifo(slow)
        it.file.unlink()
        it.file.hardlink_to(slow)
        tasks.start_soon(it.reloader.reload)
        stream = await anyio.to_thread.run_sync(
            slow.open, "w", abandon_on_cancel=True
        )  # returns once the other side reads
        it.file.unlink()
        it.write("a", "newer")
        tasks.start_soon(it.reloader.reload)
        await anyio.to_thread.run_sync(load, it.file, {})
        stream.write(text("a", "older"))
        stream.close()
        await it.stage.until(lambda: len(it.stage.notices("info")) == 2)
        assert it.last == "started newer; stopped older"


async def test_a_change_is_noticed_by_itself_also_one_from_before_the_watch_began(tmp_path: Path) -> None:
    async with following(tmp_path, "a") as it:
        it.write("a", "early")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.reloader.watch)
            await it.stage.until(lambda: bool(it.stage.notices("info")))
            assert it.last == "started early"
            other = it.file.with_name("new")
            other.write_text(text("early"))
            other.replace(it.file)
            await it.stage.until(lambda: len(it.stage.notices("info")) == 2)
            assert it.last == "stopped a"
            it.file.write_text("not JSON")
            await it.stage.until(lambda: bool(it.stage.notices("error")))
            it.write("early", "a")
            await it.stage.until(lambda: len(it.stage.notices("info")) == 3)
            assert it.last == "started a"
            tasks.cancel_scope.cancel()


async def test_a_file_that_is_removed_is_told_by_itself_and_so_is_that_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_MOST_LOOKS", 2)
    async with following(tmp_path, "a") as it, anyio.create_task_group() as tasks:
        tasks.start_soon(it.reloader.watch)
        it.file.rename(tmp_path / "elsewhere")
        await it.stage.until(lambda: bool(it.stage.notices("error")))
        assert it.stage.notices("error") == [
            f"the configuration stays as it was: {it.file}: there is no such file any more"
        ]
        assert it.reloader.problem == f"{it.file}: there is no such file any more"
        assert await call(it.client, "a__t") == {"content": [], "echo": {}}
        (tmp_path / "elsewhere").rename(it.file)
        await it.stage.until(lambda: it.stage.notices("info") == [f"{it.file} was read again: nothing changed"])
        assert it.reloader.problem == ""
        assert len(it.stage.notices("error")) == 1
        assert it.stage.states("a") == ["starting", "ready"]
        tasks.cancel_scope.cancel()


async def test_a_file_that_cannot_be_watched_is_a_warning_and_no_end(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with following(folder, "a") as it:
        it.file.unlink()
        folder.rmdir()
        await it.reloader.watch()
        [warning] = it.stage.notices("warning")
        assert "SIGHUP" in warning
        assert await call(it.client, "a__t") == {"content": [], "echo": {}}
