"""What is done for the next session: names are kept, and what is remembered is read again when it has become old."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from proxy.config.changes import compare
from proxy.errors import ConnectionLost, Hopeless
from proxy.events import ListingRefreshed
from proxy.fleet import Fleet
from proxy.names import Given
from proxy.store.given import GivenNames
from proxy.store.listings import Listings
from proxy.upkeep import AGAIN, AT_ONCE, Upkeep
from tests.support.scripted import ScriptedServer, answer_initialize, configured, silent
from tests.support.stage import Stage, call, configuration, fleet_of, learn, listed
from tests.support.virtual_time import VIRTUAL

LIST_CHANGED = "notifications/tools/list_changed"
DAY = 24 * 3600.0
CONFIG = Path("test.json")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


@pytest.fixture
def shelf(tmp_path: Path) -> Listings:
    return Listings(tmp_path, {})


@asynccontextmanager
async def kept_up(
    stage: Stage,
    servers: dict[str, ScriptedServer],
    state: Path,
    *,
    refresh_after: float = DAY,
    given: Given | None = None,
) -> AsyncIterator[tuple[Fleet, Upkeep]]:
    """A fleet with its upkeep, as the proxy runs them."""
    given = Given() if given is None else given
    async with fleet_of(stage, servers, shelf=Listings(state, {}), given=given) as fleet:
        upkeep = Upkeep(fleet, given, GivenNames(state, CONFIG), refresh_after, stage.emit)
        stage.relay.on_first_use(upkeep.in_use)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upkeep.run)
            yield fleet, upkeep
            tasks.cancel_scope.cancel()


def started(servers: dict[str, ScriptedServer]) -> dict[str, int]:
    return {key: len(server.connections) for key, server in servers.items()}


def under_way(servers: dict[str, ScriptedServer]) -> list[str]:
    """Those that are being started."""
    return [key for key, server in servers.items() if server.connections and not server.last.closed]


# Names


def names(state: Path) -> set[str]:
    return {public for _, _, _, public in GivenNames(state, CONFIG).load().listing()}


async def test_names_are_kept_soon_after_they_were_given(tmp_path: Path) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "ab"}
    async with kept_up(stage, servers, tmp_path) as (fleet, _):
        await fleet.until_settled()
        await anyio.sleep(1)
        assert names(tmp_path) == {"a__t", "b__t"}
        servers["a"].tools.append("late")
        servers["a"].last.notify(LIST_CHANGED)
        await anyio.sleep(2)
        assert names(tmp_path) == {"a__t", "a__late", "b__t"}


async def test_names_of_what_is_only_remembered_are_kept_too(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    await learn(shelf, servers)
    async with kept_up(stage, servers, tmp_path):
        assert await listed(await stage.client()) == ["a__t"]
        await anyio.sleep(2)
        assert names(tmp_path) == {"a__t"}
    assert started(servers) == {"a": 0}


async def test_where_nothing_is_new_nothing_is_written(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    await learn(shelf, servers)
    GivenNames(tmp_path, CONFIG).save([("tools", "a", "t", "a__t")])
    [path] = [path for path in (tmp_path / "names").iterdir() if not path.name.startswith(".")]
    before = path.stat().st_ino
    async with kept_up(stage, servers, tmp_path, given=GivenNames(tmp_path, CONFIG).load()):
        assert await listed(await stage.client()) == ["a__t"]
        await anyio.sleep(DAY)
    assert path.stat().st_ino == before


async def test_names_that_another_proxy_gave_meanwhile_stay(tmp_path: Path) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    async with kept_up(stage, servers, tmp_path):
        GivenNames(tmp_path, CONFIG).save([("tools", "other", "t", "other__t")])
        await anyio.sleep(2)
        assert names(tmp_path) == {"a__t", "other__t"}


async def test_where_names_can_not_be_kept_that_is_told_once_and_calls_go_on(tmp_path: Path) -> None:
    (tmp_path / "names").touch()
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    async with kept_up(stage, servers, tmp_path):
        client = await stage.client()
        assert await call(client, "a__t") == {"content": [], "echo": {}}
        await anyio.sleep(2)
        servers["a"].tools.append("late")
        servers["a"].last.notify(LIST_CHANGED)
        await anyio.sleep(60)
        assert await listed(client) == ["a__t", "a__late"]
        [warning] = stage.notices("warning")
        assert "names of tools can't be kept" in warning


# What is remembered


async def test_nothing_is_refreshed_for_a_client_that_only_looks(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "ab"}
    await learn(shelf, servers)
    await anyio.sleep(2 * DAY)
    async with kept_up(stage, servers, tmp_path):
        client = await stage.client()
        assert await listed(client) == ["a__t", "b__t"]
        await client.request("ping")
        await anyio.sleep(2 * DAY)
    assert started(servers) == {"a": 0, "b": 0}


async def test_what_is_old_is_read_again_after_the_first_request_that_a_server_has_to_do(
    shelf: Listings, tmp_path: Path
) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "abc"}
    await learn(shelf, {key: servers[key] for key in "ab"})
    await anyio.sleep(DAY - 100)
    await learn(shelf, {"c": servers["c"]})
    await anyio.sleep(200)
    async with kept_up(stage, servers, tmp_path) as (fleet, _):
        client = await stage.client()
        assert await listed(client) == ["a__t", "b__t", "c__t"]
        servers["b"].tools = ["new"]
        await call(client, "a__t")
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["a__t", "b__new", "c__t"]
        await stage.until(lambda: fleet.supervisors[1].lifecycle.state == "idle")
        await anyio.sleep(60)
        assert started(servers) == {"a": 1, "b": 1, "c": 0}, "the first runs anyway, the last is young"
        assert stage.states("b") == ["starting", "ready", "idle"]
        assert [one.lifecycle.state for one in fleet.supervisors] == ["ready", "idle", "idle"]
    after = Stage()
    async with kept_up(after, servers, tmp_path):
        await call(await after.client(), "c__t")
        await anyio.sleep(60)
    assert started(servers) == {"a": 1, "b": 1, "c": 1}, "nothing is old any more"


async def test_only_so_many_are_read_at_a_time(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "abcde"}
    await learn(shelf, servers)
    for server in servers.values():
        server.scripts["initialize"] = silent
    async with kept_up(stage, servers, tmp_path, refresh_after=0) as (_, upkeep):
        upkeep.in_use()
        seen = list[str]()
        while len(seen) < len(servers):
            await anyio.sleep(1)
            assert len(under_way(servers)) == min(AT_ONCE, len(servers) - len(seen))
            seen.append(under_way(servers)[-1])
            answer_initialize(servers[seen[-1]])
            await servers[seen[-1]].until(lambda: servers[seen[-1]].last.closed)
        await anyio.sleep(1)
        assert sorted(seen) == sorted(servers)
        assert under_way(servers) == []
    assert set(started(servers).values()) == {1}


async def test_what_has_become_old_while_the_proxy_runs_is_read_again(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    await learn(shelf, servers)
    async with kept_up(stage, servers, tmp_path, refresh_after=7200) as (_, upkeep):
        upkeep.in_use()
        await anyio.sleep(7200 - AGAIN)
        assert started(servers) == {"a": 0}
        await anyio.sleep(DAY)
    assert started(servers)["a"] == pytest.approx(12, abs=1)


@pytest.mark.parametrize("problem", [ConnectionLost("a", "it exited"), Hopeless("a", "no such command")])
async def test_a_server_that_can_not_be_listed_is_tried_again_later_and_holds_up_no_other(
    problem: Exception, shelf: Listings, tmp_path: Path
) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "abc"}
    await learn(shelf, servers)
    for key in "ab":
        servers[key].refuse = problem
    async with kept_up(stage, servers, tmp_path, refresh_after=60) as (_, upkeep):
        await anyio.sleep(100)
        upkeep.in_use()
        await anyio.sleep(60)
        assert started(servers) == {"a": 1, "b": 1, "c": 1}
        assert await listed(await stage.client()) == ["a__t", "b__t", "c__t"]
        refreshed = {(event.server, event.outcome) for event in stage.of(ListingRefreshed)}
        assert refreshed == {("a", "failed"), ("b", "failed"), ("c", "ok")}
        await anyio.sleep(3 * AGAIN)
        assert started(servers) == {"a": 4, "b": 4, "c": 4}
        assert stage.notices("error") == []


async def test_what_another_proxy_reads_again_is_left_to_it(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    await learn(shelf, servers)
    async with kept_up(stage, servers, tmp_path, refresh_after=60) as (fleet, upkeep):
        await anyio.sleep(100)
        [supervisor] = fleet.supervisors
        assert supervisor.remembered is not None
        offer = supervisor.remembered.offer
        assert offer is not None
        with shelf.refreshing(configured("a"), offer) as ours:
            assert ours
            upkeep.in_use()
            await anyio.sleep(AGAIN / 2)
            assert started(servers) == {"a": 0}
        await anyio.sleep(AGAIN)
        assert started(servers) == {"a": 1}
        with shelf.refreshing(configured("a"), offer) as ours:
            assert ours, "the right is given back"


async def test_what_another_proxy_has_read_meanwhile_is_taken_over_and_nothing_is_started(
    shelf: Listings, tmp_path: Path
) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    await learn(shelf, servers)
    async with kept_up(stage, servers, tmp_path, refresh_after=DAY) as (_, upkeep):
        client = await stage.client()
        assert await listed(client) == ["a__t"]
        await anyio.sleep(DAY)
        async with fleet_of(Stage(), {"a": ScriptedServer("t", "new")}, shelf=shelf, afresh=True) as other:
            await other.supervisors[0].until_learned()
        upkeep.in_use()
        await stage.until(lambda: bool(stage.notified))
        assert await listed(client) == ["a__t", "a__new"]
        await anyio.sleep(AGAIN)
        assert started(servers) == {"a": 0}


async def test_where_the_right_to_refresh_can_not_be_had_nothing_is_refreshed(shelf: Listings, tmp_path: Path) -> None:
    stage, servers = Stage(), {"a": ScriptedServer("t")}
    await learn(shelf, servers)
    [path] = (tmp_path / "listings").iterdir()
    path.with_name(f".{path.name}.lock").mkdir()
    async with kept_up(stage, servers, tmp_path, refresh_after=0) as (_, upkeep):
        upkeep.in_use()
        await anyio.sleep(60)
        assert started(servers) == {"a": 0}
        assert [text for text in stage.notices("debug") if "can't be refreshed" in text]


@pytest.mark.parametrize("stays", [True, False])
async def test_a_server_that_is_changed_or_removed_while_it_is_read_holds_up_no_other(
    stays: bool, shelf: Listings, tmp_path: Path
) -> None:
    stage, servers = Stage(), {key: ScriptedServer("t") for key in "abc"}
    await learn(shelf, servers)
    for key in "ab":
        servers[key].scripts["initialize"] = silent
    a, b, c = (configured(key) for key in "abc")
    async with kept_up(stage, servers, tmp_path, refresh_after=0) as (fleet, upkeep):
        upkeep.in_use()
        for key in "ab":
            await servers[key].until(lambda key=key: bool(servers[key].asked("initialize")))  # type: ignore[misc]
        changed = [configured("a", call_timeout=7), configured("b", call_timeout=7)]
        new = configuration(*(changed if stays else []), c)
        fleet.apply(new, compare(configuration(a, b, c), new))
        with anyio.fail_after(10):
            await servers["c"].until(lambda: bool(servers["c"].connections))
        assert stage.notices("error") == []
