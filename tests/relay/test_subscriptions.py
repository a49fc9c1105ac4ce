"""Subscriptions: clients share one at a server, each hears by the URI that it knows, and a restart loses none."""

import pytest

from tests.support.relay import Client, Server, World, dump, message

UPDATED = "notifications/resources/updated"
CAN = {"resources": {"subscribe": True}}


def one_server(*resources: str) -> tuple[World, Server]:
    """A server `a` with subscriptions, that lists these."""
    world = World("a")
    a = world.connect("a", **CAN)
    world.list_more("a", tools=[], resources=resources or ["test://x"])
    return world, a


def two_servers() -> tuple[World, Server, Server]:
    """Servers `a` and `b` that both list `test://x`."""
    world = World("a", "b")
    a, b = world.connect("a", **CAN), world.connect("b", **CAN)
    for key in ("a", "b"):
        world.list_more(key, tools=[], resources=["test://x"])
    return world, a, b


def subscribe(client: Client, server: Server, uri: str = "test://x", own: str | None = None) -> None:
    asked = client.call("resources/subscribe", server, dump({"uri": uri}))
    assert asked.params == {"uri": own or uri}
    server.answer(asked, b"{}")
    assert client.one().result == {}


def unsubscribe(client: Client, server: Server, uri: str = "test://x") -> None:
    server.answer(client.call("resources/unsubscribe", server, dump({"uri": uri})), b"{}")
    assert client.one().result == {}
    assert server.heard() == []


def updated(uri: str) -> bytes:
    return message(UPDATED, dump({"uri": uri}))


def heard(*clients: Client) -> list[list[str]]:
    """The URIs that each of them was told of."""
    found = [client.heard() for client in clients]
    assert {one.method for each in found for one in each} <= {UPDATED}
    return [[one.params["uri"] for one in each] for each in found]


def test_an_update_reaches_those_who_are_subscribed_and_passes_unchanged() -> None:
    world, a = one_server()
    first, second, third = world.client("s1"), world.client("s2"), world.client("s3")
    subscribe(first, a)
    subscribe(third, a)
    a.send(message(UPDATED, b'{"new":1.0,"uri":"test://x","_meta":{"y" :1}}'))
    assert first.one().members["params"] == b'{"new":1.0,"uri":"test://x","_meta":{"y" :1}}'
    assert second.heard() == []
    assert len(third.heard()) == 1


@pytest.mark.parametrize(
    "params", [None, b"null", b"[]", b"7", b"{}", b'{"uri":null}', b'{"uri":7}', rb'{"uri":"\ud800"}']
)
def test_an_update_of_nothing_harms_nobody(params: bytes | None) -> None:
    world, a = one_server()
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    a.send(message(UPDATED, params))
    assert heard(first, second) == [[], []]
    world.assert_at_rest()


@pytest.mark.parametrize("written", [rb"test:\/\/x", rb"\u0074est://x"])
def test_a_uri_is_the_same_however_it_is_escaped(written: bytes) -> None:
    world, a = one_server()
    client, _ = world.client("s1"), world.client("s2")
    asked = client.call("resources/subscribe", a, b'{"uri":"' + written + b'"}')
    a.answer(asked, b"{}")
    client.one()
    a.send(message(UPDATED, b'{"uri":"' + written + b'"}'), updated("test://x"))
    assert heard(client) == [["test://x", "test://x"]]


def test_where_the_server_refused_nobody_is_subscribed() -> None:
    world, a = one_server()
    client, other = world.client("s1"), world.client("s2")
    a.fail(client.call("resources/subscribe", a, b'{"uri":"test://x"}'))
    assert client.one().error["code"] == -1
    a.send(updated("test://x"))
    assert heard(client, other) == [[], []]


def test_a_client_that_unsubscribed_hears_no_more_and_the_others_do() -> None:
    world, a = one_server()
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    subscribe(second, a)
    assert first.ask("resources/unsubscribe", b'{"uri":"test://x"}').result == {}
    assert a.heard() == [], "the other one is still subscribed"
    a.send(updated("test://x"))
    assert heard(first, second) == [[], ["test://x"]]
    unsubscribe(second, a)
    a.send(updated("test://x"))
    assert heard(first, second) == [[], []]
    world.assert_at_rest()


def test_a_client_that_subscribed_twice_is_unsubscribed_at_once() -> None:
    world, a = one_server()
    client, other = world.client("s1"), world.client("s2")
    subscribe(client, a)
    subscribe(client, a)
    a.send(updated("test://x"))
    assert heard(client) == [["test://x"]]
    unsubscribe(client, a)
    a.send(updated("test://x"))
    assert heard(client, other) == [[], []]


def test_who_was_never_subscribed_may_still_unsubscribe() -> None:
    world, a = one_server()
    client = world.client()
    unsubscribe(client, a)
    world.assert_at_rest()


def test_who_subscribes_while_another_unsubscribes_is_subscribed_afterwards() -> None:
    world, a = one_server()
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    asked = second.call("resources/subscribe", a, b'{"uri":"test://x"}')
    left = first.call("resources/unsubscribe", a, b'{"uri":"test://x"}')
    a.answer(asked, b"{}")
    a.answer(left, b"{}")
    assert (first.one().result, second.one().result) == ({}, {})
    again = a.one()
    assert (again.method, again.params) == ("resources/subscribe", {"uri": "test://x"})
    a.answer(again, b"{}")
    a.send(updated("test://x"))
    assert heard(first, second) == [[], ["test://x"]]
    world.assert_at_rest()


def test_a_client_that_leaves_is_unsubscribed_unless_others_are_subscribed_too() -> None:
    world, a = one_server("test://x", "test://y")
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    subscribe(first, a, "test://y")
    subscribe(second, a)
    first.leave()
    told = a.one()
    assert (told.method, told.params) == ("resources/unsubscribe", {"uri": "test://y"})
    a.fail(told)
    a.send(updated("test://x"))
    assert heard(first, second) == [[], ["test://x"]]
    second.leave()
    assert a.one().params == {"uri": "test://x"}
    world.assert_at_rest()


@pytest.mark.parametrize("end", ["cancel", "leaves", "time-out"])
@pytest.mark.parametrize("company", [False, True])
def test_a_subscription_that_is_given_up_is_left_to_nobody_and_taken_from_nobody(end: str, company: bool) -> None:
    world, a = one_server()
    client, other = world.client("s1"), world.client("s2")
    if company:
        subscribe(other, a)
    asked = client.call("resources/subscribe", a, b'{"uri":"test://x"}')
    if end == "cancel":
        client.cancel(b"1")
    elif end == "leaves":
        client.leave()
    else:
        world.pass_time(300)
        assert client.one().error["code"]
    told = a.heard()
    assert told[0].method == "notifications/cancelled"
    assert [(one.method, one.params) for one in told[1:]] == (
        [] if company else [("resources/unsubscribe", {"uri": "test://x"})]
    )
    a.answer(asked, b"{}")
    world.client("s3")
    a.send(updated("test://x"))
    assert heard(client, other) == [[], ["test://x"] if company else []]
    world.assert_at_rest()


def test_a_client_that_leaves_while_its_server_is_away_is_forgotten() -> None:
    world, a = one_server()
    first = world.client("s1")
    subscribe(first, a)
    world.lose(a)
    first.leave()
    again = world.connect("a", **CAN)
    assert again.heard() == []


def test_a_server_that_comes_back_is_subscribed_anew_once_for_each_uri() -> None:
    world, a = one_server("test://x", "test://y")
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    subscribe(second, a)
    subscribe(second, a, "test://y")
    world.lose(a)
    again = world.connect("a", **CAN)
    told = again.heard()
    assert [(one.method, one.params["uri"]) for one in told] == [
        ("resources/subscribe", "test://x"),
        ("resources/subscribe", "test://y"),
    ]
    again.answer(told[0], b"{}")
    again.fail(told[1])
    again.send(updated("test://x"), updated("test://y"))
    assert heard(first, second) == [["test://x"], ["test://x", "test://y"]]
    world.assert_at_rest()


def test_a_server_that_comes_back_without_subscriptions_is_not_asked_for_any() -> None:
    world, a = one_server()
    subscribe(world.client(), a)
    world.lose(a)
    assert world.connect("a", resources={}).heard() == []


def test_a_retired_server_is_forgotten_and_one_that_takes_its_key_is_not_subscribed() -> None:
    world, a = one_server()
    client = world.client()
    subscribe(client, a)
    target = world.targets["a"]
    world.retire("a")
    client.leave()
    world.targets["a"] = target
    target.retired = False
    world.do(world.relay.add_target, target)
    assert world.connect("a", **CAN).heard() == []
    world.assert_at_rest()


def test_each_client_hears_by_the_uri_that_it_knows() -> None:
    world, a, b = two_servers()
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    subscribe(second, b, "test://~b/x", own="test://x")
    a.send(updated("test://x"))
    assert heard(first, second) == [["test://x"], []]
    b.send(updated("test://x"))
    assert heard(first, second) == [[], ["test://~b/x"]]
    unsubscribe(second, b, "test://~b/x")
    b.send(updated("test://x"))
    assert heard(first, second) == [[], []]


def test_servers_with_one_uri_do_not_share_its_subscribers() -> None:
    world, a, b = two_servers()
    first, second = world.client("s1"), world.client("s2")
    subscribe(first, a)
    subscribe(second, b, "test://~b/x", own="test://x")
    unsubscribe(first, a)
    b.send(updated("test://x"))
    assert heard(first, second) == [[], ["test://~b/x"]]


@pytest.mark.parametrize(
    ("subscribed", "changed", "is_told"),
    [
        ("file:///d", "file:///d/a", True),
        ("file:///d/", "file:///d/a/b", True),
        ("file:///d", "file:///d#a", True),
        ("file:///d", "file:///d?a", True),
        ("file:///d", "file:///dx", False),
        ("file:///d/", "file:///d", False),
        ("file:///d/a", "file:///d", False),
        ("", "x", False),
    ],
)
def test_who_is_subscribed_hears_of_what_lies_below(subscribed: str, changed: str, is_told: bool) -> None:
    world, a = one_server()
    client, other = world.client("s1"), world.client("s2")
    subscribe(client, a, subscribed)
    a.send(updated(changed))
    assert heard(client, other) == [[changed] if is_told else [], []]


def test_of_what_lies_below_the_client_hears_by_the_uri_that_it_would_know_it_by() -> None:
    world, _, b = two_servers()
    client, _ = world.client("s1"), world.client("s2")
    subscribe(client, b, "test://~b/x", own="test://x")
    b.send(updated("test://x/below"))
    assert heard(client) == [["test://~b/x/below"]]
    asked = client.call("resources/read", b, b'{"uri":"test://~b/x/below"}')
    assert asked.params == {"uri": "test://x/below"}
    b.answer(asked, dump({"contents": [{"uri": "test://x/below", "text": "t"}]}))
    assert client.one().result["contents"][0]["uri"] == "test://~b/x/below"


def test_those_above_and_those_at_the_uri_are_told_each_once() -> None:
    world, a = one_server()
    above, at, both = world.client("s1"), world.client("s2"), world.client("s3")
    subscribe(above, a, "file:///d")
    subscribe(at, a, "file:///d/a")
    subscribe(both, a, "file:///d")
    subscribe(both, a, "file:///d/a")
    a.send(updated("file:///d/a"))
    assert heard(above, at, both) == [["file:///d/a"]] * 3


def test_an_update_that_nobody_asked_for_reaches_the_only_client() -> None:
    world, _, b = two_servers()
    client = world.client()
    b.send(updated("test://x"), updated("test://other"))
    assert heard(client) == [["test://~b/x", "test://other"]]
    other = world.client("s2")
    b.send(updated("test://x"))
    assert heard(client, other) == [[], []]


def test_a_client_in_its_handshake_hears_of_no_update() -> None:
    world, a = one_server()
    client = world.client(initialized=False)
    a.send(updated("test://x"))
    assert client.heard() == []


def test_a_uri_that_nobody_lists_is_unsubscribed_where_it_was_subscribed() -> None:
    world = World("a", "b")
    a, b = world.start("a", **CAN), world.start("b", **CAN)
    client, other = world.client("s1"), world.client("s2")
    a.fail(client.call("resources/subscribe", a, b'{"uri":"test://hidden"}'))
    b.answer(b.one(), b"{}")
    client.one()
    b.send(updated("test://hidden"))
    assert heard(client, other) == [["test://hidden"], []]
    unsubscribe(client, b, "test://hidden")
    assert a.heard() == []
    b.send(updated("test://hidden"))
    assert heard(client, other) == [[], []]


def test_where_a_server_takes_any_subscription_a_read_still_finds_who_knows_the_uri() -> None:
    world = World("a", "b")
    a, b = world.start("a", **CAN), world.start("b", **CAN)
    client = world.client()
    subscribe(client, a, "test://hidden")
    a.fail(client.call("resources/read", a, b'{"uri":"test://hidden"}'))
    b.answer(b.one(), b'{"contents":[]}')
    assert client.one().result


def test_where_a_uri_was_read_it_is_subscribed() -> None:
    world = World("a", "b")
    a, b = world.start("a", **CAN), world.start("b", **CAN)
    client = world.client()
    a.fail(client.call("resources/read", a, b'{"uri":"test://hidden"}'))
    b.answer(b.one(), b'{"contents":[]}')
    client.one()
    subscribe(client, b, "test://hidden")
    assert a.heard() == []
