"""Outboxes, batches, levels and ids of single peers."""

import msgspec
import pytest

from proxy.relay.peers import LARGE, LEVELS, Batch, Buffer, Link, Peer, Reply, Session
from proxy.relay.target import Limits, Target


def delivered(peer: Peer) -> list[bytes]:
    """What the sink is given, piece by piece."""
    pieces: list[bytes] = []

    def sink(data: Buffer) -> None:
        pieces.append(bytes(data))

    peer.sink = sink
    peer.deliver()
    return pieces


def test_a_peer_with_something_to_say_is_dirty_once() -> None:
    dirty: list[Peer] = []
    peer, other = Peer(dirty), Peer(dirty)
    peer.send(b"a\n")
    other.send(b"x\n")
    peer.send(b"b\n")
    peer.send_parts(b"c", b"\n")
    assert dirty == [peer, other]


def test_small_lines_are_delivered_in_one_piece_and_in_order() -> None:
    peer = Peer([])
    peer.send(b"a\n")
    peer.send(b"b\n")
    assert delivered(peer) == [b"a\nb\n"]
    assert peer.sent == 4
    assert delivered(peer) == [b""]


def test_a_long_line_is_delivered_between_its_neighbours() -> None:
    peer = Peer([])
    peer.send(b"a\n")
    peer.send_parts(b"head", memoryview(b"payload"), b"\n")
    peer.send(b"b\n")
    assert b"".join(delivered(peer)) == b"a\nheadpayload\nb\n"
    assert peer.sent == len(b"a\nheadpayload\nb\n")
    peer.send(b"c\n")
    peer.send(b"d\n")
    assert delivered(peer) == [b"c\nd\n"]


def test_a_peer_that_is_gone_is_told_nothing() -> None:
    peer = Peer([])
    heard: list[Buffer] = []
    peer.sink = heard.append
    peer.disconnect()
    peer.send(b"a\n")
    peer.deliver()
    assert heard == []


@pytest.mark.parametrize("size", [1, LARGE - 1, LARGE, LARGE + 1])
@pytest.mark.parametrize("member", [b"result", b"error"])
def test_a_payload_of_any_size_passes_unchanged_and_is_counted(size: int, member: bytes) -> None:
    session = Session([], "s")
    payload = msgspec.Raw(b"7" * size)
    length = session.pass_on(b'"a"', member, payload)
    line = b"".join(delivered(session))
    assert line == b'{"jsonrpc":"2.0","id":"a","' + member + b'":' + b"7" * size + b"}\n"
    assert length == len(line) == session.sent


@pytest.mark.parametrize("size", [1, LARGE + 1])
def test_the_answers_of_a_batch_wait_for_the_last_one(size: int) -> None:
    session = Session([], "s")
    batch = Batch(waiting=2)
    session.batches = {b"1": batch, b"2": batch}
    session.pass_on(b"2", b"result", msgspec.Raw(b"7" * size))
    assert session.outbox == []
    session.answer(b"3", b"not of the batch\n")
    session.answer(b"1", b"one\n")
    assert b"".join(delivered(session)) == (
        b'not of the batch\n[{"jsonrpc":"2.0","id":2,"result":' + b"7" * size + b"},one]\n"
    )
    assert session.batches == {}


def test_batches_do_not_share_their_answers() -> None:
    assert Batch(waiting=1).answers is not Batch(waiting=1).answers


def test_a_batch_without_answers_is_not_sent() -> None:
    session = Session([], "s")
    session.batches[b"1"] = Batch(waiting=1)
    session.forget(b"1")
    session.forget(b"1")
    assert session.outbox == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_session_wants_its_level_and_everything_above(level: str) -> None:
    session = Session([], "s")
    assert all(session.wants(one) for one in LEVELS)
    session.level = level
    assert [one for one in LEVELS if session.wants(one)] == list(LEVELS[LEVELS.index(level) :])
    assert session.wants("strange")
    assert session.wants(None)


def test_a_link_gives_each_id_once_for_calls_and_requests_of_ours() -> None:
    link = Link([], "git")
    given = [link.new_id(), link.ask("tools/list", b"", lambda reply: None), link.new_id()]
    assert len(set(given)) == 3


def test_an_abandoned_request_is_not_answered_to_anybody() -> None:
    link = Link([], "git")
    replies: list[Reply | None] = []
    quiet, told = (link.ask("tools/list", b"{}", replies.append) for _ in range(2))
    link.abandon(quiet, tell=False)
    link.abandon(told, tell=True)
    link.abandon(told, tell=True)
    lines = b"".join(delivered(link)).splitlines()
    assert lines[2:] == [b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}' % told]
    assert link.asks == {}
    assert replies == []


def test_peers_show_what_they_wait_for() -> None:
    session, link, target = Session([], "s"), Link([], "git"), Target("git", "git", Limits(call=5.0))
    link.ask("ping", b"", lambda reply: None)
    assert repr(session) == "<Session s new calls=0 lists=0>"
    assert repr(link) == "<Link git calls=0 asks=1 next=1>"
    assert "git" in repr(target)
    assert "it has not been started yet" in repr(target)
