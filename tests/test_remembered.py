"""One server's place in the store: what is recalled, for how long it is good, and what is kept of what was learned."""

from pathlib import Path

import pytest
from msgspec import Raw

from proxy.eras.handshake import LATEST, Offer, ServerHello
from proxy.events import Event, ListingRecalled, Notice
from proxy.remembered import Remembered
from proxy.store import files
from proxy.store.listings import Listings, Memory
from tests.support.scripted import configured

HELLO = ServerHello(LATEST, {"tools": b"{}", "prompts": b"{}"}, "git-mcp", "1", "")
PLAIN, ABLE = Offer(LATEST, b"{}"), Offer(LATEST, b'{"roots":{}}')
SERVER = configured("git")


class Place:
    """A server's place in a store in `state`, at a time that stands still unless it is moved."""

    def __init__(self, state: Path, *, afresh: bool = False) -> None:
        self.now = 5000.0
        self.events: list[Event] = []
        self.shelf = Listings(state, {})
        self.remembered = Remembered(SERVER, self.shelf, self.events.append, lambda: self.now, afresh=afresh)

    async def learn(self, offer: Offer = PLAIN, **found: bytes) -> None:
        """The server listed these, one entry of each kind."""
        for kind, item in found.items():
            self.remembered.learn(kind, [Raw(item)])
        await self.remembered.keep(HELLO, offer, {"tools", "prompts"})

    def kept(self, offer: Offer = PLAIN) -> dict[str, list[bytes]]:
        found = self.shelf.recall(SERVER, offer)
        assert found is not None
        return {kind: [bytes(item) for item in items] for kind, items in found.listings.items()}


async def test_what_one_session_learned_the_next_one_recalls(tmp_path: Path) -> None:
    before = Place(tmp_path)
    await before.learn(tools=b'{"name":"a"}', prompts=b'{"name":"p"}')
    assert before.remembered.saved == 5000.0
    assert before.remembered.offer == PLAIN
    after = Place(tmp_path)
    after.now = 5060.0
    assert after.remembered.may_be
    assert after.remembered.age == float("inf"), "nobody has looked yet"
    memory = after.remembered.recall(PLAIN)
    assert isinstance(memory, Memory)
    assert memory.hello == HELLO
    assert (after.remembered.saved, after.remembered.age, after.remembered.offer) == (5000.0, 60.0, PLAIN)
    assert after.events == [ListingRecalled("git", "hit", 60.0)]
    after.now += 1
    assert after.remembered.age == 61.0


async def test_where_nothing_was_learned_nothing_is_recalled(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert not place.remembered.may_be
    assert place.remembered.recall(PLAIN) is None
    assert place.events == [ListingRecalled("git", "miss")]
    assert (place.remembered.saved, place.remembered.offer) == (None, PLAIN)
    assert place.remembered.age == float("inf")


async def test_what_was_learned_for_another_client_is_no_use(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.learn(tools=b"1")
    assert place.remembered.recall(ABLE) is None
    assert place.remembered.may_be, "it may be for yet another one"
    assert (place.remembered.saved, place.remembered.offer) == (None, ABLE)


async def test_a_memory_from_the_future_is_old(tmp_path: Path) -> None:
    """The clock was another then: it would be taken for fresh for ever."""
    place = Place(tmp_path)
    await place.learn(tools=b"1")
    place.now = 4990.0
    place.remembered.recall(PLAIN)
    assert place.remembered.age == -10.0, "clocks are set now and then"
    place.now = 1000.0
    place.remembered.recall(PLAIN)
    assert place.events == [ListingRecalled("git", "hit", 0.0)] * 2
    assert place.remembered.age == float("inf")


async def test_the_same_again_is_not_written_again_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.learn(tools=b"1", prompts=b"2")
    [path] = (tmp_path / "listings").iterdir()
    written = path.stat().st_ino
    same: list[dict[str, bytes]] = [{"tools": b"1"}, {"prompts": b"2"}, {}]
    for found in same:
        await place.learn(PLAIN, **found)
        assert path.stat().st_ino == written
    await place.learn(tools=b"other")
    assert place.kept() == {"tools": [b"other"], "prompts": [b"2"]}
    place.now += 100
    await place.learn(tools=b"other")
    place.remembered.recall(PLAIN)
    assert place.remembered.saved == place.now, "it is known to be so still"
    await place.learn(ABLE, tools=b"other")
    assert place.kept(ABLE) == {"tools": [b"other"]}


async def test_what_can_not_be_read_is_as_good_as_nothing_and_is_replaced(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.learn(tools=b"1")
    [path] = (tmp_path / "listings").iterdir()
    files.write(path, "listing 99", b"of a version to come")
    assert place.remembered.recall(PLAIN) is None
    [event] = place.events
    assert isinstance(event, ListingRecalled)
    assert (event.outcome, event.age) == ("unreadable", None)
    assert "another version" in event.reason
    assert place.remembered.saved is None
    await place.learn(tools=b"2")
    assert place.kept() == {"tools": [b"2"]}
    assert [type(event) for event in place.events] == [ListingRecalled]


async def test_afresh_nothing_is_recalled_and_all_is_kept(tmp_path: Path) -> None:
    await Place(tmp_path).learn(tools=b"1")
    place = Place(tmp_path, afresh=True)
    assert not place.remembered.is_of_use
    assert not place.remembered.may_be
    assert place.remembered.recall(PLAIN) is None
    assert place.events == []
    await place.learn(tools=b"2")
    assert place.kept() == {"tools": [b"2"]}


# What is kept


async def test_a_kind_that_could_not_be_read_stays_as_it_was_and_one_that_is_gone_goes(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.learn(tools=b"1", prompts=b"2", resources=b"3")
    await place.learn(tools=b"4")
    assert place.kept() == {"tools": [b"4"], "prompts": [b"2"]}, "it has no resources any more"


async def test_only_what_was_learned_since_is_kept_anew(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.learn(tools=b"1")
    await place.learn(ABLE, prompts=b"2")
    assert place.kept() == {"tools": [b"1"]}
    assert place.kept(ABLE) == {"prompts": [b"2"]}, "what another client is shown may be something else"
    assert place.remembered.offer == ABLE


async def test_beside_what_can_not_be_read_only_what_was_learned_is_kept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.learn(tools=b"1", prompts=b"2")
    [path] = (tmp_path / "listings").iterdir()
    path.write_bytes(b"torn")
    await place.learn(tools=b"3")
    assert place.kept() == {"tools": [b"3"]}


async def test_where_nothing_can_be_kept_that_is_told_once_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "listings").touch()
    place = Place(tmp_path)
    for _ in range(3):
        await place.learn(tools=b"1")
    [notice] = place.events
    assert isinstance(notice, Notice)
    assert (notice.level, notice.server) == ("warning", "git")
    assert "can't be kept for the next session" in notice.text
    assert place.remembered.saved is None


async def test_of_two_proxies_one_has_the_right_to_refresh(tmp_path: Path) -> None:
    await Place(tmp_path).learn(tools=b"1")
    one, other = Place(tmp_path), Place(tmp_path)
    for place in (one, other):
        place.remembered.recall(PLAIN)
    with one.remembered.refreshing() as ours, other.remembered.refreshing() as too:
        assert (ours, too) == (True, False)


async def test_only_what_was_recalled_is_refreshed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="recalled"):
        Place(tmp_path).remembered.refreshing()
