"""What a call shows of itself: to whom it failed, and in `repr`."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from proxy.events import CallFinished, Noted
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


class Notes:
    """An inspector that keeps what it is shown."""

    def __init__(self, *, sees_answers: bool = True) -> None:
        self.sees_answers = sees_answers
        self.seen: list[bytes] = []

    def arguments(self, raw: Raw | bytes) -> Noted:
        self.seen.append(bytes(raw))
        return Noted(f"hash {len(self.seen)}")

    def answer(self, noted: Noted, raw: Raw | bytes) -> Noted:
        self.seen.append(bytes(raw))
        return replace(noted, result="seen")


def inspected(*, sees_answers: bool = True) -> tuple[World, Notes]:
    world, notes = World("git"), Notes(sees_answers=sees_answers)
    world.relay.inspect(notes)
    return world, notes


def test_the_payload_of_a_call_is_shown_to_who_inspects_it_byte_for_byte_and_once() -> None:
    world, notes = inspected()
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status", b'{"a": 1e400}'))
    git.answer(git.one(), b'{"content":[], "n":0.10}')
    assert notes.seen == [b'{"a": 1e400}', b'{"content":[], "n":0.10}']
    [event] = world.of(CallFinished)
    assert event.noted == Noted("hash 1", result="seen")


def test_answers_are_shown_to_none_but_who_wants_to_see_them() -> None:
    world, notes = inspected(sees_answers=False)
    git = world.start("git", "status")
    world.client().send(call(b"1", "git__status"))
    git.answer(git.one())
    assert notes.seen == [b"{}"]
    assert [event.noted for event in world.of(CallFinished)] == [Noted("hash 1")]


def test_an_error_of_the_server_is_shown_too_and_one_of_ours_is_not() -> None:
    world, notes = inspected()
    git = world.start("git", "status")
    client = world.client()
    client.send(call(b"1", "git__status"))
    git.fail(git.one(), b'{"code":-5,"message":"no"}')
    client.send(call(b"2", "git__nothing", b"[]"))
    assert notes.seen == [b"{}", b'{"code":-5,"message":"no"}', b"[]"]
    assert [event.noted for event in world.of(CallFinished)] == [Noted("hash 1", result="seen"), Noted("hash 3")]


def test_a_call_without_arguments_and_other_requests() -> None:
    world, notes = inspected()
    git = world.start("git", "status")
    world.list_more("git", tools=["status"], prompts=["p"])
    client = world.client()
    client.send(message("tools/call", b'{"name":"git__status"}', b"1"))
    client.send(message("prompts/get", b'{"name":"git__p","arguments":{"a":"b"}}', b"2"))
    for asked in git.heard():
        git.answer(asked)
    assert notes.seen == [b"", b'{"content":[]}']


def test_nobody_inspects_unless_told_to() -> None:
    world = World("git")
    git = world.start("git", "status")
    world.client().send(call(b"1", "git__status"))
    git.answer(git.one())
    assert world.of(CallFinished)[0].noted is None


def test_a_call_that_ended_tells_whether_its_server_got_it() -> None:
    world = World("git", "slow", call_timeout=20.0)
    git = world.start("git", "status")
    client = world.client()
    client.send(*(call(b"%d" % id, "git__status") for id in range(1, 5)))
    one, two, three, _ = git.heard()
    git.answer(one)
    git.fail(two)
    git.answer(three, b"5")
    client.cancel(b"4")
    client.send(call(b"5", "git__none"))
    client.send(call(b"6", "git__status"))
    git.heard()
    world.pass_time(20.0)
    client.send(call(b"7", "git__status"))
    world.lose(git)
    world.away("git")
    told = {event.request_id: (event.outcome, event.delivered) for event in world.of(CallFinished)}
    assert told == {
        "1": ("ok", "yes"),
        "2": ("error", "yes"),
        "3": ("error", "maybe"),
        "4": ("cancelled", "maybe"),
        "5": ("error", "no"),
        "6": ("timeout", "maybe"),
        "7": ("error", "maybe"),
    }


def test_a_call_that_was_cancelled_while_it_waited_was_given_to_nobody() -> None:
    world = World("git")
    git = world.start("git", "status")
    world.lose(git)
    world.away("git", coming=True)
    client = world.client()
    client.send(call(b"1", "git__status"))
    client.cancel(b"1")
    assert [(event.outcome, event.delivered) for event in world.of(CallFinished)] == [("cancelled", "no")]
