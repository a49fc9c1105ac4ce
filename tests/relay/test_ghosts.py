"""Calls that were given up: what their servers still say of them reaches nobody else, and what they began is ended."""

from typing import Any

import pytest

from proxy.relay.ghosts import HAUNTS
from tests.support.message import Message
from tests.support.relay import Client, Server, World, call, message

ABLE: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
TASK = b'{"name":"git__a","arguments":{},"task":{}}'
BEGUN = b'{"task":{"taskId":"t","status":"working"}}'
LOG = message("notifications/message", b'{"level":"info","data":"x"}')


def given_up(*, task: bool = False, **able: object) -> tuple[World, Server, Client, Message]:
    """A call that its client cancelled, with another client there."""
    world = World("git")
    git = world.start("git", "a", logging={}, **({"tasks": able or ABLE} if task else {}))
    client = world.client()
    asked = client.call("tools/call", git, TASK if task else b'{"name":"git__a"}')
    client.cancel(b"1")
    git.heard()
    return world, git, client, asked


def test_a_late_answer_falls() -> None:
    world, git, client, asked = given_up()
    git.answer(asked)
    git.answer(asked)
    assert client.heard() == []
    assert git.heard() == []
    assert world.outcomes == ["cancelled"]
    world.assert_at_rest()


def test_what_is_said_meanwhile_is_for_the_one_whose_call_it_was() -> None:
    world, git, client, asked = given_up()
    other = world.client("s2")
    git.send(LOG)
    assert [heard.method for heard in client.heard()] == ["notifications/message"]
    assert other.heard() == []
    git.answer(asked)
    git.send(LOG)
    assert len(client.heard()) == len(other.heard()) == 1


def test_a_server_that_never_answers_is_listened_to_by_all_after_a_while() -> None:
    world, git, _, _ = given_up()
    other = world.client("s2")
    world.pass_time(HAUNTS - 0.1)
    git.send(LOG)
    assert other.heard() == []
    world.pass_time(0.1)
    git.send(LOG)
    assert len(other.heard()) == 1


def test_a_task_that_nobody_waits_for_is_cancelled_when_it_shows() -> None:
    world, git, client, asked = given_up(task=True)
    git.answer(asked, BEGUN)
    cancelled = git.one()
    assert (cancelled.method, cancelled.params) == ("tasks/cancel", {"taskId": "t"})
    git.answer(cancelled, b"{}")
    assert client.heard() == []
    client.send(message("tasks/get", b'{"taskId":"t"}', b"2"))
    assert "unknown task" in client.one().error["message"]
    world.assert_at_rest()


def test_a_server_that_can_not_cancel_tasks_is_not_asked_to() -> None:
    _, git, client, asked = given_up(task=True, requests={"tools": {"call": {}}})
    git.answer(asked, BEGUN)
    assert git.heard() == []
    assert client.heard() == []


@pytest.mark.parametrize(
    "answer", [b'{"content":[]}', b'{"task":5}', b'{"task":{}}', b'{"task":{"taskId":5}}', b"[]", b"null"]
)
def test_a_late_answer_that_names_no_task_falls(answer: bytes) -> None:
    _, git, client, asked = given_up(task=True)
    git.answer(asked, answer)
    assert git.heard() == []
    assert client.heard() == []


def test_of_very_many_the_oldest_are_forgotten_and_the_newest_known() -> None:
    world, git, client, _ = given_up()
    for number in range(2, 3000):
        client.send(call(b"%d" % number, "git__a"))
        client.cancel(b"%d" % number)
    assert len(git.link.ghosts) <= 1000
    assert max(git.link.ghosts) == 2999
    world.pass_time(HAUNTS)
    client.send(call(b"1", "git__a"))
    client.cancel(b"1")
    assert len(git.link.ghosts) == 1
