"""The control socket: who finds it, who may speak on it, what it says, and that nothing said there harms the calls."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.abc import SocketStream

from proxy import memory
from proxy.control import client, peer, place, server
from proxy.control.client import News, NoAnswer
from proxy.control.place import PROTOCOL, Card, directory, find
from proxy.control.server import LONGEST_REQUEST, MOST_CONNECTIONS, MOST_JUNK, Control
from proxy.events import Notice
from proxy.overview import Overview
from proxy.status import Status
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.commands import sample
from tests.support.hub import serving
from tests.support.manifold import Manifold, running, write_config
from tests.support.processes import eventually
from tests.support.scripted import ScriptedServer, configured, silent
from tests.support.stage import Stage, call, fleet_of


class Bed:
    """A fleet of scripted servers behind a control socket."""

    def __init__(self, stage: Stage, card: Card, control: anyio.CancelScope, ended: anyio.Event) -> None:
        self.stage = stage
        self.card = card
        self.control = control
        """Around the one who listens; `ended` once it is left."""
        self.ended = ended
        self._streams = contextlib.AsyncExitStack()

    async def raw(self) -> SocketStream:
        """A connection, closed with the rest."""
        return await self._streams.enter_async_context(await anyio.connect_unix(self.card.socket))

    async def close(self) -> None:
        await self._streams.aclose()

    async def still_works(self) -> None:
        """Calls go on, and so does the socket."""
        user = await self.stage.client()
        await call(user, "one__t")
        user.close()
        assert (await client.status(self.card)).process is not None


@contextlib.asynccontextmanager
async def listening(
    state: Path,
    redact: Callable[[str], str] = str,
    uid_of: Callable[[socket.socket], int | None] = peer.uid_of,
    **scripted: ScriptedServer,
) -> AsyncIterator[Bed]:
    stage = Stage()
    scripted = scripted or {"one": ScriptedServer("t")}
    async with fleet_of(stage, scripted, entries={key: configured(key) for key in scripted}) as fleet:
        status = Status(stage.pump.now, redact)
        stage.listener = status
        control = Control(
            Overview(fleet, stage.pump, status, stage.pump.now, redact),
            stage.emit,
            kind="run",
            session="s1",
            config=Path("/config.json"),
            log=None,
            at=1000.0,
            uid_of=uid_of,
        )
        for key in scripted:
            await stage.until(lambda key=key: "ready" in stage.states(key), key)  # type: ignore[misc]
        with anyio.fail_after(PATIENCE):
            around, ended = anyio.CancelScope(), anyio.Event()

            async def listen() -> None:
                with around:
                    await control.run(state)
                ended.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                while not (found := find(state)):  # noqa: ASYNC110 (a directory has no event)
                    await anyio.sleep(0.001)
                bed = Bed(stage, found[0], around, ended)
                try:
                    yield bed
                finally:
                    await bed.close()
                    tasks.cancel_scope.cancel()
    assert find(state) == []
    assert list(directory(state).iterdir()) == []


async def told(stream: SocketStream) -> list[Any]:
    """All that is said until the end."""
    data = b""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            data += await stream.receive()
    return [json.loads(line) for line in data.splitlines()]


async def line(stream: SocketStream) -> Any:
    """The next thing said, where there is only one at a time."""
    data = b""
    while not data.endswith(b"\n"):
        data += await stream.receive()
    return json.loads(data)


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="mm"))
    yield folder
    shutil.rmtree(folder)


def until_found(state: Path, pids: set[int]) -> list[Card]:
    """The cards, once exactly these processes are there."""
    until = time.monotonic() + PATIENCE
    while True:
        found = find(state)
        if {card.pid for card in found} == pids:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.005)


# Found


def test_each_proxy_is_found_while_it_runs_and_a_killed_one_is_cleared_away(state: Path) -> None:
    entries = {"notes": sample("notes")}
    config = write_config(state / "one", entries, stateDir=str(state), log={"file": str(state / "log")})
    with serving(config) as hub, running(config, env={"CLAUDE_CODE_SESSION_ID": "abc"}) as first:
        second = Manifold(config)
        second.initialize()
        cards = until_found(state, {first.pid, second.pid, hub.child.process.pid})
        assert sorted(card.kind for card in cards) == ["run", "run", "serve"]
        [card] = [card for card in cards if card.pid == first.pid]
        assert (card.session, card.config, card.protocol) == ("abc", str(config), PROTOCOL)
        assert memory.is_alive(card.pid, card.started)
        modes = {path.name: path.stat().st_mode & 0o777 for path in directory(state).iterdir()}
        assert set(modes.values()) == {0o600}
        assert len(modes) == 6
        assert directory(state).stat().st_mode & 0o777 == 0o700
        news = anyio.run(client.status, card)
        assert news.process is not None
        assert [one.name for one in news.process.clients] == ["raw-client"]
        assert news.process.log == str(state / "log")
        assert [row.key for row in news.servers] == ["notes"]
        second.child.process.kill()  # not waited for: a zombie is as dead
        until_found(state, {first.pid, hub.child.process.pid})
        assert len(list(directory(state).iterdir())) == 4
        second.child.close()
    assert list(directory(state).iterdir()) == []


def test_a_server_restarted_over_the_socket_is_another_process(state: Path) -> None:
    config = write_config(state / "one", {"notes": sample("notes")}, stateDir=str(state))
    with running(config) as manifold:
        manifold.tools()
        [card] = until_found(state, {manifold.pid})
        [before] = anyio.run(client.status, card).servers
        assert before.state == "ready"
        assert before.pid in memory.of_trees([before.pid or 0])
        anyio.run(client.restart, card, "notes")

        async def until_ready_again() -> int | None:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    found: list[int | None] = []

                    def take(news: News) -> None:
                        if any(row.state == "ready" and row.restarts == 1 for row in news.servers):
                            found.append(news.servers[0].pid)
                            tasks.cancel_scope.cancel()

                    tasks.start_soon(client.watch, card, take)
            return found[0]

        after = anyio.run(until_ready_again)
        assert None is not after != before.pid
        assert memory.of_trees([before.pid or 0]) == {}
        assert manifold.call("notes__list_notes").result["content"]


def test_without_control_there_is_no_socket(state: Path) -> None:
    log = state / "log"
    config = write_config(state / "one", {}, stateDir=str(state), log={"file": str(log)}, control=False)
    with running(config) as manifold:
        eventually(log.exists, "what comes later has not begun")
        manifold.request("ping")
    assert not directory(state).exists()


def test_where_there_can_be_no_socket_the_log_says_so_and_the_proxy_works(state: Path) -> None:
    directory(state).write_text("in the way")
    log = state / "log"
    config = write_config(
        state / "one", {"raw": servers.script("raw_echo.py")}, stateDir=str(state), log={"file": str(log)}
    )
    with running(config) as manifold:
        eventually(lambda: log.exists() and "`top` will not show this process" in log.read_text(), "it says nothing")
        assert manifold.call("raw__verbatim").result["content"] == []


def card_of(pid: int, **more: Any) -> Card:
    known = {
        "protocol": 1,
        "started": "",
        "host": memory.world(),
        "at": 1.0,
        "kind": "run",
        "session": "",
        "config": "",
    }
    return Card(**{**known, "pid": pid, "version": "0", **more})


def left_behind(state: Path, card: Card) -> Card:
    """What a process leaves that had no time to clear it away."""
    taken = place.take(state, card, 1)
    taken.listener.close()
    return taken.card


def test_a_number_that_another_process_has_by_now_is_stale(state: Path) -> None:
    left_behind(state, card_of(os.getpid(), started="1"))
    assert find(state) == []
    assert list(directory(state).iterdir()) == []


def test_what_a_killed_process_left_goes_when_the_next_one_starts(state: Path) -> None:
    dead = left_behind(state, card_of(os.getpid(), started="1"))
    config = write_config(state / "one", {"raw": servers.script("raw_echo.py")}, stateDir=str(state))
    with running(config):
        eventually(lambda: not Path(dead.socket).exists(), "it is still there")


def test_a_path_that_is_no_text_can_have_no_socket(state: Path) -> None:
    with pytest.raises(OSError, match="not in UTF-8"):
        place.take(Path(os.fsdecode(os.fsencode(state) + b"/\xff")), card_of(os.getpid()), 1)


def test_a_card_of_another_world_is_shown_while_somebody_listens_and_removed_when_it_is_old(state: Path) -> None:
    taken = place.take(state, card_of(1, host="another container"), 1)
    assert [card.host for card in find(state)] == ["another container"]
    taken.listener.close()
    assert find(state) == []
    assert len(list(directory(state).iterdir())) == 2, "it may be asleep"
    [file] = directory(state).glob("*.json")
    os.utime(file, (1.0, 1.0))
    assert find(state) == []
    assert list(directory(state).iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "x" * 100_000])
def test_a_file_that_is_no_card_is_passed_over(state: Path, text: str) -> None:
    taken = place.take(state, card_of(os.getpid()), 1)
    (directory(state) / "1-junk.json").write_text(text)
    assert [card.pid for card in find(state)] == [os.getpid()]
    taken.close()


def test_a_directory_that_others_may_write_to_is_not_believed(state: Path) -> None:
    taken = place.take(state, card_of(os.getpid()), 1)
    directory(state).chmod(0o777)
    assert find(state) == []
    directory(state).chmod(0o700)
    assert find(state) == [taken.card]
    taken.close()


def test_a_directory_that_was_open_is_closed(state: Path) -> None:
    directory(state).mkdir(mode=0o755)
    place.take(state, card_of(os.getpid()), 1).close()
    assert directory(state).stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_directory_is_refused(state: Path) -> None:
    (state / "elsewhere").mkdir()
    directory(state).symlink_to(state / "elsewhere")
    with pytest.raises(OSError, match="not this user's own directory"):
        place.take(state, card_of(os.getpid()), 1)


def test_another_users_directory_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = place.take(state, card_of(os.getpid()), 1)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert find(state) == []
    with pytest.raises(OSError, match="not this user's own directory"):
        place.take(state, card_of(os.getpid()), 1)
    taken.close()


async def test_a_state_directory_with_a_long_path_has_its_sockets_elsewhere(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))
    long = state / ("long" * 20) / ("longer" * 20)
    async with listening(long) as it:
        path = Path(it.card.socket)
        assert path.parent == state / f"mcp-manifold-{os.geteuid()}"
        assert path.parent.stat().st_mode & 0o777 == 0o700
        await it.still_works()
    assert not path.exists()


async def test_a_socket_that_somebody_removed_is_there_again(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK", 0.01)
    async with listening(state) as it:
        shutil.rmtree(directory(state))
        while not (found := find(state)):  # noqa: ASYNC110 (a directory has no event)
            await anyio.sleep(0.001)
        it.card = found[0]
        await it.still_works()


async def test_where_every_path_is_too_long_it_says_so_in_one_line(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LONGEST_PATH", 10)
    stage = Stage()
    async with fleet_of(stage, {"one": ScriptedServer("t")}) as fleet:
        overview = Overview(fleet, stage.pump, Status(stage.pump.now), stage.pump.now, str)
        control = Control(overview, stage.emit, kind="run", session="", config=Path("c"), log=None, at=1.0)
        await control.run(state)
    [text] = stage.notices("info")
    assert "its path is too long for a socket" in text
    assert str(state) in text


# Who may speak


async def test_another_user_is_refused_without_a_word(state: Path) -> None:
    users = [os.geteuid() + 1, None]
    async with listening(state, uid_of=lambda _: users[-1] if users else os.geteuid()) as it:
        for _ in range(2):
            assert await told(await it.raw()) == []
        users.pop()
        assert await told(await it.raw()) == []
        users.clear()
        await it.still_works()
        texts = [event.text for event in it.stage.of(Notice) if "refused at the control socket" in event.text]
    assert len(texts) == 2, "once for each"


async def test_a_socket_of_another_user_is_not_spoken_to(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(state, uid_of=lambda _: os.geteuid()) as it:
        monkeypatch.setattr(peer, "uid_of", lambda _: os.geteuid() + 1)
        with pytest.raises(NoAnswer, match="belongs to another user"):
            await client.status(it.card)


def test_the_kernel_says_who_is_there() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer.uid_of(ours) == os.geteuid()
    with socket.socket(socket.AF_INET) as other:
        assert not peer.is_ours(peer.uid_of(other) if peer.uid_of(other) != os.geteuid() else None)


# What is said


async def test_a_watcher_gets_all_there_is_and_then_what_changes(state: Path) -> None:
    slow = ScriptedServer("slow", tools__call=silent)
    async with listening(state, one=ScriptedServer("t"), two=slow) as it:
        user = await it.stage.client()
        await call(user, "one__t")
        news: list[News] = []
        heard = anyio.Event()

        def take(one: News) -> None:
            nonlocal heard
            news.append(one)
            heard.set()
            heard = anyio.Event()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.watch, it.card, take)
            await heard.wait()
            first = news[0]
            assert (first.type, first.protocol, first.order) == ("snapshot", PROTOCOL, ["one", "two"])
            assert [row.calls for row in first.servers] == [1, 0]
            assert [one.tool for one in first.calls] == ["t"]
            tasks.start_soon(call, user, "two__slow")
            while not any(one.under_way for one in news):
                await heard.wait()
            [running] = news[-1].under_way or []
            assert (running.server, running.tool, running.waits) == ("two", "slow", False)
            assert news[-1].process is None, "nothing of the process changed"
            tasks.cancel_scope.cancel()


async def test_a_watcher_hears_from_time_to_time_that_the_process_lives(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "EVERY", 0.01)
    monkeypatch.setattr(server, "BEAT", 0.02)
    async with listening(state) as it:
        stream = await it.raw()
        await stream.send(b'{"op":"watch"}\n')
        await line(stream)
        assert (await line(stream)).keys() == {"type", "now"}
        await stream.aclose()


async def test_what_a_server_prints_is_read_from_where_it_was_left(state: Path) -> None:
    one = ScriptedServer("t")
    async with listening(state, lambda text: text.replace("hush", "***"), one=one) as it:
        one.last.print("first")
        one.last.print("with hush in it")
        tail = await client.tail(it.card, "one", 0)
        assert [each.text for each in tail.lines] == ["first", "with *** in it"]
        assert tail.steps[0].new == "ready"
        assert (await client.tail(it.card, "one", tail.lines[0].number)).lines == tail.lines[1:]


async def test_restarting_what_is_not_there_is_refused(state: Path) -> None:
    async with listening(state) as it:
        with pytest.raises(NoAnswer, match="no server 'two' is configured"):
            await client.restart(it.card, "two")


async def test_a_process_that_is_gone_or_of_another_version_says_so(state: Path) -> None:
    async with listening(state) as it:
        card = it.card
        older = msgspec.structs.replace(card, socket=f"{card.socket}2")

        async def answer(stream: SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(b'{"type":"snapshot","protocol":99}\n')

        async with await anyio.create_unix_listener(older.socket) as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, answer)
            with pytest.raises(NoAnswer, match="another version"):
                await client.status(older)
            tasks.cancel_scope.cancel()
        os.unlink(older.socket)  # noqa: PTH108 (a name, not a Path)
    with pytest.raises(NoAnswer, match="does not listen"):
        await client.status(card)


async def test_a_process_that_stands_still_is_not_waited_for_though_its_queue_is_full(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "WITHIN", 0.2)
    path = str(state / "still.sock")
    card = Card(PROTOCOL, os.getpid(), "", memory.world(), 0.0, "run", "s", "", "", path)
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as first:
        deaf.bind(path)
        deaf.listen(0)
        first.connect(path)
        with anyio.fail_after(PATIENCE), pytest.raises(NoAnswer, match="it does not answer"):
            await client.watch(card, lambda news: None)
        with pytest.raises(NoAnswer, match="it does not answer"):
            await client.status(card)


# Nothing said there harms the proxy


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"op":7}', b'{"op":"dance"}', b'{"op":"tail","after":"x"}', b"GET / HTTP/1.1"],
)
async def test_junk_is_answered_and_in_the_end_cut_off(
    state: Path, junk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BREATH", 0.0)
    async with listening(state) as it:
        stream = await it.raw()
        await stream.send((junk + b"\n") * (MOST_JUNK + 5))
        answers = await told(stream)
        assert [answer["type"] for answer in answers] == ["error"] * MOST_JUNK
        await it.still_works()


async def test_a_line_that_does_not_end_is_cut_off(state: Path) -> None:
    async with listening(state) as it:
        stream = await it.raw()
        with contextlib.suppress(anyio.BrokenResourceError):
            for _ in range(100):
                await stream.send(b"x" * LONGEST_REQUEST)
        answers = await told(stream)
        assert len(answers) <= 1  # what we had still to say may be lost with what it had
        await it.still_works()


async def test_connections_beyond_a_number_are_told_so(state: Path) -> None:
    async with listening(state) as it:
        crowd = [await it.raw() for _ in range(MOST_CONNECTIONS)]
        for stream in crowd:
            await stream.send(b'{"op":"tail","server":"one"}\n')
            assert (await line(stream))["type"] == "tail"
        with pytest.raises(NoAnswer, match="connections are open already"):
            await client.status(it.card)
        for stream in crowd:
            await stream.aclose()
        while True:
            try:
                await it.still_works()
                break
            except NoAnswer:
                await anyio.sleep(0.001)


async def test_who_does_not_read_is_cut_off_and_nobody_waits_for_it(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.05)
    monkeypatch.setattr(server, "BREATH", 0.0)
    async with listening(state) as it:
        user = await it.stage.client()
        for _ in range(50):
            await call(user, "one__t")
        stream = await it.raw()
        with contextlib.suppress(anyio.BrokenResourceError):
            while True:  # until it is cut off
                await stream.send(b'{"op":"status"}\n' * 100)
                await it.still_works()
        await it.still_works()


async def test_who_asks_nothing_is_let_go(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.01)
    async with listening(state) as it:
        assert await told(await it.raw()) == []


async def test_a_client_that_closes_in_the_tick_in_which_the_proxy_ends_leaves_no_traceback(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BREATH", 0.0)
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, failure: failures.append(failure))
    end, ending = socket.socketpair()
    with end, ending:
        async with listening(state) as it:
            stream = await it.raw()
            await stream.send(b'{"op":"tail","server":"one"}\n')
            await line(stream)
            await anyio.wait_all_tasks_blocked()
            loop.add_reader(end, it.control.cancel)
            await anyio.lowlevel.checkpoint()
            ending.send(b"now")
            await stream.aclose()  # seen in the same look as the end, and after it
            await it.ended.wait()
            loop.remove_reader(end)
    assert failures == []


async def test_a_defect_of_ours_costs_the_one_connection(state: Path) -> None:
    def broken(text: str) -> str:
        if text == "broken":
            raise ZeroDivisionError
        return text

    one = ScriptedServer("t")
    async with listening(state, broken, one=one) as it:
        one.last.print("broken")
        with pytest.raises(NoAnswer, match="it is gone"):
            await client.tail(it.card, "one", 0)
        await it.still_works()
        [text] = it.stage.notices("error")
    assert "ZeroDivisionError" in text
