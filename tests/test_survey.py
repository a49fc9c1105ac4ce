"""Reading what one server lists: what changed is shown and remembered, what can't be read leaves what was known."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from proxy.conversation import Conversation, Refused
from proxy.eras.handshake import LATEST, Offer
from proxy.errors import ConnectionLost
from proxy.events import CatalogueChanged
from proxy.inventory import Inventory
from proxy.names import Namer
from proxy.relay import Link, Target
from proxy.relay.target import Limits
from proxy.remembered import Remembered
from proxy.store.listings import Listings
from proxy.survey import SETTLE, SETTLE_AT_MOST, Survey
from tests.support.message import Message
from tests.support.scripted import Connection, Outcome, ScriptedServer, configured, error, result
from tests.support.stage import Stage
from tests.support.virtual_time import VIRTUAL

LIST_CHANGED = "notifications/tools/list_changed"
OFFER = Offer(LATEST, b"{}")
SERVER = configured("one", start_timeout=20.0)


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL


def silent(connection: Connection, message: Message) -> Outcome:
    return None


def with_prompts(*tools: str) -> ScriptedServer:
    server = ScriptedServer(*tools)
    server.capabilities["prompts"] = {}
    server.scripts["prompts/list"] = lambda *_: result({"prompts": [{"name": "p"}]})
    return server


class Surveyed:
    """A server that was greeted, and its survey. `changes` counts how often clients were to see another list."""

    def __init__(self, stage: Stage, link: Link, state: Path) -> None:
        self.link = link
        self.talk = Conversation(link, stage.pump)
        self.changes = 0
        self.shelf = Listings(state, {})
        self.inventory = Inventory("one", "one", SERVER.entry, Namer("one", "one", (), 57), stage.emit)
        self.remembered = Remembered(SERVER, self.shelf, stage.emit, stage.pump.now)
        self.survey = Survey(SERVER, self.inventory, self.remembered, stage.emit, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def shown(self, kind: str = "tools") -> list[str]:
        return [route.public for route in self.inventory.offering.of(kind).routes]

    def kept(self) -> dict[str, int]:
        """How many entries of each kind the next session will know."""
        memory = self.shelf.recall(SERVER, OFFER)
        return {} if memory is None else {kind: len(items) for kind, items in memory.listings.items()}


@asynccontextmanager
async def surveyed(stage: Stage, server: ScriptedServer, state: Path) -> AsyncIterator[Surveyed]:
    stage.relay.add_target(Target("one", "one", Limits()))
    link = stage.relay.open_link("one")
    async with server(SERVER, stage.pump.server_intake(link), print) as connection:
        link.sink = connection.write
        found = Surveyed(stage, link, state)
        link.listed = found.survey.announce
        found.inventory.greet(await found.talk.initialize(OFFER))
        yield found


# Reading


async def test_one_kind_is_read_shown_and_learned(tmp_path: Path) -> None:
    stage, server = Stage(), with_prompts("a", "b")
    async with surveyed(stage, server, tmp_path) as one:
        assert await one.survey.read(one.talk, "tools")
        assert one.shown() == ["one__a", "one__b"]
        assert not await one.survey.read(one.talk, "tools"), "nothing changed"
        assert server.asked("prompts/list") == []
        assert one.kept() == {}
        await one.survey.keep(OFFER)
        assert one.kept() == {"tools": 2}


async def test_a_kind_that_the_server_does_not_have_is_not_asked_for(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a")
    async with surveyed(stage, server, tmp_path) as one:
        assert not await one.survey.read(one.talk, "resources")
        assert server.asked("resources/list") == []


async def test_reading_one_kind_tells_what_went_wrong(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a", tools__list=lambda *_: error(-32603, "database is locked"))
    async with surveyed(stage, server, tmp_path) as one:
        with pytest.raises(Refused, match="database is locked"):
            await one.survey.read(one.talk, "tools")


@pytest.mark.parametrize("answer", [error(-32603, "no"), result({"tools": 5}), None])
async def test_of_several_kinds_what_can_not_be_read_is_told_and_the_others_are_read(
    answer: Outcome, tmp_path: Path
) -> None:
    stage, server = Stage(), with_prompts("a")
    async with surveyed(stage, server, tmp_path) as one:
        await one.survey.read_all(one.talk, ["tools"])
        server.scripts["tools/list"] = lambda *_: answer
        before = stage.pump.now()
        await one.survey.read_all(one.talk, ["tools", "prompts", "resources"])
        [warning] = stage.notices("warning")
        assert warning.startswith("listing its tools failed, the last list stays: ")
        assert ("in time" in warning) == (answer is None)
        assert stage.pump.now() - before == pytest.approx(0 if answer else 20, abs=0.1)
        assert (one.shown(), one.shown("prompts")) == (["one__a"], ["one__p"])
        assert one.changes == 2


async def test_what_several_kinds_changed_is_one_change(tmp_path: Path) -> None:
    stage, server = Stage(), with_prompts("a")
    async with surveyed(stage, server, tmp_path) as one:
        await one.survey.read_all(one.talk, ["tools", "prompts"])
        assert one.changes == 1
        await one.survey.read_all(one.talk, ["tools", "prompts"])
        assert one.changes == 1, "nothing changed"


async def test_the_end_of_the_connection_is_not_swallowed(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a", tools__list=silent)
    async with surveyed(stage, server, tmp_path) as one, anyio.create_task_group() as tasks:
        lost = anyio.Event()

        async def read() -> None:
            with pytest.raises(ConnectionLost):
                await one.survey.read_all(one.talk, ["tools"])
            lost.set()

        tasks.start_soon(read)
        await server.until(lambda: bool(server.asked("tools/list")))
        stage.pump.do(stage.relay.close_link, one.link, "it exited", stage.pump.now())
        with anyio.fail_after(5):
            await lost.wait()


async def test_without_a_greeting_or_a_store_nothing_is_kept(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a")
    async with surveyed(stage, server, tmp_path) as one:
        lonely = Survey(SERVER, one.inventory, None, stage.emit, one._changed)
        await lonely.read_all(one.talk, ["tools"])
        await lonely.keep(OFFER)
        assert (one.shown(), one.kept()) == (["one__a"], {})
        unknown = Inventory("one", "one", SERVER.entry, Namer("one", "one", (), 57), stage.emit)
        await Survey(SERVER, unknown, one.remembered, stage.emit, one._changed).keep(OFFER)
        assert one.kept() == {}


# Following


async def test_a_burst_of_announcements_is_read_once_when_it_is_over_and_remembered(tmp_path: Path) -> None:
    stage, server = Stage(), with_prompts("a")
    async with surveyed(stage, server, tmp_path) as one, anyio.create_task_group() as tasks:
        await one.survey.read_all(one.talk, ["tools", "prompts"])
        await one.survey.keep(OFFER)
        tasks.start_soon(one.survey.follow, one.talk, OFFER)
        server.tools.append("late")
        for _ in range(10):
            server.last.notify(LIST_CHANGED)
            await anyio.sleep(SETTLE / 20)
        assert len(server.asked("tools/list")) == 1
        await anyio.sleep(SETTLE)
        await stage.until(lambda: len(stage.of(CatalogueChanged)) == 3)
        await anyio.sleep(60)
        assert len(server.asked("tools/list")) == 2
        assert len(server.asked("prompts/list")) == 1, "nobody said that they changed"
        assert one.shown() == ["one__a", "one__late"]
        assert one.kept() == {"tools": 2, "prompts": 1}
        tasks.cancel_scope.cancel()


async def test_a_server_that_announces_without_end_is_listed_ever_more_seldom(tmp_path: Path) -> None:
    stage, server = Stage(), with_prompts("a")
    async with surveyed(stage, server, tmp_path) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.survey.follow, one.talk, OFFER)

        def again(connection: Connection, message: Message) -> Outcome:
            connection.notify(LIST_CHANGED)
            return ScriptedServer("a").answer(connection, message)

        server.scripts["tools/list"] = again
        server.last.notify(LIST_CHANGED)
        await anyio.sleep(600)
        asked = len(server.asked("tools/list"))
        assert 600 / SETTLE_AT_MOST <= asked <= 600 / SETTLE_AT_MOST + 10
        del server.scripts["tools/list"]
        await anyio.sleep(60)
        before = len(server.asked("tools/list"))
        server.tools.append("late")
        server.last.notify(LIST_CHANGED)
        await anyio.sleep(2 * SETTLE)
        assert len(server.asked("tools/list")) == before + 1, "one that calmed down is read at once"
        tasks.cancel_scope.cancel()


async def test_what_was_announced_before_anybody_followed_is_read(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a")
    async with surveyed(stage, server, tmp_path) as one, anyio.create_task_group() as tasks:
        one.survey.announce(LIST_CHANGED)
        tasks.start_soon(one.survey.follow, one.talk, OFFER)
        await server.until(lambda: bool(server.asked("tools/list")))
        await anyio.sleep(60)
        assert len(server.asked("tools/list")) == 1
        tasks.cancel_scope.cancel()


async def test_resources_and_their_templates_change_together(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a")
    server.capabilities["resources"] = {}
    async with surveyed(stage, server, tmp_path) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.survey.follow, one.talk, OFFER)
        one.survey.announce("notifications/resources/list_changed")
        await server.until(lambda: bool(server.asked("resources/list") and server.asked("resources/templates/list")))
        await anyio.sleep(60)
        assert server.asked("tools/list") == []
        tasks.cancel_scope.cancel()


async def test_a_list_that_fails_once_is_read_again_at_the_next_word(tmp_path: Path) -> None:
    stage, server = Stage(), ScriptedServer("a")
    async with surveyed(stage, server, tmp_path) as one, anyio.create_task_group() as tasks:
        await one.survey.read_all(one.talk, ["tools"])
        await one.survey.keep(OFFER)
        tasks.start_soon(one.survey.follow, one.talk, OFFER)
        server.scripts["tools/list"] = lambda *_: error(-32603, "database is locked")
        server.last.notify(LIST_CHANGED)
        await stage.until(lambda: bool(stage.notices("warning")))
        await anyio.sleep(1)
        assert one.kept() == {"tools": 1}
        del server.scripts["tools/list"]
        server.tools = ["b", "c"]
        server.last.notify(LIST_CHANGED)
        await stage.until(lambda: one.shown() == ["one__b", "one__c"])
        await anyio.sleep(1)
        assert one.kept() == {"tools": 2}
        tasks.cancel_scope.cancel()
