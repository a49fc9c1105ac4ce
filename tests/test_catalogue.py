"""From listings to what clients see: only names change, texts lose what hides, rules are followed, owners are found."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proxy.catalogue import MEMBERS, Catalogue, Difference, Listing, Offering, Route, compile_listing, difference
from proxy.config.models import ToolRules
from proxy.definitions import KEYS
from proxy.names import Namer
from proxy.policy import ToolPolicy
from tests.support.json_texts import values
from tests.support.spans import elements, members

LONGEST = 57
SCHEMA = b'"inputSchema":{"type":"object"}'


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def compiled(*definitions: bytes, server: str = "git", **rules: Any) -> Listing:
    """These raw definitions, as they come out for clients."""
    namer = Namer(server, server, (), LONGEST)
    policy = ToolPolicy(msgspec.convert(rules, ToolRules))
    return compile_listing("tools", server, [Raw(definition) for definition in definitions], namer, policy)


def named(*tools: str, server: str = "git", **rules: Any) -> Listing:
    return compiled(*(tool_of(dump(tool)) for tool in tools), server=server, **rules)


def catalogue_of(*tools: Listing) -> Catalogue:
    """One of servers that list tools alone."""
    return Catalogue([Offering(listing.server, listing.server, {"tools": listing}) for listing in tools])


def tool_of(name: bytes, more: bytes = b"") -> bytes:
    """A definition; `name` and `more` members are raw."""
    return b'{"name":' + name + more + b"," + SCHEMA + b"}"


def publics(tools: Listing) -> list[str]:
    return [route.public for route in tools.routes]


# What is taken from a listing


def test_a_tool_is_listed_under_its_public_name_and_called_by_its_own() -> None:
    tools = compiled(tool_of(rb'"b\u0061d.n\u00e4me"', b',"description":"Does it."'))
    [route] = tools.routes
    assert route.public.startswith("git__bad_n_me_")
    assert (route.server, route.own, route.raw) == ("git", "bad.näme", rb'"b\u0061d.n\u00e4me"')
    assert route.description == "Does it."
    assert json.loads(tools.definitions[0])["name"] == route.public


def test_a_name_loses_what_hides_and_still_finds_its_tool() -> None:
    [route] = compiled(tool_of(rb'"re\u202ead"')).routes
    assert route.public.startswith("git__re_ad_")
    assert route.raw == rb'"re\u202ead"'


def test_a_definition_that_clients_could_not_read_is_left_out_and_told() -> None:
    tools = compiled(b'{"name":"a","inputSchema":[]}', tool_of(b'"b"'))
    assert publics(tools) == ["git__b"]
    assert ["'a'" in sentence for sentence in tools.odd] == [True]


def test_a_rule_for_a_tool_that_is_left_out_is_no_slip_of_the_users() -> None:
    tools = compiled(b'{"name":"a","inputSchema":[]}', rename={"a": "b"})
    assert len(tools.odd) == 1


@pytest.mark.parametrize(
    "item", [b"7", b"null", b'"a"', b"[]", b"{}", b'{"name":7}', b'{"name":null}', b'{"Name":"a"}']
)
def test_an_item_without_a_name_is_left_out_and_told(item: bytes) -> None:
    tools = compiled(item, tool_of(b'"a"'))
    assert publics(tools) == ["git__a"]
    assert len(tools.odd) == 1


@settings(max_examples=40)
@given(st.lists(values(), max_size=5))
def test_no_listing_is_too_odd(items: list[bytes]) -> None:
    tools = compiled(*items, describe={"a": "\ud800"}, rename={"a": "\ud800"})
    assert len(tools.routes) == len(tools.definitions)
    for definition in tools.definitions:
        members(definition)


def test_a_tool_that_is_listed_twice_counts_once() -> None:
    tools = compiled(tool_of(b'"a"', b',"x":1'), tool_of(b'"b"'), tool_of(rb'"\u0061"', b',"x":2'))
    assert publics(tools) == ["git__a", "git__b"]
    assert tools.definitions[0] == tool_of(b'"git__a"', b',"x":1')
    assert ["'a'" in sentence for sentence in tools.odd] == [True]


# Rules


def test_tools_that_are_not_shown_are_not_there_at_all() -> None:
    tools = named("read", "write", "delete", allow=["read", "write"], deny=["w*"])
    assert publics(tools) == ["git__read"]
    assert tools.odd == ()


def test_a_tool_is_shown_under_the_users_name_and_called_by_its_own() -> None:
    tools = named("read", "write", rename={"read": "look"})
    assert [(route.public, route.own, route.raw) for route in tools.routes] == [
        ("git__look", "read", b'"read"'),
        ("git__write", "write", b'"write"'),
    ]


def test_a_tool_has_the_users_description() -> None:
    tools = compiled(tool_of(b'"a"', b',"description":"x"'), tool_of(b'"b"'), describe={"a": 'so "to" say', "b": ""})
    assert tools.definitions[0] == tool_of(b'"git__a"', b',"description":"so \\"to\\" say"')
    assert json.loads(tools.definitions[1])["description"] == ""
    assert [route.description for route in tools.routes] == ['so "to" say', ""]


def test_a_rule_for_a_tool_that_is_not_there_is_told() -> None:
    odd = named("read", "hidden", deny=["hidden"], rename={"reed": "x"}, describe={"hidden": "x", "gone": "x"}).odd
    assert [any(name in sentence for sentence in odd) for name in ("'reed'", "'gone'")] == [True, True]
    assert len(odd) == 2


@pytest.mark.parametrize("tools", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
def test_the_order_of_a_listing_decides_no_name(tools: tuple[str, ...]) -> None:
    found = {route.own: route.public for route in named(*tools, rename={"a": "b", "b": "x y"}).routes}
    assert found["a"] == "git__b"
    assert found["b"].startswith("git__x_y_")
    assert found["c"] == "git__c"
    renamed = {route.own: route.public for route in named(*tools, rename={"a": "b"}).routes}
    assert renamed["a"] == "git__b"
    assert renamed["b"].startswith("git__b_")


def test_a_listing_keeps_the_servers_order() -> None:
    assert [route.own for route in named("c", "a", "b", rename={"b": "z"}).routes] == ["c", "a", "b"]


def test_no_two_tools_of_a_server_share_a_name_even_if_one_means_to() -> None:
    [hashed] = publics(named("x!"))
    for tools in (("x!", hashed.removeprefix("git__")), (hashed.removeprefix("git__"), "x!")):
        assert len(set(publics(named(*tools)))) == 2


# Snapshots


def test_the_list_is_json_in_the_order_of_the_configuration() -> None:
    catalogue = catalogue_of(named("b", "a"), Listing("none"), named("now", server="time"))
    listed = members(catalogue.sheet("tools").whole)
    assert listed.keys() == {"tools"}
    assert [json.loads(tool)["name"] for tool in elements(listed["tools"])] == ["git__b", "git__a", "time__now"]
    assert [route.public for route in catalogue.routes()] == ["git__b", "git__a", "time__now"]


def test_an_empty_catalogue_is_an_empty_list() -> None:
    assert Catalogue().sheet("tools").whole == b'{"tools":[]}'
    assert Catalogue().routes() == ()
    assert Catalogue().nearest("tools", "a") == []


@pytest.mark.parametrize(
    "raw",
    [b'"git__status"', rb'"git__\u0073tatus"', rb'"\u0067\u0069\u0074__status"'],
)
def test_a_name_is_found_however_it_is_written(raw: bytes) -> None:
    route = catalogue_of(named("status")).resolve("tools", Raw(raw))
    assert route is not None
    assert (route.server, route.own) == ("git", "status")


@pytest.mark.parametrize(
    "raw",
    [
        b'"status"',
        b'"git__Status"',
        b'"git__status "',
        b"git__status",
        b'""',
        b"null",
        rb'"\ud800"',
        rb'"git__status\n"',
        b'"\\"',
        '"größe"'.encode(),
        rb'"\u"',
    ],
)
def test_another_name_is_not_found(raw: bytes) -> None:
    assert catalogue_of(named("status")).resolve("tools", raw) is None


def test_of_two_servers_that_claim_a_name_the_first_keeps_it() -> None:
    one = Listing("one", (Route("x", "one", "a", b'"a"'),), (b'{"name":"x","from":1}',))
    two = Listing("two", (Route("x", "two", "b", b'"b"'),), (b'{"name":"x","from":2}',))
    catalogue = catalogue_of(one, two)
    assert catalogue.sheet("tools").whole == b'{"tools":[{"name":"x","from":1}]}'
    route = catalogue.resolve("tools", b'"x"')
    assert route is not None
    assert route.server == "one"


def test_a_server_that_goes_leaves_the_others_where_they_are() -> None:
    git, time = named("status"), named("now", server="time")
    both, one = catalogue_of(git, time), catalogue_of(Listing("git"), time)
    assert one.resolve("tools", b'"git__status"') is None
    assert one.resolve("tools", b'"time__now"') == both.resolve("tools", b'"time__now"')


# Suggestions


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("git__statsu", ["git__status"]),
        ("status", ["git__status"]),
        ("now", ["time__now", "other__now"]),
        ("zzz", []),
        ("", []),
        ("\ud800", []),
    ],
)
def test_the_nearest_names_are_suggested(name: str, nearest: list[str]) -> None:
    catalogue = catalogue_of(named("status"), named("now", server="time"), named("now", server="other"))
    assert catalogue.nearest("tools", name)[: len(nearest) or None] == nearest


def test_at_most_three_names_are_suggested() -> None:
    catalogue = catalogue_of(*(named("get", server=server) for server in ("a", "b", "c", "d")))
    assert catalogue.nearest("tools", "get") == ["a__get", "b__get", "c__get"]


# Differences


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], [], Difference(0, 0, 0)),
        (["a"], ["a"], Difference(0, 0, 0)),
        (["a", "b"], ["b", "a"], Difference(0, 0, 0)),
        ([], ["a", "b"], Difference(2, 0, 0)),
        (["a", "b"], ["b", "c"], Difference(1, 1, 0)),
    ],
)
def test_tools_that_came_and_went_are_counted(old: list[str], new: list[str], expected: Difference) -> None:
    found = difference(named(*old), named(*new))
    assert found == expected
    assert bool(found) is (expected.added + expected.removed > 0)


def test_a_definition_that_changed_is_counted() -> None:
    old = compiled(tool_of(b'"a"', b',"x":1'), tool_of(b'"b"'))
    new = compiled(tool_of(b'"b"'), tool_of(b'"a"', b',"x":2'))
    found = difference(old, new)
    assert found == Difference(0, 0, 1)
    assert found


# Resources, templates and prompts


def listing(kind: str, server: str, *owns: str, more: bytes = b"") -> Listing:
    """These keys of a kind, each with further raw members."""
    start = b"{" if kind == "prompts" else b'{"name":"n",'
    items = [Raw(start + dump(KEYS[kind]) + b":" + dump(own) + more + b"}") for own in owns]
    return compile_listing(kind, server, items, Namer(server, server, (), LONGEST), ToolPolicy(ToolRules()))


def of_servers(*servers: str, tags: dict[str, str] | None = None, **kinds: Any) -> Catalogue:
    """One of servers that all list the same."""
    return Catalogue(
        Offering(
            server,
            (tags or {}).get(server, server),
            {kind: listing(kind, server, *owns) for kind, owns in kinds.items()},
        )
        for server in servers
    )


def keys(catalogue: Catalogue, kind: str) -> list[str]:
    """What a client sees of a kind."""
    [entries] = json.loads(catalogue.sheet(kind).whole).values()
    return [entry[KEYS[kind]] for entry in entries]


@pytest.mark.parametrize("kind", ["resources", "templates"])
def test_a_uri_is_listed_as_it_is_with_its_definition_byte_for_byte(kind: str) -> None:
    found = listing(kind, "git", "test://x", more=b',"x":1e400,"annotations":{"priority":0.50}')
    assert found.definitions == (
        b'{"name":"n",%b:"test://x","x":1e400,"annotations":{"priority":0.50}}' % dump(KEYS[kind]),
    )
    assert found.odd == ()


def test_prompts_are_named_as_tools_are() -> None:
    found = listing("prompts", "git", "review", "bad name")
    plain, hashed = publics(found)
    assert plain == "git__review"
    assert hashed.startswith("git__bad_name_")
    assert [route.own for route in found.routes] == ["review", "bad name"]


def test_the_rules_for_tools_do_not_concern_what_else_is_listed() -> None:
    rules = ToolPolicy(ToolRules(allow=("other",), rename={"x": "y"}))
    for kind in ("prompts", "resources", "templates"):
        item = Raw(b'{"name":"x","uri":"x:y","uriTemplate":"x:{y}"}')
        found = compile_listing(kind, "git", [item], Namer("git", "git", (), LONGEST), rules)
        assert [route.public for route in found.routes] == [
            {"prompts": "git__x", "resources": "x:y", "templates": "x:{y}"}[kind]
        ]


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("resources", "test://x"),
        ("resources", "file:///a/b"),
        ("templates", "test://{a}"),
        ("templates", "test://x{?q}"),
        ("templates", "test://x{/a*}{#f}"),
        ("templates", "test://x{;a,b}{&c}"),
        ("templates", "{+uri}"),
        ("templates", "test://{malformed"),
    ],
)
def test_of_servers_that_claim_one_uri_all_stay_reachable(kind: str, own: str) -> None:
    claimed: dict[str, Any] = {kind: [own]}
    catalogue = of_servers("a", "b", "c", **claimed)
    found = keys(catalogue, kind)
    assert found[0] == own
    assert len(set(found)) == 3
    routes = [catalogue.resolve(kind, dump(key)) for key in found]
    assert [(route.server, route.own, route.raw) for route in routes if route] == [
        (server, own, dump(own)) for server in "abc"
    ]
    assert [(one.kind, one.server, one.own, one.public, one.first) for one in catalogue.derived] == [
        (kind, server, own, public, "a") for server, public in zip("bc", found[1:], strict=True)
    ]


def test_a_server_that_has_other_uris_keeps_them_all() -> None:
    a, b = listing("resources", "a", "test://x"), listing("resources", "b", "test://x", "test://y")
    catalogue = Catalogue(Offering(one.server, one.server, {"resources": one}) for one in (a, b))
    assert keys(catalogue, "resources") == ["test://x", "test://~b/x", "test://y"]
    assert [route.server for route in catalogue.owners("test://y")] == ["b"]


def test_who_comes_first_in_the_configuration_keeps_the_uri() -> None:
    assert [one.server for one in of_servers("a", "b", resources=["test://x"]).derived] == ["b"]
    assert [one.server for one in of_servers("b", "a", resources=["test://x"]).derived] == ["a"]


@pytest.mark.parametrize("tags", [{"a": "T", "b": "t", "c": "t-"}, {"a": "", "b": "", "c": ""}])
def test_servers_whose_tags_look_alike_are_told_apart(tags: dict[str, str]) -> None:
    catalogue = of_servers("z", "a", "b", "c", tags=tags, resources=["test://x"])
    found = keys(catalogue, "resources")
    assert len({key.lower() for key in found}) == 4
    assert [[route.server for route in catalogue.owners(key)] for key in found] == [["z"], ["a"], ["b"], ["c"]]
    below = [catalogue.owners(key.replace("/x", "/y")) for key in found[1:]]
    assert [[(route.server, route.own) for route in routes] for routes in below] == [
        [(server, "test://y")] for server in "abc"
    ]


def test_a_resource_without_a_scheme_gets_one_that_leads_back() -> None:
    catalogue = of_servers("a", resources=["notes.txt"])
    [public] = keys(catalogue, "resources")
    assert public.startswith("mcp-manifold://")
    assert [(route.server, route.raw) for route in catalogue.owners(public)] == [("a", b'"notes.txt"')]
    assert [one.first for one in catalogue.derived] == ["a"]


def test_a_resource_and_a_template_of_one_text_are_no_rivals() -> None:
    a, b = listing("resources", "a", "test://x"), listing("templates", "b", "test://x")
    assert Catalogue([Offering("a", "a", {"resources": a}), Offering("b", "b", {"templates": b})]).derived == []


def test_what_a_server_knows_otherwise_is_renamed_and_nothing_else() -> None:
    catalogue = of_servers("a", "b", resources=["test://x"], templates=["test://t/{id}"])
    public = catalogue.aliases["b"].public
    assert [public(uri) for uri in ("test://x", "test://t/7", "test://t/{id}", "test://t/a/b", "test://y")] == [
        "test://~b/x",
        "test://~b/t/7",
        "test://~b/t/{id}",
        "test://t/a/b",
        "test://y",
    ]
    assert catalogue.aliases.keys() == {"b"}


@pytest.mark.parametrize(
    ("uri", "servers"),
    [
        ("test://x", ["b"]),
        ("test://t/1", ["a", "b"]),
        ("test://t/x/y", []),
        ("test://nothing", []),
        ("", []),
        ("\ud800", []),
        ("test://~b/x", []),
    ],
)
def test_the_owners_of_a_uri_are_who_lists_it_or_whose_template_fits(uri: str, servers: list[str]) -> None:
    a, b = (
        {"templates": listing("templates", "a", "test://t/{id}")},
        {
            "resources": listing("resources", "b", "test://x"),
            "templates": listing("templates", "b", "test://{kind}/1", "test://t/{id:3}"),
        },
    )
    catalogue = Catalogue([Offering("a", "a", a), Offering("b", "b", b)])
    assert [route.server for route in catalogue.owners(uri)] == servers


APP = b',"_meta":{"ui":{"resourceUri":"ui://app"},"ui/resourceUri":"ui://app","x":1.0}'


def test_the_app_of_a_tool_is_found_though_nobody_lists_it_and_told_apart_where_two_have_it() -> None:
    tools = [compiled(tool_of(b'"show"', APP), server=server) for server in ("a", "b")]
    catalogue = catalogue_of(*tools)
    assert keys(catalogue, "resources") == []
    assert [found.definitions for found in tools] != [], "listings stay as they are"
    listed = elements(members(catalogue.sheet("tools").whole)["tools"])
    assert listed[0] == tool_of(b'"a__show"', APP)
    assert listed[1] == tool_of(b'"b__show"', APP.replace(b"ui://", b"ui://~b/"))
    for uri, server in (("ui://app", "a"), ("ui://~b/app", "b")):
        assert [(route.server, route.own) for route in catalogue.owners(uri)] == [(server, "ui://app")]


@pytest.mark.parametrize("kind", ["prompts", "resources", "templates"])
def test_what_else_is_listed_differs_as_tools_do(kind: str) -> None:
    old, new = listing(kind, "a", "x:a", "x:b"), listing(kind, "a", "x:b", "x:c")
    assert difference(old, new) == Difference(1, 1, 0)
    assert difference(old, listing(kind, "a", "x:a", "x:b", more=b',"new":1')) == Difference(0, 0, 2)
    one, other = (Catalogue([Offering("a", "a", {kind: found})]) for found in (old, new))
    assert one.sheet(kind).differs(other.sheet(kind))
    assert not one.sheet(kind).differs(Catalogue([Offering("a", "a", {kind: old})]).sheet(kind))
    assert not one.sheet("tools").differs(other.sheet("tools"))


@settings(max_examples=40)
@given(st.sampled_from(["prompts", "resources", "templates"]), st.lists(values(), max_size=5))
def test_no_listing_of_any_kind_is_too_odd(kind: str, items: list[bytes]) -> None:
    namer, policy = Namer("a", "a", (), LONGEST), ToolPolicy(ToolRules())
    whole = [b'{"name":%b,"uri":%b,"uriTemplate":%b}' % (item, item, item) for item in items]
    for server in ("a", "b"):
        compile_listing(kind, server, [Raw(item) for item in items], namer, policy)
    found = [compile_listing(kind, server, [Raw(item) for item in whole], namer, policy) for server in ("a", "b")]
    catalogue = Catalogue(Offering(one.server, one.server, {kind: one}) for one in found)
    for route in catalogue.routes(kind):
        assert catalogue.owners(route.public) is not None
    for element in elements(members(catalogue.sheet(kind).whole)[MEMBERS[kind]]):
        members(element)
