"""Public names: what they look like, and that no two servers ever share one."""

import re
import string
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.names import LONGEST_TOTAL, Given, Namer, budget, clean_prefix

LONGEST = 57
PLAIN = re.compile(r"[A-Za-z0-9_-]+")
HASHED = re.compile(r"[A-Za-z0-9_-]*_[0-9a-f]{6}")

prefixes = st.one_of(
    st.text("ab_", max_size=6),
    st.text(string.ascii_letters + "_-. é", max_size=12),
    st.text("ab_", min_size=45, max_size=70),
).map(clean_prefix)
tools = st.one_of(
    st.text("ab_", min_size=1, max_size=8),
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.text("ab_-./ ", min_size=30, max_size=90),
)


def namers(prefixes: list[str], longest: int = LONGEST) -> list[Namer]:
    """One for each of the prefixes, which are cleaned; the servers are called 0, 1, ..."""
    return [
        Namer(str(number), prefix, [other for place, other in enumerate(prefixes) if place != number], longest)
        for number, prefix in enumerate(prefixes)
    ]


def name(tool: str, prefix: str = "git", *others: str, wanted: str | None = None, longest: int = LONGEST) -> str:
    return Namer("server", prefix, others, longest).name(tool, wanted)


# What they look like


@pytest.mark.parametrize(
    ("prefix", "tool", "expected"),
    [
        ("github", "create_issue", "github__create_issue"),
        ("", "create_issue", "create_issue"),
        ("a", "b__c", "a__b__c"),
        ("a-b", "C-d_9", "a-b__C-d_9"),
        ("a", "_b", "a___b"),
        ("git", "x" * 52, "git__" + "x" * 52),
    ],
)
def test_a_plain_name_is_prefix_and_tool(prefix: str, tool: str, expected: str) -> None:
    assert name(tool, prefix) == expected


@pytest.mark.parametrize(
    ("prefix", "tool", "stem"),
    [
        ("git", "a.b/c d", "git__a_b_c_d"),
        ("git", "größe", "git__gr_e"),
        ("git", "\x1b[31mred", "git__31mred"),
        ("git", "日本", "git__tool"),
        ("git", "", "git__tool"),
        ("", "", "tool"),
        ("git", "\ud800", "git__tool"),
        ("git", "__a____b__.", "git__a_b"),
        ("git", "x" * 53, "git__" + "x" * 45),
        ("p" * 60, "x", "p" * 50),
        ("", "x" * 49 + "_" + "y" * 20, "x" * 49),
        ("p" * 55, "xy", "p" * 50),
    ],
)
def test_other_names_are_cut_and_end_in_a_hash(prefix: str, tool: str, stem: str) -> None:
    assert re.fullmatch(re.escape(stem) + "_[0-9a-f]{6}", name(tool, prefix))


def test_a_name_the_user_gave_takes_the_place_of_the_tools_own() -> None:
    assert name("a.b", wanted="good") == "git__good"
    assert name("good", wanted="a.b").startswith("git__a_b_")
    assert name("one", wanted="a.b") != name("two", wanted="a.b")


def test_a_name_that_begins_like_those_of_another_server_is_hashed() -> None:
    assert name("b__c", "a", "x") == "a__b__c"
    assert HASHED.fullmatch(name("b__c", "a", "a__b"))
    assert HASHED.fullmatch(name("git__status", "", "git"))
    assert HASHED.fullmatch(name("_x", "a", "a_"))
    assert name("b_c", "a", "a__b") == "a__b_c"


def test_a_name_that_is_taken_is_hashed_and_a_hash_that_is_taken_is_hashed_again() -> None:
    namer = Namer("server", "git", (), LONGEST)
    first = namer.name("a", taken={"git__a"})
    assert HASHED.fullmatch(first)
    second = namer.name("a", taken={"git__a", first})
    assert HASHED.fullmatch(second)
    assert second not in ("git__a", first)


@given(prefixes, tools, st.one_of(st.none(), tools), st.lists(prefixes, max_size=3), st.integers(24, 64))
def test_every_name_is_of_the_right_characters_and_length(
    prefix: str, tool: str, wanted: str | None, others: list[str], longest: int
) -> None:
    given = name(tool, prefix, *others, wanted=wanted, longest=longest)
    assert PLAIN.fullmatch(given)
    assert len(given) <= longest


@pytest.mark.parametrize(("entry", "longest"), [("hub", 54), ("", 57), ("a" * 33, 24), ("a" * 60, 24)])
def test_the_budget_leaves_room_for_what_clients_put_before_a_name(entry: str, longest: int) -> None:
    assert budget(entry) == longest
    if longest > 24:
        assert len(f"mcp__{entry}__") + longest == LONGEST_TOTAL


@pytest.mark.parametrize(
    ("prefix", "cleaned"),
    [("git", "git"), ("a b.c/d", "a_b_c_d"), ("größe", "gr__e"), ("", ""), ("😀", "_"), ("a\n", "a_")],
)
def test_a_prefix_keeps_its_length_and_loses_what_names_may_not_have(prefix: str, cleaned: str) -> None:
    assert clean_prefix(prefix) == cleaned


# What they depend on


@given(prefixes, st.lists(prefixes, unique=True, max_size=4), tools)
def test_a_name_depends_on_nothing_but_the_prefixes_and_the_tool(prefix: str, others: list[str], tool: str) -> None:
    assert name(tool, prefix, *others) == name(tool, prefix, *reversed(others)) == name(tool, prefix, *others, *others)


def test_hashes_are_the_same_in_every_process() -> None:
    assert name("a.b") == "git__a_b_6ec392"


@given(prefixes, tools, tools)
def test_a_server_never_has_one_name_for_two_tools(prefix: str, one: str, other: str) -> None:
    if one != other:
        assert name(one, prefix) != name(other, prefix)


@given(st.lists(prefixes, min_size=2, max_size=4, unique=True), st.lists(tools, min_size=1, max_size=4))
@example(["a", "a__b", "a_"], ["b__c", "_b", "__b", "b", "_b__c"])
@example(["", "a", "_", "__"], ["a__b", "a___b", "___a", "b"])
@example(["a", "a__"], ["___b", "__b", "_b", "b"])
@example(["a" * 60, "a" * 61, "a" * 50], ["b", "a"])
@example(["", "tool"], ["", "tool", "tool__", "tool__x"])
def test_no_two_servers_share_a_name(prefixes: list[str], tools: list[str]) -> None:
    given = [{namer.name(tool) for tool in tools} for namer in namers(prefixes)]
    assert sum(map(len, given)) == len(set().union(*given))


@given(st.lists(prefixes, min_size=2, max_size=4, unique=True), st.lists(tools, min_size=1, max_size=6))
def test_a_name_stays_when_other_tools_come_and_go(prefixes: list[str], tools: list[str]) -> None:
    [namer, *_] = namers(prefixes)
    alone = {tool: namer.name(tool) for tool in tools}
    taken: set[str] = set()
    for tool in reversed(alone):
        assert namer.name(tool, taken=taken) == alone[tool]
        taken.add(alone[tool])


@given(st.lists(prefixes, min_size=2, max_size=4, unique=True), st.lists(tools, min_size=1, max_size=4))
def test_names_begin_with_their_own_prefix_and_with_no_longer_one_of_another_server(
    prefixes: list[str], tools: list[str]
) -> None:
    """So no server can claim a name that belongs to another, hashed or not, unless the prefix leaves no room."""
    roomy = [prefix for prefix in prefixes if len(prefix) < LONGEST - 10]
    heads = [f"{prefix}__" if prefix else "" for prefix in roomy]
    for namer, head in zip(namers(roomy), heads, strict=True):
        foreign = tuple(other for other in heads if len(other) > len(head))
        for tool in tools:
            assert namer.name(tool).startswith(head)
            assert not namer.name(tool).startswith(foreign)


# Names that were given stay


def configured(given: Given, longest: int = LONGEST, **prefixes: str) -> dict[str, Namer]:
    """The namers of a configuration with these servers, as the fleet makes them."""
    given.keep_only(prefixes)
    return {
        key: Namer(key, prefix, [other for one, other in prefixes.items() if one != key], longest, given)
        for key, prefix in prefixes.items()
    }


def test_a_name_stays_when_a_server_is_added_whose_name_it_could_be() -> None:
    given = Given()
    assert configured(given, a="a")["a"].name("b__t") == "a__b__t"
    for later in (given, saved(given)):
        both = configured(later, other="a__b", a="a")
        yielded = both["other"].name("t")
        assert HASHED.fullmatch(yielded)
        assert yielded.startswith("a__b__t_")
        assert both["a"].name("b__t") == "a__b__t"
        assert configured(later, a="a")["a"].name("b__t") == "a__b__t"


def saved(given: Given) -> Given:
    """The same names in the next session."""
    loaded = Given()
    for entry in given.listing():
        loaded.give(*entry)
    return loaded


def test_a_name_that_had_to_be_cut_stays_cut_when_the_reason_is_gone() -> None:
    given = Given()
    first = configured(given, a="a", other="a__b")["a"].name("b__t")
    assert HASHED.fullmatch(first)
    assert configured(given, a="a")["a"].name("b__t") == first


def test_a_name_stays_while_its_tool_is_not_listed() -> None:
    given = Given()
    configured(given, a="a")["a"].name("b__t")
    both = configured(given, a="a", other="a__b")
    assert both["other"].name("t") != "a__b__t", "it may come back"
    assert both["a"].name("b__t") == "a__b__t"


def test_the_user_s_own_name_wins_over_the_one_that_was_given() -> None:
    namer = configured(Given(), a="a")["a"]
    assert namer.name("read") == "a__read"
    assert namer.name("read", "look") == "a__look"
    assert namer.name("read", "look") == "a__look"
    assert namer.name("read") == "a__read"


def test_the_user_s_own_name_takes_that_of_another_tool_of_the_server() -> None:
    namer = configured(Given(), a="a")["a"]
    assert namer.name("write") == "a__write"
    assert namer.name("read", "write") == "a__write"
    yielded = namer.name("write", taken={"a__write"})
    assert HASHED.fullmatch(yielded)
    assert namer.name("write", taken={"a__read"}) == yielded


@pytest.mark.parametrize("prefix", ["b", "", "a__b"])
def test_another_prefix_gives_new_names(prefix: str) -> None:
    given = Given()
    configured(given, a="a")["a"].name("t")
    assert configured(given, a=prefix)["a"].name("t") == (f"{prefix}__t" if prefix else "t")
    assert configured(given, a="a")["a"].name("t") == "a__t"


def test_names_with_the_old_prefix_are_free_for_others() -> None:
    given = Given()
    configured(given, a="a")["a"].name("b__t")
    assert configured(given, a="z", other="a__b")["other"].name("t") == "a__b__t"


def test_a_name_that_two_servers_were_given_stays_with_the_first_one() -> None:
    """Two proxies gave it, each of which knew but one of the two."""
    given = Given()
    for server, own in (("a", "b__t"), ("other", "t")):
        given.give("tools", server, own, "a__b__t")
    both = configured(given, a="a", other="a__b")
    assert both["a"].name("b__t") == "a__b__t"
    assert HASHED.fullmatch(both["other"].name("t"))


def test_a_smaller_budget_gives_new_names_where_they_must_be_shorter() -> None:
    given = Given()
    long, short = "x" * 30, "x" * 10
    before = configured(given, a="a")["a"]
    assert (before.name(long), before.name(short)) == (f"a__{long}", f"a__{short}")
    after = configured(given, 24, a="a")["a"]
    assert HASHED.fullmatch(after.name(long))
    assert len(after.name(long)) == 24
    assert after.name(short) == f"a__{short}"


def test_a_server_that_is_configured_no_more_gives_up_its_names() -> None:
    given = Given()
    configured(given, a="a")["a"].name("b__t")
    assert configured(given, other="a__b")["other"].name("t") == "a__b__t"
    assert HASHED.fullmatch(configured(given, a="a", other="a__b")["a"].name("b__t"))


def test_a_prompt_may_be_called_as_a_tool_is() -> None:
    namers = configured(Given(), a="a", b="b")
    assert namers["a"].name("t", kind="tools") == namers["a"].name("t", kind="prompts") == "a__t"


def test_a_cut_name_that_another_server_was_given_is_cut_once_more() -> None:
    """A server without a prefix may list whatever it likes, and was there first."""
    given = Given()
    wanted = name("a.b")
    assert configured(given, bare="")["bare"].name(wanted) == wanted
    both = configured(given, bare="", server="git")
    assert both["server"].name("a.b") != wanted
    assert both["server"].name("a.b") == both["server"].name("a.b")
    assert both["bare"].name(wanted) == wanted


def test_only_names_that_are_new_count_as_changes() -> None:
    given = Given()
    namer = configured(given, a="a")["a"]
    for tool, changes in (("s", 1), ("t", 2), ("s", 2), ("t", 2)):
        namer.name(tool)
        assert given.changes == changes
    assert sorted(given.listing()) == [("tools", "a", "s", "a__s"), ("tools", "a", "t", "a__t")]


def test_namers_that_give_other_names_are_told_apart() -> None:
    given = Given()
    one = configured(given, a="a", b="b")["a"]
    assert one == configured(given, a="a", b="c")["a"]
    assert one != configured(given, a="a", b="a__b")["a"]
    assert one != configured(given, a="c", b="b")["a"]
    assert one != configured(given, 24, a="a", b="b")["a"]
    assert one != configured(saved(given), a="a", b="b")["a"]


class Step(msgspec.Struct, frozen=True):
    """A moment in the life of a proxy: servers with their prefixes, and what each of them lists (tool -> rename)."""

    prefixes: Mapping[str, str]
    listed: Mapping[str, Mapping[str, str | None]]
    restarts: bool = False

    def names(self, given: Given) -> dict[tuple[str, str], str]:
        """What each server's tools are called; what the user renamed chooses first."""
        found: dict[tuple[str, str], str] = {}
        for server, namer in configured(given, LONGEST, **self.prefixes).items():
            taken: set[str] = set()
            tools = self.listed.get(server, {})
            for tool in sorted(tools, key=lambda tool: tools[tool] is None):
                found[server, tool] = namer.name(tool, tools[tool], taken)
                taken.add(found[server, tool])
        return found


def lives(renames: st.SearchStrategy[str | None]) -> st.SearchStrategy[list[Step]]:
    keys = st.sampled_from("xyz")
    some_prefixes = st.one_of(st.sampled_from(("", "a", "b", "a__b", "a__", "a__b__a")), prefixes)
    some_tools = st.one_of(st.sampled_from(("a", "b", "b__a", "__a", "b__a__b", "a__b__a", "a.b")), tools)
    configurations = st.dictionaries(keys, some_prefixes, min_size=1).filter(
        lambda found: len(set(found.values())) == len(found)
    )
    listings = st.dictionaries(keys, st.dictionaries(some_tools, renames, max_size=4))
    return st.lists(st.builds(Step, configurations, listings, st.booleans()), min_size=2, max_size=5)


@settings(max_examples=100)
@given(lives(st.one_of(st.none(), st.sampled_from(("a", "b", "b__a")), tools)))
def test_whatever_was_given_before_no_two_tools_share_a_name(steps: list[Step]) -> None:
    given = Given()
    for step in steps:
        given = saved(given) if step.restarts else given
        found = step.names(given)
        assert len(set(found.values())) == len(found)
        assert all(PLAIN.fullmatch(one) and len(one) <= LONGEST for one in found.values())


@settings(max_examples=100)
@given(lives(st.none()))
@example(
    [Step({"x": "a"}, {"x": {"b__a": None}}), Step({"y": "a__b", "x": "a"}, {"x": {"b__a": None}, "y": {"a": None}})]
)
def test_a_name_stays_whatever_other_servers_and_tools_come_and_go(steps: list[Step]) -> None:
    given, called = Given(), dict[tuple[str, str], str]()
    before: Mapping[str, str] = {}
    for step in steps:
        given = saved(given) if step.restarts else given
        called = {key: one for key, one in called.items() if step.prefixes.get(key[0]) == before.get(key[0])}
        found = step.names(given)
        assert {key: found[key] for key in called if key in found} == {
            key: one for key, one in called.items() if key in found
        }
        called |= found
        before = step.prefixes
