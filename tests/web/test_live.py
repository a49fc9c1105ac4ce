"""Servers and calls as the page gets them: handlers, fleet and relay are real, sockets and time are not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import anyio
import pytest

from proxy import overview as module
from proxy.errors import ConnectionLost, Hopeless
from proxy.fleet import Fleet
from proxy.fronts.local import LocalClient
from proxy.overview import Overview
from proxy.status import Status
from proxy.web.asgi import Request
from proxy.web.guard import Guard
from proxy.web.live import Live
from proxy.web.site import Site
from tests.support.asking import Answer, ask
from tests.support.scripted import ScriptedServer, configured, silent
from tests.support.stage import Stage, call, fleet_of
from tests.support.virtual_time import VIRTUAL

SOON = 10.0
"""Seconds of virtual time."""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def mask(text: str) -> str:
    return text.replace("hush", "***")


class Bed:
    """A fleet of scripted servers, and what the page would ask of it. Unix time is the loop's."""

    def __init__(self, stage: Stage, fleet: Fleet) -> None:
        self.stage = stage
        self.fleet = fleet
        self.status = Status(stage.pump.now, mask)
        self.problem = ""
        stage.listener = self.status
        overview = Overview(fleet, stage.pump, self.status, stage.pump.now, mask, lambda: self.problem)
        self.live = Live(overview)
        handlers = {"servers": self.live.servers, "calls": self.live.calls}
        self._site = Site(Guard(host="127.0.0.1", token=None), handlers, {"live": self.live.live})

    async def ask(self, method: str, url: str) -> Answer:
        answer = await ask(self._site, method, url)
        assert answer is not None
        return answer

    async def ready(self, *keys: str) -> LocalClient:
        """A client, once these servers are ready."""
        for key in keys:
            await self.stage.until(lambda key=key: "ready" in self.stage.states(key), key)  # type: ignore[misc]
        return await self.stage.client()


class Reader:
    """The other side of a WebSocket. What is not `taken` holds the next message up."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.closed: int | None = None
        self._seen = 0
        self.takes = anyio.Event()
        self._news = anyio.Event()
        self._said: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})

    def say(self, text: str) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect"})

    async def receive(self) -> MutableMapping[str, Any]:
        return await self._said.get()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            await self.takes.wait()
            self.told.append(json.loads(message["text"]))
            news, self._news = self._news, anyio.Event()
            news.set()
        elif message["type"] == "websocket.close":
            self.closed = message["code"]

    async def until(self, member: str) -> dict[str, Any]:
        """The next message with this member."""
        with anyio.fail_after(SOON):
            while True:
                while self._seen < len(self.told):
                    self._seen += 1
                    if member in self.told[self._seen - 1]:
                        return self.told[self._seen - 1]
                await self._news.wait()


@contextlib.asynccontextmanager
async def bed(**servers: ScriptedServer) -> AsyncIterator[Bed]:
    stage = Stage()
    async with fleet_of(stage, servers, entries={key: configured(key) for key in servers}) as fleet:
        yield Bed(stage, fleet)


@contextlib.asynccontextmanager
async def reading(bed: Bed, *, takes: bool = True) -> AsyncIterator[Reader]:
    """Somebody who reads /live, until the test is through."""
    reader = Reader()
    if takes:
        reader.takes.set()
    async with anyio.create_task_group() as tasks:
        scope = {"path": "/live", "query_string": b"", "scheme": "ws", "headers": []}
        tasks.start_soon(bed.live.live, Request(scope, reader.receive), reader.send)
        yield reader
        reader.leave()


# REST


async def test_each_server_is_listed_with_what_is_known_of_it() -> None:
    async with bed(one=ScriptedServer("a", "b"), two=ScriptedServer()) as it:
        client = await it.ready("one", "two")
        await call(client, "one__a")
        servers = (await it.ask("GET", "/servers")).json["servers"]
    assert [server["key"] for server in servers] == ["one", "two"]
    one = servers[0]
    known = {"state": "ready", "name": "scripted", "version": "7", "protocol": "2025-11-25", "transport": "stdio"}
    counts = {"tools": 2, "prompts": 0, "resources": 0, "calls": 1, "failures": 0, "restarts": 0, "in_flight": 0}
    assert {name: one[name] for name in known | counts} == known | counts
    assert one["tool_names"] == {"one__a": "a", "one__b": "b"}
    assert (one["rate"], one["last_error"], one["queued"]) == (0.1, None, 0)


async def test_a_server_that_never_came_up_says_why() -> None:
    server = ScriptedServer()
    server.refuse = Hopeless("one", "its command hush does not exist")
    async with bed(one=server) as it:
        await it.stage.until(lambda: "failed" in it.stage.states("one"))
        [found] = (await it.ask("GET", "/servers")).json["servers"]
    assert (found["state"], found["version"], found["protocol"], found["tools"]) == ("failed", "", "", 0)
    assert found["last_error"]["text"].startswith("its command *** does not exist")


async def test_one_server_is_told_with_what_it_printed_and_how_its_state_changed() -> None:
    server = ScriptedServer("t")
    async with bed(one=server) as it:
        await it.ready("one")
        server.last.print("hello, hush")
        answer = await it.ask("GET", "/servers/one")
    assert answer.headers["cache-control"] == "no-store"
    assert [(line["stream"], line["text"]) for line in answer.json["stderr"]] == [("stderr", "hello, ***")]
    assert [step["new"] for step in answer.json["steps"]] == ["ready", "starting"]


async def test_what_of_a_server_clients_do_not_see_is_told_with_the_reason() -> None:
    async with bed(one=ScriptedServer("t", "t")) as it:
        await it.ready("one")
        one = (await it.ask("GET", "/servers/one")).json
    assert (one["listed"], one["tool_names"]) == ({"tools": 2}, {"one__t": "t"})
    assert one["odd"] == ["tool 't' is listed twice; the first one counts"]


async def test_a_key_may_have_any_character() -> None:
    async with bed(**{"my server/1": ScriptedServer("t")}) as it:
        assert (await it.ask("GET", "/servers/my%20server%2F1")).json["key"] == "my server/1"
        assert (await it.ask("POST", "/servers/my%20server%2F1/restart")).status == 202


async def test_an_unknown_server_is_not_found() -> None:
    async with bed(one=ScriptedServer()) as it:
        assert (await it.ask("GET", "/servers/two")).status == 404
        assert (await it.ask("POST", "/servers/two/restart")).status == 404


async def test_a_server_is_restarted_on_request() -> None:
    server = ScriptedServer("t")
    async with bed(one=server) as it:
        await it.ready("one")
        answer = await it.ask("POST", "/servers/one/restart")
        assert (answer.status, answer.json) == (202, {"restarting": "one"})
        await it.stage.until(lambda: it.stage.states("one").count("ready") == 2)
        assert len(server.connections) == 2
        assert (await it.ask("GET", "/servers/one")).json["restarts"] == 1


@pytest.mark.parametrize(
    ("method", "url"), [("POST", "/servers/one"), ("POST", "/servers"), ("PUT", "/servers"), ("POST", "/calls")]
)
async def test_what_can_only_be_read_says_so(method: str, url: str) -> None:
    async with bed(one=ScriptedServer()) as it:
        answer = await it.ask(method, url)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_the_last_calls_are_listed_and_those_under_way() -> None:
    slow_one = ScriptedServer("slow", tools__call=silent)
    async with bed(one=ScriptedServer("t"), two=slow_one) as it:
        client = await it.ready("one", "two")
        for _ in range(3):
            await call(client, "one__t")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, client, "two__slow")
            await slow_one.until(lambda: len(slow_one.asked("tools/call")) == 1)
            found = (await it.ask("GET", "/calls?limit=2")).json
            tasks.cancel_scope.cancel()
    assert [(one["number"], one["tool"], one["outcome"]) for one in found["calls"]] == [(3, "t", "ok"), (2, "t", "ok")]
    assert found["in_flight"] == 1
    [slow] = found["under_way"]
    assert (slow["server"], slow["tool"], slow["session"], slow["waits"]) == ("two", "slow", "test", False)
    assert slow["started"] == pytest.approx(found["calls"][0]["at"], abs=SOON)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "9" * 5000, "1".zfill(9) + "0" * 5000])
async def test_a_limit_that_makes_no_sense_is_refused(limit: str) -> None:
    async with bed(one=ScriptedServer()) as it:
        assert (await it.ask("GET", f"/calls?limit={limit}")).status == 400


async def test_a_file_that_can_not_be_used_is_told_to_who_looks_until_it_can() -> None:
    async with bed(one=ScriptedServer()) as it:
        await it.ready("one")
        async with reading(it) as reader:
            assert (await reader.until("servers"))["problem"] == ""
            it.problem = "line 3: hush is no server"
            assert (await reader.until("problem"))["problem"] == "line 3: *** is no server"
            assert (await it.ask("GET", "/servers")).json["problem"] == "line 3: *** is no server"
            it.problem = ""
            assert (await reader.until("problem"))["problem"] == ""


# WebSocket


async def test_a_reader_gets_all_there_is_and_then_what_changes() -> None:
    server = ScriptedServer("t")
    async with bed(one=server, two=ScriptedServer()) as it:
        client = await it.ready("one", "two")
        await call(client, "one__t")
        async with reading(it) as reader:
            first = await reader.until("servers")
            assert first["type"] == "snapshot"
            assert first["order"] == [row["key"] for row in first["servers"]] == ["one", "two"]
            assert [one["tool"] for one in first["calls"]] == ["t"]
            assert (first["under_way"], first["clients"]) == ([], 1)
            await call(client, "one__t")
            change = await reader.until("calls")
            assert (change["type"], [one["number"] for one in change["calls"]]) == ("change", [2])
            assert [row["key"] for row in change["servers"]] == ["one"]
            assert "order" not in change


async def test_a_reader_sees_a_server_go_and_come_back() -> None:
    server = ScriptedServer("t")
    async with bed(one=server) as it:
        await it.ready("one")
        async with reading(it) as reader:
            await reader.until("servers")
            server.last.end(ConnectionLost("one", "it exited with code 3"))
            await it.stage.until(lambda: it.stage.states("one").count("ready") == 2)
            await anyio.sleep(module.EVERY)
            rows = [row for message in reader.told for row in message.get("servers", ())]
    assert rows[-1]["state"] == "ready"
    assert rows[-1]["restarts"] == 1
    assert rows[-1]["last_error"]["text"] == "it exited with code 3"


async def test_a_call_under_way_is_told_until_it_ends() -> None:
    server = ScriptedServer("slow", tools__call=silent)
    async with bed(one=server) as it:
        client = await it.ready("one")
        async with reading(it) as reader, anyio.create_task_group() as tasks:
            await reader.until("servers")
            tasks.start_soon(call, client, "one__slow")
            change = await reader.until("in_flight")
            assert ([one["tool"] for one in change["under_way"]], change["in_flight"]) == (["slow"], 1)
            tasks.cancel_scope.cancel()
        async with reading(it) as reader:
            first = await reader.until("servers")
            assert (first["under_way"], [one["outcome"] for one in first["calls"]]) == ([], ["cancelled"])


async def test_who_watches_a_server_reads_what_it_prints() -> None:
    one, two = ScriptedServer(), ScriptedServer()
    async with bed(one=one, two=two) as it:
        await it.ready("one", "two")
        one.last.print("before")
        async with reading(it) as reader:
            await reader.until("servers")
            assert "output" not in reader.told[0]
            reader.say('{"watch": "one"}')
            output = (await reader.until("output"))["output"]
            assert (output["server"], [line["text"] for line in output["lines"]]) == ("one", ["before"])
            two.last.print("not asked for")
            one.last.print("after")
            assert [line["text"] for line in (await reader.until("output"))["output"]["lines"]] == ["after"]


@pytest.mark.parametrize("word", ["", "no json", "[]", '{"watch": 1}', '{"watch": "' + "x" * 2000 + '"}'])
async def test_words_that_mean_nothing_are_let_pass(word: str) -> None:
    async with bed(one=ScriptedServer("t")) as it:
        client = await it.ready("one")
        async with reading(it) as reader:
            await reader.until("servers")
            reader.say(word)
            await call(client, "one__t")
            assert len((await reader.until("calls"))["calls"]) == 1
            assert reader.closed is None


async def test_nothing_is_told_while_nothing_changes() -> None:
    async with bed(one=ScriptedServer()) as it:
        await it.ready("one")
        async with reading(it) as reader:
            await anyio.sleep(100 * module.EVERY)
            assert len(reader.told) == 1


async def test_a_reader_who_is_slower_than_the_calls_is_told_how_many_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_SHOWN", 3)
    async with bed(one=ScriptedServer("t")) as it:
        client = await it.ready("one")
        async with reading(it) as reader:
            await reader.until("servers")
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(call, client, "one__t")
            change = await reader.until("calls")
    assert [one["number"] for one in change["calls"]] == [8, 9, 10]
    assert change["missed"] == 7


async def test_a_reader_who_does_not_read_is_cut_off() -> None:
    async with bed(one=ScriptedServer()) as it:
        await it.ready("one")
        async with reading(it, takes=False) as reader:
            await anyio.sleep(module.PATIENCE + 2 * SOON)
            assert (reader.told, reader.closed) == ([], 1008)
