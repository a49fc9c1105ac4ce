"""A state directory that can't be written to: who tries is told why, once, and what is there is read."""

from pathlib import Path

from msgspec import Raw

from proxy.config.models import Server, ServerEntry
from proxy.eras.handshake import Offer, ServerHello
from proxy.store.given import GivenNames
from proxy.store.listings import Listings, Memory
from proxy.store.unkept import UnkeptListings, UnkeptNames, why_unkept

OFFER = Offer("2025-11-25", b"{}")
SERVER = Server("it", "it", ServerEntry(command="it"))


def memory(*tools: bytes) -> Memory:
    hello = ServerHello("2025-11-25", {"tools": b"{}"}, "it", "1", "")
    return Memory(hello, {"tools": [Raw(tool) for tool in tools]}, OFFER, 5.0)


def test_a_directory_that_is_there_or_can_be_made_is_used(tmp_path: Path) -> None:
    state = tmp_path / "a" / "b"
    assert why_unkept(state) == ""
    assert state.is_dir()
    assert why_unkept(state) == ""


def test_what_is_no_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert why_unkept(tmp_path / "state") != ""
    assert why_unkept(tmp_path / "state" / "below") == "Not a directory"


def test_what_is_there_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    Listings(tmp_path, {}).keep(SERVER, memory(b'{"name":"old"}'))
    GivenNames(tmp_path, tmp_path / "config").save([("tools", "it", "old", "it__old")])
    listings, names = UnkeptListings(tmp_path, {}), UnkeptNames(tmp_path, tmp_path / "config")
    listings.keep(SERVER, memory(b'{"name":"new"}'))
    names.save([("tools", "it", "new", "it__new")])
    with listings.refreshing(SERVER, OFFER) as is_ours:
        assert is_ours
    found = listings.recall(SERVER, OFFER)
    assert found is not None
    assert bytes(found.listings["tools"][0]) == b'{"name":"old"}'
    assert names.load().listing() == [("tools", "it", "old", "it__old")]


def test_where_there_is_no_directory_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert UnkeptListings(tmp_path / "state", {}).recall(SERVER, OFFER) is None
    assert not UnkeptListings(tmp_path / "state", {}).knows(SERVER)
    assert UnkeptNames(tmp_path / "state", tmp_path / "config").load().listing() == []
