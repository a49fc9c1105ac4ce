"""Lists page by page from one snapshot, notices to those who looked, and the tasks of one client over all servers."""

import base64
from typing import Any

import pytest

from proxy.errors import INVALID_PARAMS, METHOD_NOT_FOUND
from tests.support.relay import Client, Server, World, dump, ids, message

KINDS = {
    "tools": ("tools/list", "tools", "name"),
    "prompts": ("prompts/list", "prompts", "name"),
    "resources": ("resources/list", "resources", "uri"),
    "templates": ("resources/templates/list", "resourceTemplates", "uriTemplate"),
}
CHANGED = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "templates": "notifications/resources/list_changed",
}
TASKS: dict[str, Any] = {"tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}


def names(count: int, first: int = 0) -> list[str]:
    return [f"test://{number}" for number in range(first, first + count)]


def paged(kind: str, count: int, page_size: int = 3) -> tuple[World, Client]:
    """A server `a` with so many entries of a kind, and a client."""
    world = World("a", page_size=page_size)
    world.connect("a")
    relist(world, "a", {kind: names(count)})
    return world, world.client()


def page(client: Client, kind: str, cursor: Any = None) -> tuple[list[str], Any]:
    """The keys on a page, and the cursor of the next one."""
    method, member, key = KINDS[kind]
    result = client.ask(method, None if cursor is None else dump({"cursor": cursor})).result
    assert result.keys() <= {member, "nextCursor"}
    return [entry[key] for entry in result[member]], result.get("nextCursor")


def pages(client: Client, kind: str, cursor: Any = None) -> list[list[str]]:
    found, cursor = page(client, kind, cursor)
    all_found = [found]
    while cursor is not None:
        found, cursor = page(client, kind, cursor)
        all_found.append(found)
    return all_found


def relist(world: World, key: str, kinds: dict[str, Any]) -> None:
    """The server lists these, by kind."""
    world.list_more(key, **kinds)


def kinds_of(client: Client) -> list[str | None]:
    return [heard.method for heard in client.heard()]


# Pages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
def test_a_list_comes_in_pages_of_which_none_is_empty_but_the_first_and_only(kind: str, count: int) -> None:
    _, client = paged(kind, count)
    found = pages(client, kind)
    assert [len(one) for one in found] == ([3] * (count // 3) + [count % 3] * (count % 3 > 0) or [0])
    everything = [key for one in found for key in one]
    assert len(set(everything)) == count
    if KINDS[kind][2] != "name":
        assert everything == names(count)


def test_a_list_that_fits_on_one_page_has_no_cursor() -> None:
    _, client = paged("resources", 3)
    assert client.ask("resources/list").result.keys() == {"resources"}


def test_a_page_ends_after_so_many_bytes_however_few_entries_it_has() -> None:
    world = World("a")
    world.connect("a")
    big = [dump({"name": "r", "uri": uri, "description": "x" * 5_000_000}) for uri in names(5)]
    world.list_more("a", resources=big)
    found = pages(world.client(), "resources")
    assert len(found) == 3
    assert [key for one in found for key in one] == names(5)


def test_a_list_that_changes_between_pages_neither_loses_nor_repeats_an_entry() -> None:
    world, client = paged("resources", 7)
    first, cursor = page(client, "resources")
    world.list_more("a", resources=["test://new", *names(5, 2)])
    assert kinds_of(client) == [CHANGED["resources"]]
    rest = pages(client, "resources", cursor)
    assert [*first, *(key for one in rest for key in one)] == names(7)
    assert [key for one in pages(client, "resources") for key in one] == ["test://new", *names(5, 2)]


def test_a_list_that_was_emptied_between_pages_is_still_finished() -> None:
    world, client = paged("tools", 4)
    _, cursor = page(client, "tools")
    world.retire("a")
    assert kinds_of(client) == [CHANGED["tools"]]
    assert [len(one) for one in pages(client, "tools", cursor)] == [1]
    assert page(client, "tools") == ([], None)


def test_a_cursor_may_be_used_again_and_by_other_clients() -> None:
    world, client = paged("resources", 7)
    _, cursor = page(client, "resources")
    other = world.client("s2")
    assert page(client, "resources", cursor) == page(client, "resources", cursor) == page(other, "resources", cursor)


def test_clients_that_began_at_different_times_each_finish_their_own_list() -> None:
    world, first = paged("resources", 4)
    second = world.client("s2")
    _, old = page(first, "resources")
    world.list_more("a", resources=names(4, 10))
    _, new = page(second, "resources")
    assert kinds_of(first) == [CHANGED["resources"]]
    assert page(first, "resources", old)[0] == names(1, 3)
    assert page(second, "resources", new)[0] == names(1, 13)


def test_a_cursor_is_bound_to_its_kind() -> None:
    world, client = paged("resources", 4)
    world.list_more("a", prompts=names(4))
    _, cursor = page(client, "resources")
    assert client.ask("prompts/list", dump({"cursor": cursor})).error["code"] == INVALID_PARAMS
    assert client.ask("resources/templates/list", dump({"cursor": cursor})).error["code"] == INVALID_PARAMS


def test_snapshots_are_not_kept_for_ever_and_the_client_is_told_to_begin_anew() -> None:
    world, client = paged("resources", 4)
    _, cursor = page(client, "resources")
    for number in range(100):
        world.list_more("a", resources=names(4, 10 * number))
        client.heard()
        page(client, "resources")
    error = client.ask("resources/list", dump({"cursor": cursor})).error
    assert error["code"] == INVALID_PARAMS
    assert "without a cursor" in error["message"]


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "\ud800",
        "\u0661",
        7,
        {},
        [],
        True,
        "=" * 10,
        "A" * 100_000,
        encoded("resources:0"),
        encoded("resources:0:0"),
        encoded("resources:0:-1"),
        encoded("resources:0:4"),
        encoded("resources:0:999999999999999999999999"),
        encoded("resources:0:" + "9" * 5000),
        encoded("resources:99:3"),
        encoded("resources:-1:3"),
        encoded("resources:0:3:3"),
        encoded("tasks:0:3"),
        encoded("\ud800:0:3".encode(errors="replace").decode()),
    ],
)
@pytest.mark.parametrize("method", [method for method, _, _ in KINDS.values()] + ["tasks/list"])
def test_a_cursor_that_nobody_gave_is_refused(method: str, cursor: Any) -> None:
    world, client = paged("resources", 4)
    page(client, "resources")
    assert client.ask(method, dump({"cursor": cursor})).error["code"] == INVALID_PARAMS
    world.assert_at_rest()


@pytest.mark.parametrize("params", [b"[]", b"7", b'"x"'])
@pytest.mark.parametrize("method", [method for method, _, _ in KINDS.values()] + ["tasks/list"])
def test_params_that_are_no_object_are_refused(method: str, params: bytes) -> None:
    world, client = paged("resources", 4)
    assert client.ask(method, params).error["code"] == INVALID_PARAMS
    world.assert_at_rest()


# Waiting


@pytest.mark.parametrize("kind", KINDS)
def test_each_list_waits_for_servers_that_are_still_starting(kind: str) -> None:
    world = World("a", "b")
    client = world.client()
    client.send(message(KINDS[kind][0], id=b"1"))
    world.connect("a")
    relist(world, "a", {kind: ["test://a"]})
    assert client.heard() == []
    world.connect("b")
    relist(world, "b", {kind: ["test://b"]})
    assert len(client.one().result[KINDS[kind][1]]) == 2
    world.assert_at_rest()


def test_a_list_that_waited_is_answered_with_a_page() -> None:
    world = World("a", page_size=2)
    client = world.client()
    client.send(message("resources/list", id=b"1"), message("resources/list", id=b"2"))
    world.connect("a")
    world.list_more("a", resources=names(3))
    first, second = client.heard()
    assert first.raw_result == second.raw_result
    assert page(client, "resources", first.result["nextCursor"]) == (names(1, 2), None)


# Notices


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seen", KINDS)
def test_only_who_saw_a_list_is_told_that_it_changed(kind: str, seen: str) -> None:
    world, client = paged("tools", 0)
    page(client, seen)
    relist(world, "a", {kind: ["test://new"]})
    assert kinds_of(client) == ([CHANGED[kind]] if kind == seen else [])


def test_resources_and_templates_that_change_at_once_are_one_notice() -> None:
    world, client = paged("tools", 0)
    for kind in KINDS:
        page(client, kind)
    relist(world, "a", {kind: ["test://new"] for kind in KINDS})
    assert sorted(map(str, kinds_of(client))) == sorted({*CHANGED.values()})
    relist(world, "a", {kind: [] for kind in KINDS})
    assert client.heard() == [], "it has not looked since"


def test_a_retired_servers_entries_are_gone_and_who_saw_them_is_told_of_each_kind_once() -> None:
    world = World("a", "b")
    for key in ("a", "b"):
        world.connect(key)
        world.list_more(key, tools=["x"], resources=["test://x"])
    client, other = world.client("s1"), world.client("s2")
    for kind in KINDS:
        page(client, kind)
    page(other, "prompts")
    world.retire("a")
    assert sorted(map(str, kinds_of(client))) == sorted([CHANGED["tools"], CHANGED["resources"]])
    assert other.heard() == []
    assert page(client, "tools") == (["b__x"], None)
    assert page(client, "resources") == (["test://x"], None), "nobody else claims it now"


# Tasks


def task(id: str, status: str = "working") -> dict[str, Any]:
    return {"taskId": id, "status": status, "createdAt": "x", "lastUpdatedAt": "x", "ttl": None}


def with_tasks(*servers: str, **options: Any) -> tuple[World, list[Server]]:
    world = World(*servers, **options)
    return world, [world.start(key, "t", **TASKS) for key in servers]


def begin(client: Client, server: Server, own: str, id: bytes = b"1") -> str:
    """A task of this server; returns the id that the client knows."""
    asked = client.call("tools/call", server, dump({"name": f"{server.link.server}__t", "task": {}}), id)
    server.answer(asked, dump({"task": task(own)}))
    public = client.one().result["task"]["taskId"]
    assert isinstance(public, str)
    return public


def listed(client: Client) -> list[str]:
    """The task ids of the one answer that came."""
    result = client.one().result
    assert result.keys() == {"tasks"}
    return [one["taskId"] for one in result["tasks"]]


def test_tasks_of_all_servers_and_pages_are_one_list() -> None:
    world, [a, b] = with_tasks("a", "b")
    client = world.client()
    for server, own in ((a, "a1"), (a, "a2"), (b, "b1")):
        begin(client, server, own)
    client.send(message("tasks/list", b"{}", b"1"))
    first = a.one()
    assert first.params in (None, {})
    a.answer(first, dump({"tasks": [task("a1")], "nextCursor": "more\ud800"}))
    b.answer(b.one(), dump({"tasks": [task("b1", "completed")], "nextCursor": None}))
    assert client.heard() == []
    second = a.one()
    assert second.params == {"cursor": "more\ud800"}
    a.answer(second, dump({"tasks": [task("a2")]}))
    assert sorted(listed(client)) == ["a1", "a2", "b1"]
    world.assert_at_rest()


def test_without_servers_that_have_tasks_the_list_is_empty_at_once() -> None:
    world = World("a")
    world.start("a", "t")
    assert world.client().ask("tasks/list").result == {"tasks": []}
    world.assert_at_rest()


def test_a_client_is_shown_its_own_tasks_alone() -> None:
    world, [a] = with_tasks("a")
    first, second = world.client("s1"), world.client("s2")
    begin(first, a, "t1")
    begin(second, a, "t2")
    everything = dump({"tasks": [task("t1"), task("t2"), task("of nobody here")]})
    for client, own in ((first, "t1"), (second, "t2")):
        a.answer(client.call("tasks/list", a), everything)
        assert listed(client) == [own]
    world.assert_at_rest()


def test_tasks_of_a_client_that_left_are_shown_to_nobody() -> None:
    world, [a] = with_tasks("a")
    first = world.client("s1")
    begin(first, a, "t1")
    first.leave()
    second = world.client("s2")
    a.answer(second.call("tasks/list", a), dump({"tasks": [task("t1")]}))
    assert listed(second) == []
    assert second.ask("tasks/get", b'{"taskId":"t1"}').error["code"] == INVALID_PARAMS
    assert begin(second, a, "t1") == "t1", "the server may count anew"


def test_a_client_that_is_alone_finds_its_tasks_from_before_and_can_use_them() -> None:
    world, [a] = with_tasks("a")
    client = world.client()
    a.answer(client.call("tasks/list", a), dump({"tasks": [task("old")]}))
    assert listed(client) == ["old"]
    a.answer(client.call("tasks/get", a, b'{"taskId":"old"}'), dump(task("old", "completed")))
    assert client.one().result["status"] == "completed"


def test_tasks_with_one_id_at_two_servers_are_listed_by_ids_that_lead_to_each() -> None:
    world, [a, b] = with_tasks("a", "b")
    client = world.client()
    mine = [begin(client, a, "t"), begin(client, b, "t")]
    assert len(set(mine)) == 2
    client.send(message("tasks/list", id=b"1"))
    a.answer(a.one(), dump({"tasks": [task("t")]}))
    b.answer(b.one(), dump({"tasks": [task("t")]}))
    assert sorted(listed(client)) == sorted(mine)
    for public, server in zip(mine, (a, b), strict=True):
        assert client.call("tasks/get", server, dump({"taskId": public}), dump(public)).params == {"taskId": "t"}


def test_servers_that_can_not_list_tasks_are_not_asked_and_their_tasks_are_listed_as_they_were_last() -> None:
    world = World("a", "b")
    a = world.start("a", "t", tasks={"requests": {"tools": {"call": {}}}})
    b = world.start("b", "t", **TASKS)
    client, other = world.client("s1"), world.client("s2")
    begin(client, a, "t1")
    a.answer(client.call("tasks/get", a, b'{"taskId":"t1"}'), dump(task("t1", "completed")))
    client.one()
    b.answer(client.call("tasks/list", b), b'{"tasks":[]}')
    assert client.one().result == {"tasks": [task("t1", "completed")]}
    assert a.heard() == []
    b.answer(other.call("tasks/list", b), b'{"tasks":[]}')
    assert listed(other) == []


def test_what_a_task_said_beside_itself_is_not_repeated_in_the_list() -> None:
    world = World("a")
    a = world.start("a", "t", tasks={"requests": {"tools": {"call": {}}}})
    client = world.client()
    begin(client, a, "t1")
    a.answer(client.call("tasks/get", a, b'{"taskId":"t1"}'), dump({**task("t1"), "_meta": {"x": 1}}))
    client.one()
    assert client.ask("tasks/list").result == {"tasks": [task("t1")]}


@pytest.mark.parametrize("coming", [False, True])
def test_a_server_that_is_away_is_not_waited_for(coming: bool) -> None:
    world, [a, b] = with_tasks("a", "b")
    client = world.client()
    begin(client, b, "b1")
    world.lose(a)
    world.away("a", coming=coming)
    b.answer(client.call("tasks/list", b), dump({"tasks": [task("b1")]}))
    assert listed(client) == ["b1"]
    world.assert_at_rest()


@pytest.mark.parametrize(
    "answer",
    [
        b'"result":{}',
        b'"result":{"tasks":null}',
        b'"result":{"tasks":7,"nextCursor":"x"}',
        b'"result":[]',
        b'"result":null',
        b'"error":{"code":-1,"message":"no"}',
        b'"error":null',
    ],
)
def test_a_server_whose_list_can_not_be_read_does_not_cost_the_others_theirs(answer: bytes) -> None:
    world, [a, b] = with_tasks("a", "b")
    client = world.client()
    begin(client, b, "b1")
    client.send(message("tasks/list", id=b"1"))
    a.send(b'{"jsonrpc":"2.0","id":' + (a.one().id or b"") + b"," + answer + b"}")
    assert client.heard() == []
    b.answer(b.one(), dump({"tasks": [task("b1")]}))
    assert listed(client) == ["b1"]
    assert a.heard() == []
    world.assert_at_rest()


def test_an_odd_entry_does_not_cost_the_others() -> None:
    world, [a] = with_tasks("a")
    client = world.client()
    begin(client, a, "t1")
    items = b'{"tasks":[7,null,[],{},{"taskId":7},{"taskId":null},' + dump(task("t1")) + b'],"nextCursor":"x"}'
    a.answer(client.call("tasks/list", a), items)
    a.answer(a.one(), b'{"tasks":[]}')
    assert listed(client) == ["t1"]
    world.assert_at_rest()


def test_pages_without_end_come_to_an_end() -> None:
    world, [a] = with_tasks("a")
    client = world.client()
    client.send(message("tasks/list", id=b"1"))
    for _ in range(1000):
        asked = a.heard()
        if not asked:
            break
        a.answer(asked[0], b'{"tasks":[],"nextCursor":"same"}')
    assert listed(client) == []
    world.assert_at_rest()


def test_a_server_that_does_not_answer_holds_the_list_for_a_bounded_time() -> None:
    world, [a, b] = with_tasks("a", "b", list_wait=4)
    client = world.client()
    begin(client, a, "a1")
    begin(client, b, "b1")
    client.send(message("tasks/list", id=b"1"))
    asked = a.one()
    b.answer(b.one(), dump({"tasks": [task("b1", "completed")]}))
    world.pass_time(3.9)
    assert client.heard() == []
    world.pass_time(0.1)
    found = {one["taskId"]: one["status"] for one in client.one().result["tasks"]}
    assert found == {"a1": "working", "b1": "completed"}
    a.answer(asked, dump({"tasks": [task("a1")], "nextCursor": "x"}))
    assert client.heard() == a.heard() == []
    world.assert_at_rest()


@pytest.mark.parametrize("how", ["lost", "retired"])
def test_a_server_that_goes_does_not_hold_the_list(how: str) -> None:
    world, [a, b] = with_tasks("a", "b")
    client = world.client()
    begin(client, b, "b1")
    client.send(message("tasks/list", id=b"1"))
    asked = b.one()
    if how == "lost":
        world.lose(a)
    else:
        world.retire("a")
    assert client.heard() == []
    b.answer(asked, dump({"tasks": [task("b1")]}))
    assert listed(client) == ["b1"]
    world.assert_at_rest()


def test_a_list_of_tasks_can_be_cancelled() -> None:
    world, [a] = with_tasks("a")
    client = world.client()
    asked = client.call("tasks/list", a)
    assert client.ask("ping", id=b"1").error, "its id is in use"
    client.cancel(b"1")
    a.answer(asked, dump({"tasks": [task("t")], "nextCursor": "x"}))
    assert client.heard() == a.heard() == []
    assert ids([client.ask("ping", id=b"1")]) == [b"1"]
    world.assert_at_rest()


def test_who_leaves_during_its_list_of_tasks_is_forgotten() -> None:
    world, [a] = with_tasks("a")
    client = world.client()
    asked = client.call("tasks/list", a)
    client.leave()
    a.answer(asked, b'{"tasks":[]}')
    assert client.heard() == []
    world.assert_at_rest()


def test_tasks_can_not_be_listed_before_initialize() -> None:
    world, [a] = with_tasks("a")
    error = world.client(initialized=False).ask("tasks/list").error
    assert error["code"] != METHOD_NOT_FOUND
    assert a.heard() == []
