"""One server's life, told by its events; hours of it pass on virtual time."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import anyio
import pytest

from proxy.config.models import Server, ServerEntry, ToolRules
from proxy.errors import ConnectionLost, Hopeless, StartFailed, Unreachable
from proxy.events import CatalogueChanged, ServerStartFinished, ServerStateChanged
from proxy.fronts.local import RequestFailed
from proxy.relay.breaker import FAILURES
from proxy.transports.channel import Intake, Output
from tests.support.message import Message
from tests.support.scripted import Connection, Outcome, ScriptedServer, configured, error, result
from tests.support.stage import Stage, call, listed, supervised
from tests.support.virtual_time import VIRTUAL

LIST_CHANGED = "notifications/tools/list_changed"
DAY = 24 * 3600.0


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def silent(connection: Connection, message: Message) -> Outcome:
    return None


async def until_ready(stage: Stage, times: int = 1) -> None:
    await stage.until(lambda: stage.states("one").count("ready") == times, f"ready {times} times")


async def crash(stage: Stage, server: ScriptedServer, why: str = "it exited with code 1") -> None:
    """End the connection of a ready server, and wait until that was seen."""
    before = len(stage.of(ServerStateChanged))
    server.last.end(ConnectionLost("one", why))
    await stage.until(lambda: len(stage.of(ServerStateChanged)) > before, "a change of state")


async def failure(request: Awaitable[object]) -> str:
    with pytest.raises(RequestFailed) as caught:
        await request
    return str(caught.value)


# Starting


async def test_a_server_is_greeted_listed_and_ready() -> None:
    stage, server = Stage(), ScriptedServer("echo", "other")
    async with supervised(stage, server) as supervisor:
        await until_ready(stage)
        assert stage.states("one") == ["starting", "ready"]
        [started] = stage.of(ServerStartFinished)
        assert (started.outcome, started.protocol) == ("ok", "2025-11-25")
        assert (started.name, started.version) == ("scripted", "7")
        assert stage.of(CatalogueChanged) == [CatalogueChanged("one", 2, 2, 0)]
        assert server.last.agreed_on == "2025-11-25"
        assert [m.method for m in server.last.received] == ["initialize", "notifications/initialized", "tools/list"]
        assert supervisor.problem == ""
        assert await listed(await stage.client()) == ["one__echo", "one__other"]


async def test_only_the_listings_that_a_server_announces_are_asked_for() -> None:
    stage, server = Stage(), ScriptedServer()
    server.capabilities = {"prompts": {}, "resources": {}}
    server.scripts["prompts/list"] = lambda *_: result({"prompts": [{"name": "p"}, {"name": "q"}]})
    server.scripts["resources/list"] = lambda *_: result({"resources": []})
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: supervisor.surveyed)
        assert supervisor.inventory.counts == {"prompts": 2, "resources": 0, "templates": 0}
        assert server.asked("tools/list") == []


async def test_a_server_is_ready_with_its_tools_and_counts_the_rest_later() -> None:
    stage, server = Stage(), ScriptedServer("echo", prompts__list=silent)
    server.capabilities["prompts"] = {}
    async with supervised(stage, server) as supervisor:
        await until_ready(stage)
        assert not supervisor.surveyed
        assert await call(await stage.client(), "one__echo", {"a": 1}) == {"content": [], "echo": {"a": 1}}
        await stage.until(lambda: supervisor.surveyed, "survey ended by its own time-out")
        assert supervisor.inventory.counts == {"tools": 1}
        assert [text for text in stage.notices("warning") if "prompts" in text]


async def test_a_banner_on_stdout_is_logged_and_harms_nothing() -> None:
    def greet(connection: Connection, message: Message) -> Outcome:
        connection.say(b"Listening on stdio, ready!")
        connection.say(b'{"level":"info","msg":"up"}')
        connection.respond(message, ScriptedServer("echo").answer(connection, message) or b"")
        return None

    stage, server = Stage(), ScriptedServer("echo", initialize=greet)
    async with supervised(stage, server):
        await until_ready(stage)
        assert stage.printed("stdout") == ["Listening on stdio, ready!", '{"level":"info","msg":"up"}']


async def test_what_a_server_prints_on_stderr_is_told() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server):
        await until_ready(stage)
        server.last.print("disk is getting full")
        assert stage.printed("stderr") == ["disk is getting full"]


@pytest.mark.parametrize(
    ("method", "what"), [("initialize", "did not answer initialize"), ("tools/list", "did not list its tools")]
)
async def test_a_server_that_says_nothing_is_given_up_at_its_start_time_out(method: str, what: str) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.scripts[method] = silent
    async with supervised(stage, server, configured("one", start_timeout=7.0)) as supervisor:
        began = asyncio.get_running_loop().time()
        await stage.until(lambda: "backoff" in stage.states("one"))
        assert asyncio.get_running_loop().time() == pytest.approx(began + 7, abs=0.2)
        assert what in supervisor.problem
        assert "7 s" in supervisor.problem
        assert "startTimeout" in supervisor.problem
        assert server.connections[0].closed
        del server.scripts[method]
        await until_ready(stage)
        assert supervisor.problem == ""
        assert [event.outcome for event in stage.of(ServerStartFinished)] == ["failed", "ok"]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (error(-32603, "no licence"), "no licence"),
        (error(-32022, "unsupported"), "not supported yet"),
        (result({"protocolVersion": "1999-01-01", "capabilities": {}}), "1999-01-01"),
        (result({"capabilities": {}}), "names no protocolVersion"),
        (result(None), "initialize"),
        (b'"error":"broken"', "initialize"),
        (b'"neither":1', "initialize"),
    ],
)
async def test_an_answer_to_initialize_that_is_of_no_use_is_named(answer: bytes, what: str) -> None:
    stage, server = Stage(), ScriptedServer("echo", initialize=lambda *_: answer)
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: "backoff" in stage.states("one"))
        if what != "initialize":
            assert what in supervisor.problem
        assert supervisor.problem
        assert stage.notices("error") == []


async def test_the_reason_of_the_connection_is_preferred_to_the_refusal_that_it_caused() -> None:
    def refuse(connection: Connection, message: Message) -> Outcome:
        connection.end(Hopeless("one", "it wants authentication (HTTP 401)"))
        return error(-32000, "HTTP 401")

    stage, server = Stage(), ScriptedServer("echo", initialize=refuse)
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: "failed" in stage.states("one"))
        assert supervisor.problem == "it wants authentication (HTTP 401)"
        assert stage.states("one") == ["starting", "failed"]


async def test_a_server_that_prints_in_a_loop_is_started_anew() -> None:
    """A hundred lines that are no messages within ten seconds are too many, however it goes on."""
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await until_ready(stage)
        for number in range(500):
            server.last.say(b"debug: %d" % number)
        await stage.until(lambda: "backoff" in stage.states("one"))
        assert "100 lines on stdout" in supervisor.problem
        assert len(stage.printed("stdout")) == 100
        assert server.connections[0].closed
        await until_ready(stage, 2)


async def test_a_server_that_prints_now_and_then_is_left_alone() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server):
        await until_ready(stage)
        for number in range(500):
            server.last.say(b"debug: %d" % number)
            await anyio.sleep(0.11)
        assert stage.states("one") == ["starting", "ready"]
        assert len(stage.printed("stdout")) == 500


# What can't be mended


async def test_a_hopeless_server_has_failed_at_once_and_is_not_tried_again() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.refuse = Hopeless("one", "the command 'x' was not found")
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: "failed" in stage.states("one"))
        await anyio.sleep(DAY)
        assert stage.states("one") == ["starting", "failed"]
        assert len(server.connections) == 1
        assert supervisor.problem == "the command 'x' was not found"
        client = await stage.client()
        assert await listed(client) == []
        told = await failure(call(client, "one__echo"))
        assert "'one'" in told
        assert "the command 'x' was not found" in told


async def test_an_entry_with_a_problem_is_never_connected_to() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    entry = Server("one", "one", ServerEntry(command="x"), problem="variable TOKEN is not set")
    async with supervised(stage, server, entry) as supervisor:
        await stage.until(lambda: "failed" in stage.states("one"))
        assert server.connections == []
        assert supervisor.problem == "variable TOKEN is not set"


async def test_five_crashes_in_a_row_are_the_end() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        for times in range(1, 6):
            await until_ready(stage, times)
            await crash(stage, server, f"it exited with code {times}")
        await anyio.sleep(DAY)
        assert stage.states("one") == [*["starting", "ready", "backoff"] * 4, "starting", "ready", "failed"]
        assert "it exited with code 5" in supervisor.problem
        client = await stage.client()
        assert await listed(client) == ["one__echo"]
        told = await failure(call(client, "one__echo"))
        assert "it exited with code 5" in told
        assert "not started again until its entry changes or somebody restarts it (`mcp-manifold top`)" in told


async def test_a_server_whose_starts_take_their_time_is_tried_for_ever_at_growing_distances() -> None:
    stage, server = Stage(), ScriptedServer("echo", initialize=silent)
    async with supervised(stage, server):
        await anyio.sleep(DAY)
        delays = [event.delay for event in stage.of(ServerStateChanged) if event.delay is not None]
        assert "failed" not in stage.states("one")
        assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
        assert set(delays[20:]) == {30.0}


async def test_an_address_where_nobody_answers_is_tried_for_ever_and_seldom() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.refuse = Unreachable("one", "no connection")
    async with supervised(stage, server) as supervisor:
        await anyio.sleep(DAY)
        assert "failed" not in stage.states("one")
        assert 2500 < len(server.connections) < 3500
        client = await stage.client()
        assert await listed(client) == []
        assert supervisor.problem == "no connection"
        server.refuse = None
        await until_ready(stage)
        assert await call(client, "one__echo") == {"content": [], "echo": {}}


async def test_a_defect_of_ours_costs_this_server_alone_and_is_told() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.refuse = RuntimeError("a bug")
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: "backoff" in stage.states("one"))
        assert "internal error" in supervisor.problem
        [told] = stage.notices("error")
        assert "RuntimeError: a bug" in told
        server.refuse = None
        await until_ready(stage)


# Crashes


async def test_a_crashed_server_comes_back_and_its_calls_work_again() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await until_ready(stage)
        client = await stage.client()
        await crash(stage, server)
        assert supervisor.problem == "it exited with code 1"
        assert server.connections[0].closed
        assert await call(client, "one__echo", {"n": 1}) == {"content": [], "echo": {"n": 1}}
        await until_ready(stage, 2)
        assert stage.states("one") == ["starting", "ready", "backoff", "starting", "ready"]
        assert len(server.connections) == 2
        assert stage.notified == []


async def test_calls_in_flight_fail_with_the_reason_of_the_crash() -> None:
    stage, server = Stage(), ScriptedServer("echo", tools__call=silent)
    async with supervised(stage, server):
        await until_ready(stage)
        client = await stage.client()
        told: list[str] = []

        async def wait() -> None:
            told.append(await failure(call(client, "one__echo")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await server.until(lambda: len(server.asked("tools/call")) == 2)
            await crash(stage, server, "it was killed by SIGKILL")
        assert len(told) == 2
        assert all("'one'" in text and "SIGKILL" in text for text in told)


async def test_callers_do_not_wait_for_a_dead_server_to_be_cleared_away() -> None:
    """Ending a process group may take seconds."""
    stage, scripted = Stage(), ScriptedServer("echo", tools__call=silent)
    cleared = anyio.Event()

    @asynccontextmanager
    async def slow_to_close(server: Server, intake: Intake, output: Output) -> AsyncIterator[Connection]:
        async with scripted(server, intake, output) as connection:
            try:
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(100)
                    cleared.set()

    async with supervised(stage, slow_to_close):
        await until_ready(stage)
        client = await stage.client()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(failure, call(client, "one__echo"))
            await scripted.until(lambda: bool(scripted.asked("tools/call")))
            scripted.last.end(ConnectionLost("one", "gone"))
        assert not cleared.is_set()


async def test_an_hour_of_health_between_crashes_keeps_a_server_going() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server):
        for times in range(1, 21):
            await until_ready(stage, times)
            await anyio.sleep(3600)
            await crash(stage, server)
        await until_ready(stage, 21)
        delays = {event.delay for event in stage.of(ServerStateChanged) if event.delay is not None}
        assert delays == {0.1}


async def test_credentials_that_are_refused_later_end_it_too() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await until_ready(stage)
        server.last.end(Hopeless("one", "the token has expired"))
        await stage.until(lambda: "failed" in stage.states("one"))
        await anyio.sleep(DAY)
        assert len(server.connections) == 1
        assert supervisor.problem == "the token has expired"


async def test_a_server_that_hangs_is_ended_and_started_again_with_the_reason() -> None:
    stage, server = Stage(), ScriptedServer("echo", tools__call=silent, ping=silent)
    async with supervised(stage, server, configured("one", call_timeout=20.0)):
        await until_ready(stage)
        client = await stage.client()
        async with anyio.create_task_group() as tasks:
            for _ in range(FAILURES):
                tasks.start_soon(failure, call(client, "one__echo"))
        await stage.until(lambda: stage.states("one")[-1] == "backoff")
        reason = stage.of(ServerStateChanged)[-1].reason
        assert re.match(r"it said nothing for \d+ s and did not answer 3 pings", reason)
        assert stage.of(ServerStateChanged)[-1].cause == "hung"
        assert server.last.closed
        server.scripts.clear()
        assert await call(client, "one__echo", {"n": 1}) == {"content": [], "echo": {"n": 1}}
        assert len(server.connections) == 2


async def test_an_end_has_a_cause_in_a_word_and_what_is_well_has_none() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await until_ready(stage)
        problems = (ConnectionLost("one", "it exited"), Unreachable("one", "nobody is there"), Hopeless("one", "no"))
        server.refuse = problems[0]
        await crash(stage, server)
        for seen, problem in zip(("start_failed", "unreachable"), problems[1:], strict=True):
            await stage.until(lambda seen=seen: stage.of(ServerStateChanged)[-1].cause == seen)  # type: ignore[misc]
            server.refuse = problem
        await stage.until(lambda: supervisor.lifecycle.state == "failed")
        found = [(event.new, event.cause) for event in stage.of(ServerStateChanged)]
        assert [one for one in found if one[0] in ("starting", "ready") and one[1]] == []
        causes = list(dict.fromkeys(cause for _, cause in found if cause))
        assert causes == ["lost", "start_failed", "unreachable", "hopeless"]
        supervisor.disconnect("it was restarted by hand")
        assert stage.of(ServerStateChanged)[-1].cause == "stopped"


async def test_a_server_that_comes_back_with_other_tools_is_announced() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server):
        await until_ready(stage)
        client = await stage.client()
        assert await listed(client) == ["one__echo"]
        server.tools = ["better"]
        await crash(stage, server)
        assert await listed(client) == ["one__echo"]
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["one__better"]
        assert [method for method, _ in stage.notified] == [LIST_CHANGED]


# Changed lists


async def test_a_burst_of_announcements_is_one_new_listing_and_one_notice_in_front() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: supervisor.surveyed)
        client = await stage.client()
        assert await listed(client) == ["one__echo"]
        server.tools.append("late")
        for _ in range(20):
            server.last.notify(LIST_CHANGED)
            await anyio.sleep(0.002)
        await stage.until(lambda: bool(stage.notified))
        await anyio.sleep(60)
        assert len(server.asked("tools/list")) == 2
        assert [method for method, _ in stage.notified] == [LIST_CHANGED]
        assert await listed(client) == ["one__echo", "one__late"]


async def test_a_change_during_a_listing_leads_to_another_one() -> None:
    def listing(connection: Connection, message: Message) -> Outcome:
        if len(server.asked("tools/list")) == 2:
            connection.notify(LIST_CHANGED)
            server.tools.append("later")
        return ScriptedServer(*server.tools).answer(connection, message)

    stage, server = Stage(), ScriptedServer("echo", tools__list=listing)
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: supervisor.surveyed)
        server.last.notify(LIST_CHANGED)
        await server.until(lambda: len(server.asked("tools/list")) == 3)
        await anyio.sleep(60)
        assert len(server.asked("tools/list")) == 3
        assert await listed(await stage.client()) == ["one__echo", "one__later"]


async def test_the_same_list_again_is_not_announced() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: supervisor.surveyed)
        client = await stage.client()
        await listed(client)
        server.last.notify(LIST_CHANGED)
        await server.until(lambda: len(server.asked("tools/list")) == 2)
        await anyio.sleep(60)
        assert stage.notified == []
        assert len(stage.of(CatalogueChanged)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        error(-32603, "database is locked"),
        result({"no": "tools"}),
        result({"tools": 5}),
        result({"tools": [], "nextCursor": "same"}),
        None,
    ],
)
async def test_a_listing_that_fails_keeps_the_last_list(answer: Outcome) -> None:
    stage, server = Stage(), ScriptedServer("echo")
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: supervisor.surveyed)
        server.scripts["tools/list"] = lambda *_: answer
        server.last.notify(LIST_CHANGED)
        await stage.until(lambda: bool(stage.notices("warning")))
        client = await stage.client()
        assert await listed(client) == ["one__echo"]
        assert await call(client, "one__echo") == {"content": [], "echo": {}}
        assert "the last list stays" in stage.notices("warning")[0]
        assert stage.states("one") == ["starting", "ready"]
        del server.scripts["tools/list"]
        server.tools.append("late")
        server.last.notify(LIST_CHANGED)
        await stage.until(lambda: len(stage.of(CatalogueChanged)) == 2)
        assert await listed(client) == ["one__echo", "one__late"]


async def test_prompts_are_counted_anew_when_they_change_and_tools_are_left_alone() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.capabilities["prompts"] = {"listChanged": True}
    found = [{"name": "p"}]
    server.scripts["prompts/list"] = lambda *_: result({"prompts": found})
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: supervisor.surveyed)
        assert supervisor.inventory.counts["prompts"] == 1
        found.append({"name": "q"})
        server.last.notify("notifications/prompts/list_changed")
        await server.until(lambda: len(server.asked("prompts/list")) == 2)
        await anyio.sleep(1)
        assert supervisor.inventory.counts["prompts"] == 2
        assert len(server.asked("tools/list")) == 1


async def test_the_users_rules_decide_what_is_shown() -> None:
    stage, server = Stage(), ScriptedServer("read", "write", "drop")
    rules = ToolRules(deny=("drop",), rename={"read": "look", "gone": "x"})
    async with supervised(stage, server, configured("one", tools=rules)):
        await until_ready(stage)
        assert await listed(await stage.client()) == ["one__look", "one__write"]
        assert [text for text in stage.notices("warning") if "'gone'" in text]


# The end


async def test_leaving_ends_the_connection_and_the_calls_on_it() -> None:
    stage, server = Stage(), ScriptedServer("echo", tools__call=silent)
    told: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with supervised(stage, server):
            await until_ready(stage)
            client = await stage.client()

            async def wait() -> None:
                told.append(await failure(call(client, "one__echo")))

            tasks.start_soon(wait)
            await server.until(lambda: bool(server.asked("tools/call")))
        assert server.last.closed
    assert "stopped" in told[0]


async def test_leaving_while_it_starts_closes_the_connection() -> None:
    stage, server = Stage(), ScriptedServer("echo", initialize=silent)
    async with supervised(stage, server):
        await server.until(lambda: bool(server.asked("initialize")))
    assert server.last.closed


async def test_a_start_that_fails_before_it_connects_is_tried_again() -> None:
    stage, server = Stage(), ScriptedServer("echo")
    server.refuse = StartFailed("one", "out of processes")
    async with supervised(stage, server) as supervisor:
        await stage.until(lambda: "backoff" in stage.states("one"))
        assert supervisor.problem == "out of processes"
        server.refuse = None
        await until_ready(stage)
