"""Derived URIs lead back to what they were made of, and templates know their expansions."""

import re
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from proxy.uris import LONGEST, LONGEST_TEMPLATE, MOST_STEPS, Template, derive, restore

tags = st.text(alphabet=string.ascii_letters + string.digits + "_-", max_size=8)
uris = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"\A(?:[a-z]{1,4}|mcp-manifold):/{0,3}[~a-z/:{}]{0,8}\Z"),
)
names = st.sampled_from(("a", "b.c", "d_1"))
expressions = st.builds(
    lambda operator, chosen: f"{{{operator}{','.join(chosen)}}}",
    st.sampled_from(("", *"+#./;?&")),
    st.lists(st.builds("{}{}".format, names, st.sampled_from(("", "", "*"))), min_size=1, max_size=3, unique=True),
)
literals = st.sampled_from(
    ("test://", "/", "x", "a/b", "~b/", ".", "?q=", "#", "mcp-manifold://", "mailto:", "%20", ",")
)
# Beginnings without a plain scheme, with one, and ones that a variable completes to one.
templates = st.lists(st.one_of(literals, expressions), max_size=5).map("".join)
values = st.dictionaries(
    st.sampled_from(("a", "b.c", "d_1")),
    st.one_of(st.text(alphabet="xé /?#,.;=&~%", max_size=6), st.lists(st.text(alphabet="x/,", max_size=3), max_size=3)),
)


def expanded(template: str, variables: dict[str, str | list[str]]) -> str:
    """What the official SDK makes of a template; the example is given up where it refuses to read one."""
    try:
        return UriTemplate.parse(template).expand(variables)
    except InvalidUriTemplate:
        assume(False)
        raise


# Derived URIs


@pytest.mark.parametrize(
    ("own", "derived"),
    [
        ("test://static/{id}", "test://~b/static/{id}"),
        ("ui://x/y", "ui://~b/x/y"),
        ("mailto:x", "mailto:~b/x"),
        ("file:///a", "file:///~b/a"),
        ("http://h?q#f", "http://~b/h?q#f"),
        ("{+uri}", "mcp-manifold://~b/{+uri}"),
        ("{scheme}://x", "mcp-manifold://~b/{scheme}://x"),
        ("notes", "mcp-manifold://~b/notes"),
        ("", "mcp-manifold://~b/"),
        ("mcp-manifold://notes", "mcp-manifold://~b/mcp-manifold://notes"),
    ],
)
def test_a_derived_uri_names_its_server_behind_the_scheme(own: str, derived: str) -> None:
    assert derive(own, "b") == derived
    assert restore(derived) == ("b", own)


@given(uris, tags)
@example("mcp-manifold://x", "b")
@example("mcp-manifold:x", "")
@example("test:\n", "b")
def test_restoring_is_the_inverse_of_deriving(uri: str, tag: str) -> None:
    assert restore(derive(uri, tag)) == (tag, uri)


@given(uris, tags, tags)
def test_a_uri_derived_twice_is_restored_in_two_steps(uri: str, first: str, second: str) -> None:
    assert restore(derive(derive(uri, first), second)) == (second, derive(uri, first))


@given(uris, tags, tags)
def test_no_two_servers_and_uris_share_a_derived_form(uri: str, one: str, other: str) -> None:
    assert (derive(uri, one) == derive(uri, other)) == (one == other)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "x",
        "~b/x",
        "test://x",
        "test://x/~b/y",
        "http://h/~b/",
        "test://~b",
        "test:////~b/x",
        "test://~b.c/x",
        "/~b/",
    ],
)
def test_a_uri_of_another_form_is_not_derived(uri: str) -> None:
    assert restore(uri) is None


@given(templates, tags, values)
@example("test:{+a}", "b", {"a": "//x"})
@example("test:/{+a}", "b", {"a": "/x"})
@example("test:{/a*}", "b", {"a": ["", "x"]})
@example("{+a}", "b", {"a": "mcp-manifold://x"})
@example("mcp-manifold:{+a}", "b", {"a": "//x"})
def test_an_expansion_of_a_derived_template_restores_to_the_expansion_of_the_own_one(
    template: str, tag: str, variables: dict[str, str | list[str]]
) -> None:
    assert restore(expanded(derive(template, tag), variables)) == (tag, expanded(template, variables))


# Templates


@given(templates, values)
def test_a_template_matches_its_expansions(template: str, variables: dict[str, str | list[str]]) -> None:
    # Literal characters that no URI has are escaped in an expansion: another sort of literal, and not used here.
    assert Template(template).matches(expanded(template, variables))


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("t://a", ["t://a"], ["t://", "t://ab", "t://a/", "T://a"]),
        ("", [""], ["a"]),
        ("t://{id}", ["t://1", "t://", "t://a%2Fb,c;é~"], ["t://1/2", "t://1?q", "t://1#f", "u://1", "t:/", "t://\n/"]),
        ("t://{id}/data", ["t://1/data", "t:///data"], ["t://1/2/data", "t://1/data/", "t://1/dat"]),
        ("t://{a}-{b}", ["t://1-2", "t://-", "t://1-2-3"], ["t://12", "t://1-/2"]),
        ("t://{a,b}", ["t://1,2", "t://1"], ["t://1/2"]),
        ("{+uri}", ["", "t://a/b?c#d", "é\n"], []),
        ("t://{+path}", ["t://", "t://a/b?c#d"], ["t:/", "u://a"]),
        ("t://{+path}/end", ["t://a/b/end", "t:///end", "t://end/end"], ["t://end", "t://a/end/"]),
        ("t://a{#part}", ["t://a", "t://a#", "t://a#b/c?d"], ["t://ab", "t://a/#b"]),
        ("t://a{/x}", ["t://a", "t://a/", "t://a/b"], ["t://ab", "t://a/b/c", "t://a/b?c"]),
        ("t://a{/x,y}", ["t://a", "t://a/b", "t://a/b/c"], ["t://a/b/c/d"]),
        ("t://a{/x*}", ["t://a", "t://a/b", "t://a/b/c/d"], ["t://ab", "t://a/b?c"]),
        ("t://a{/x,y*}/z", ["t://a/z", "t://a/b/c/d/z"], ["t://az", "t://a/b"]),
        ("t://a{.x}", ["t://a", "t://a.b", "t://a.b.c"], ["t://ab", "t://a.b/c"]),
        ("t://a{;x,y}", ["t://a", "t://a;x=1;y", "t://a;y=2"], ["t://ab", "t://a;x=1/2"]),
        ("t://a{?x,y}", ["t://a", "t://a?x=1&y=2", "t://a?y=/", "t://a?"], ["t://a&x=1", "t://a?x=1#f", "t://ab?x=1"]),
        ("t://a?f=1{&x}", ["t://a?f=1", "t://a?f=1&x=2"], ["t://a?f=12", "t://a?x=2", "t://a?f=1#f"]),
        ("t://{x:3}", ["t://abc", "t://a"], ["t://a/b"]),
        ("t://{user-id}/{ a b }", ["t://1/2"], ["t://1"]),
        ("t://é{x}", ["t://é1"], ["t://e1"]),
    ],
)
def test_each_sort_of_expression_matches_what_it_can_become(
    template: str, matching: list[str], others: list[str]
) -> None:
    found = Template(template)
    assert found.text == template
    assert [uri for uri in matching if not found.matches(uri)] == []
    assert [uri for uri in others if found.matches(uri)] == []


_AS_PATTERNS = {"{a}": "[^/?#]*", "{+a}": ".*", "{/a}": "(?:/[^/?#]*)?", "{?a}": r"(?:\?[^#]*)?", "{#a}": "(?:#.*)?"}


@given(st.lists(st.sampled_from(("a", "/", "?", "#", "aa", *_AS_PATTERNS)), max_size=6), st.text("a/?#b", max_size=8))
@example(["{+a}", "a", "{a}", "b"], "aba/bb")
def test_matching_agrees_with_a_search_of_all_ways(pieces: list[str], uri: str) -> None:
    pattern = "".join(_AS_PATTERNS.get(piece, re.escape(piece)) for piece in pieces)
    assert Template("".join(pieces)).matches(uri) == bool(re.fullmatch(pattern, uri, re.DOTALL))


@pytest.mark.parametrize(
    "text",
    ["t://{a", "t://a}", "t://{}", "t://{{a}}", "t://{=a}", "t://{a,}", "t://{+}", "t://{a*b}", "t://{a:x}", "{"],
)
def test_a_malformed_template_matches_itself_alone(text: str) -> None:
    assert Template(text).matches(text)
    assert not Template(text).matches("t://a")
    assert not Template(text).matches("")


@given(st.text(alphabet="{}+#./;?&=a,*:1~", max_size=20), st.text(max_size=10))
def test_no_template_raises(text: str, uri: str) -> None:
    assert Template(text).matches(uri) in (True, False)


@pytest.mark.parametrize(
    ("piece", "often"),
    [("{+a}", 250), ("{+a}{b}", 30), ("{+a}x", 30), ("{a}x{/b*}", 20), ("{?a}{+b}", 30), ("{/a,b,c}", 20)],
)
def test_a_hostile_template_is_answered_like_any_other(piece: str, often: int) -> None:
    # Trying the ways one after the other would take longer than anybody lives.
    assert not Template(f"t://{piece * often}!").matches("t://" + "x" * (LONGEST - 4))
    assert Template(f"t://{{+a}}{piece * often}").matches("t://" + "x" * (LONGEST - 4))


@pytest.mark.parametrize("text", ["t://" + "{a}x" * MOST_STEPS, "t://{a}" + "x" * LONGEST_TEMPLATE])
def test_a_template_that_nobody_would_write_matches_itself_alone(text: str) -> None:
    assert Template(text).matches(text)
    assert not Template(text).matches(text.replace("{a}", "y"))


def test_a_uri_too_long_to_be_looked_at_matches_by_the_text_before_the_first_expression() -> None:
    long = "t://" + "/" * LONGEST
    assert Template("t://{id}").matches(long)
    assert not Template("u://{id}").matches(long)
    assert not Template("{+uri}").matches(long)
    assert Template(long).matches(long)


def test_a_template_too_long_to_be_looked_at_matches_itself_alone() -> None:
    long = "t://" + "{+a}" * LONGEST
    assert Template(long).matches(long)
    assert not Template(long).matches("t://a")
