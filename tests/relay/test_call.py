"""What a call shows of itself: to whom it failed, and in `repr`."""

import pytest

from proxy.events import CallFinished
from tests.support.relay import World, call, dump, message


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("git__status", "git__status"),
        ("", ""),
        ("a\u202eb\x1b[31m", "ab"),
        ("\ud800", "?"),
        ("größe", "größe"),
    ],
)
def test_a_name_that_nobody_knows_is_shown_without_what_hides(name: str, shown: str) -> None:
    world = World("git")
    world.start("git", "other")
    error = world.client().ask("tools/call", dump({"name": name})).error
    [event] = world.of(CallFinished)
    assert event.name.startswith(shown)
    assert event.name.isprintable()
    assert repr(event.name) in error["message"]


def test_a_name_of_any_length_is_shown_cut() -> None:
    world = World("git")
    world.start("git", "status")
    error = world.client().ask("tools/call", dump({"name": "x" * 100_000})).error
    assert len(error["message"]) < 400
    [event] = world.of(CallFinished)
    assert len(event.name.encode()) <= 200


def test_what_a_reference_says_is_not_shown_as_a_name() -> None:
    world = World("git")
    world.start("git", "status")
    client = world.client()
    error = client.ask("completion/complete", b'{"ref":{"type":"ref/prompt","name":"secret"}}').error
    assert "secret" not in error["message"]
    world.assert_at_rest()


def test_a_call_shows_what_it_waits_for() -> None:
    world = World("git")
    world.start("git", "status")
    client = world.client()
    client.send(call(b"7", "git__status"), message("prompts/get", b'{"name":"git__p"}', b"8"))
    [one] = client.session.calls.values()
    assert "b'7' tools/call" in repr(one)
    assert "git__status" in repr(one)
    assert "Link git" in repr(one)
