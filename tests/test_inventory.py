"""What is known of one server: from itself, from an earlier session, or from before its entry was changed."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.catalogue import KINDS, Difference
from proxy.config.models import ServerEntry, ToolRules
from proxy.eras.handshake import LATEST, ServerHello
from proxy.events import CatalogueChanged, Event, Notice
from proxy.inventory import Inventory
from proxy.names import Given, Namer
from tests.support.relay import entry

EVERYTHING = ServerHello(
    LATEST, {"tools": b"{}", "prompts": b"{}", "resources": b"{}"}, "git-mcp", "1", "Commit often."
)
TOOLS_ALONE = ServerHello(LATEST, {"tools": b"{}"}, "git-mcp", "2", "")


def inventory(
    events: list[Event] | None = None,
    *,
    rules: ToolRules | None = None,
    prefix: str = "git",
    given: Given | None = None,
) -> Inventory:
    namer = Namer("git", prefix, (), 57, given)
    emit = ([] if events is None else events).append
    return Inventory("git", prefix, ServerEntry(command="x", tools=rules or ToolRules()), namer, emit)


def items(kind: str, *owns: str) -> list[Raw]:
    return [Raw(entry(kind, own)) for own in owns]


def shown(known: Inventory, kind: str = "tools") -> list[str]:
    return [route.public for route in known.offering.of(kind).routes]


def definitions(known: Inventory) -> list[Any]:
    return [json.loads(text) for text in known.offering.of("tools").definitions]


def full(events: list[Event] | None = None) -> Inventory:
    """One that was told of everything."""
    known = inventory(events)
    known.greet(EVERYTHING)
    known.take("tools", items("tools", "a", "b"))
    known.take("prompts", items("prompts", "p"))
    known.take("resources", items("resources", "r://x"))
    return known


# From the server itself


def test_at_first_nothing_is_known() -> None:
    known = inventory()
    assert known.hello is None
    assert (known.counts, known.settled) == ({}, set())
    assert all(shown(known, kind) == [] and not known.has(kind) for kind in KINDS)


def test_a_server_has_the_kinds_that_it_declared() -> None:
    known = inventory()
    known.greet(ServerHello(LATEST, {"resources": b"{}"}, "", "", ""))
    assert [kind for kind in KINDS if known.has(kind)] == ["resources", "templates"]


def test_a_listing_that_was_read_is_shown_counted_and_told() -> None:
    events: list[Event] = []
    known = inventory(events, rules=ToolRules(deny=("b",)))
    known.greet(TOOLS_ALONE)
    assert known.take("tools", items("tools", "a", "b", "c")) == Difference(2, 0, 0)
    assert shown(known) == ["git__a", "git__c"]
    assert known.counts == {"tools": 3}, "as the server has them"
    assert known.settled == {"tools"}
    assert events == [CatalogueChanged("git", 2, 2, 0)]
    assert (known.offering.server, known.offering.tag) == ("git", "git")


def test_the_same_listing_again_is_no_news_and_another_one_is() -> None:
    events: list[Event] = []
    known = full(events)
    events.clear()
    assert not known.take("tools", items("tools", "a", "b"))
    assert events == []
    assert known.take("tools", items("tools", "b", "c")) == Difference(1, 1, 0)
    assert events == [CatalogueChanged("git", 2, 1, 1)]


def test_what_is_odd_in_a_listing_is_told() -> None:
    events: list[Event] = []
    known = inventory(events)
    known.greet(TOOLS_ALONE)
    known.take("tools", items("tools", "a", "a"))
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "tool 'a' is listed twice; the first one counts"
    ]


def test_what_a_server_does_not_list_any_more_is_gone_when_it_says_so() -> None:
    events: list[Event] = []
    known = full(events)
    events.clear()
    known.greet(TOOLS_ALONE)
    assert known.hello is TOOLS_ALONE
    assert shown(known) == ["git__a", "git__b"]
    assert shown(known, "prompts") == shown(known, "resources") == []
    assert known.counts == {"tools": 2, "prompts": 0, "resources": 0}
    gone = {(event.kind, event.entries, event.removed) for event in events if isinstance(event, CatalogueChanged)}
    assert gone == {("prompts", 0, 1), ("resources", 0, 1)}


def test_a_server_that_is_removed_has_nothing_any_more_and_that_is_told() -> None:
    events: list[Event] = []
    known = full(events)
    known.take("templates", [])
    events.clear()
    known.vanish()
    assert all(shown(known, kind) == [] for kind in KINDS)
    gone = {(event.kind, event.entries, event.removed) for event in events if isinstance(event, CatalogueChanged)}
    assert gone == {("tools", 0, 2), ("prompts", 0, 1), ("resources", 0, 1)}


@pytest.mark.parametrize(("tasks", "shows"), [(b'{"requests":{"tools":{"call":{}}}}', True), (b"{}", False)])
def test_a_tool_may_be_called_as_a_task_only_where_its_server_declared_that(tasks: bytes, shows: bool) -> None:
    tool = Raw(b'{"name":"a","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}}')
    known = inventory()
    known.recall(ServerHello(LATEST, {"tools": b"{}", "tasks": tasks}, "", "", ""), {"tools": [tool]})
    assert ("taskSupport" in json.dumps(definitions(known))) is shows


# From an earlier session


def test_what_was_remembered_is_known_as_if_the_server_had_said_it() -> None:
    events: list[Event] = []
    known = inventory(events, rules=ToolRules(deny=("b",), rename={"a": "first"}))
    known.recall(EVERYTHING, {"tools": items("tools", "a", "b"), "prompts": items("prompts", "p")})
    assert known.hello is EVERYTHING
    assert shown(known) == ["git__first"], "by the rules of today"
    assert shown(known, "prompts") == ["git__p"]
    assert known.counts == {"tools": 2, "prompts": 1}
    assert known.settled == set(KINDS)
    assert events == [], "nothing has happened"


def test_what_the_server_lists_then_is_compared_with_what_was_remembered() -> None:
    events: list[Event] = []
    known = inventory(events)
    known.recall(EVERYTHING, {"tools": items("tools", "a", "b"), "prompts": items("prompts", "p")})
    known.greet(TOOLS_ALONE)
    assert known.take("tools", items("tools", "b", "c")) == Difference(1, 1, 0)
    assert events == [CatalogueChanged("git", 0, 0, 1, "prompts"), CatalogueChanged("git", 2, 1, 1)]


def test_what_was_remembered_for_another_client_takes_the_place_of_all_that_was_known() -> None:
    known = full()
    known.recall(TOOLS_ALONE, {"tools": items("tools", "z")})
    assert shown(known) == ["git__z"]
    assert shown(known, "prompts") == shown(known, "resources") == []
    assert known.counts == {"tools": 1}


def test_kinds_that_a_later_version_remembered_are_left_alone() -> None:
    known = inventory()
    known.recall(TOOLS_ALONE, {"tools": items("tools", "a"), "skills": [Raw(b"{}")]})
    assert (shown(known), list(known.counts)) == (["git__a"], ["tools"])


def test_names_that_were_given_hold_for_what_is_remembered_too() -> None:
    given = Given()
    given.give("tools", "other", "x", "git__a")
    known = inventory(given=given)
    known.recall(TOOLS_ALONE, {"tools": items("tools", "a", "b")})
    yielded, plain = shown(known)
    assert yielded.startswith("git__a_")
    assert plain == "git__b"
    assert given.of("tools", "git", "a") == yielded


# Under another entry


def test_what_was_known_is_shown_by_the_rules_of_the_new_entry() -> None:
    old, events = full(), list[Event]()
    new = inventory(events, rules=ToolRules(deny=("a",)), prefix="vcs")
    new.inherit(old)
    assert shown(new) == ["vcs__b"]
    assert shown(new, "prompts") == ["vcs__p"]
    assert shown(new, "resources") == ["r://x"]
    assert (new.hello, new.counts, new.settled) == (old.hello, old.counts, old.settled)
    assert [one["name"] for one in definitions(new)] == ["vcs__b"]
    assert new.offering.tag == "vcs"
    assert events == []
    new.take("tools", items("tools", "c"))
    assert shown(old) == ["git__a", "git__b"]
    assert old.counts["tools"] == 2


def test_other_servers_may_change_the_names_of_what_is_listed() -> None:
    given = Given()
    known = inventory(given=given)
    known.recall(TOOLS_ALONE, {"tools": items("tools", "sub__t", "u"), "prompts": items("prompts", "sub__t")})
    before = known.offering
    known.rename(Namer("git", "git", (), 57, given))
    assert known.offering.of("tools") is before.of("tools"), "nothing is done for the same names"
    known.rename(Namer("git", "git", ("git__sub",), 57))
    cut, plain = shown(known)
    assert cut.startswith("git__sub_t_")
    assert plain == "git__u"
    assert shown(known, "prompts") == [cut]
    assert [one["name"] for one in definitions(known)] == [cut, plain]
