"""Listings of servers as they are kept: unchanged, for one server and one kind of client each, without any secret."""

import base64
import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proxy.catalogue import KINDS
from proxy.config.models import Server, ServerEntry, ToolRules
from proxy.eras.handshake import LATEST, REVISIONS, Offer, ServerHello
from proxy.store import files, listings
from proxy.store.listings import Listings, Memory, identity
from proxy.wire import MAX_DEPTH
from tests.support import json_texts

PLAIN = Offer(LATEST, b"{}")
ABLE = Offer(LATEST, b'{"sampling":{},"roots":{"listChanged":true}}')
HELLO = ServerHello(LATEST, {"tools": b'{"listChanged":true}'}, "git-mcp", "1.2", "Commit often.")
SECRET = "hunter2-hunter2"


def server(key: str = "git", **entry: Any) -> Server:
    return Server(key, entry.pop("prefix", key), ServerEntry(**({"command": "git-mcp"} | entry)))


def memory(*tools: bytes, offer: Offer = PLAIN, saved: float = 1000.5, hello: ServerHello = HELLO) -> Memory:
    return Memory(hello, {"tools": [Raw(tool) for tool in tools]}, offer, saved)


def tools_of(found: Memory | None) -> list[bytes]:
    assert found is not None
    return [bytes(item) for item in found.listings["tools"]]


def stored(state: Path) -> list[Path]:
    return [path for path in (state / "listings").iterdir() if not path.name.startswith(".")]


# What is kept


objects = st.lists(st.tuples(json_texts.strings(), json_texts.values()), max_size=3).map(json_texts.object_)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
declared = st.dictionaries(words, json_texts.values(), max_size=3)


@settings(max_examples=25)
@given(
    st.dictionaries(st.sampled_from(KINDS), st.lists(json_texts.values(), max_size=4)),
    st.builds(ServerHello, st.sampled_from(REVISIONS), declared, words, words, words),
    st.builds(Offer, st.sampled_from(REVISIONS), objects),
    st.floats(0, 1e11),
)
@example({"tools": [b'{"name":"a"}\n', b'{"n":1e400,"n":' + b"9" * 400 + b"}"]}, HELLO, PLAIN, 0.0)
@example({"tools": [b"[" * MAX_DEPTH + b"]" * MAX_DEPTH]}, HELLO, PLAIN, 0.0)
def test_what_was_kept_comes_back_byte_for_byte(
    found: dict[str, list[bytes]], hello: ServerHello, offer: Offer, saved: float
) -> None:
    with TemporaryDirectory() as directory:
        kept = Memory(hello, {kind: [Raw(item) for item in items] for kind, items in found.items()}, offer, saved)
        Listings(Path(directory), {}).keep(server(), kept)
        recalled = Listings(Path(directory), {}).recall(server(), offer)
    assert recalled is not None
    assert {kind: [bytes(item) for item in items] for kind, items in recalled.listings.items()} == found
    assert (recalled.hello, recalled.offer, recalled.saved) == (hello, offer, saved)


def test_half_a_character_in_the_name_of_a_capability_costs_nothing_else(tmp_path: Path) -> None:
    halves = [chr(0xD800), chr(0xDFFF)]
    odd = ServerHello(LATEST, {halves[0]: b"1", "tools": b"{}", halves[1]: b"22"}, "n", "v", "")
    shelf = Listings(tmp_path, {})
    shelf.keep(server(), memory(b'{"name":"x"}', hello=odd))
    found = shelf.recall(server(), PLAIN)
    assert tools_of(found) == [b'{"name":"x"}']
    assert found is not None
    assert found.hello.capabilities["tools"] == b"{}"


def test_what_was_kept_last_takes_the_place_of_all_before(tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    shelf.keep(server(), Memory(HELLO, {"tools": [Raw(b"1")], "prompts": [Raw(b"2")]}, PLAIN, 1.0))
    shelf.keep(server(), memory(b"3", saved=2.0))
    found = shelf.recall(server(), PLAIN)
    assert tools_of(found) == [b"3"]
    assert found is not None
    assert (list(found.listings), found.saved) == (["tools"], 2.0)
    assert len(stored(tmp_path)) == 1


def test_nothing_is_known_of_a_server_that_was_never_listed(tmp_path: Path) -> None:
    shelf = Listings(tmp_path / "state", {})
    assert shelf.recall(server(), PLAIN) is None
    assert not shelf.knows(server())
    assert shelf.all(server()) == []
    assert shelf.forget() == 0
    assert not (tmp_path / "state").exists(), "looking makes nothing"


# For which server


OTHER: dict[str, tuple[Any, Any]] = {
    "command": ("a", "b"),
    "args": (("a b",), ("a", "b")),
    "env": ({"A": "1"}, {"A": "2"}),
    "cwd": ("/a", "/b"),
    "url": ("https://a/mcp", "https://b/mcp"),
    "headers": ({"A": "1"}, {"A": "2"}),
    "type": ("http", "sse"),
}
"""What makes a server what it is, and two values of each."""

RULES: dict[str, Any] = {
    "enabled": False,
    "prefix": "other",
    "call_timeout": 7.0,
    "start_timeout": 7.0,
    "call_maximum": 7.0,
    "ask_timeout": 7.0,
    "max_running": 7,
    "max_queued": 7,
    "trust_hints": True,
    "start": "eager",
    "idle_stop": 7.0,
    "tools": ToolRules(deny=("x",)),
}
"""What the user wants of it."""


def of(**entry: Any) -> Server:
    """A server of which only these are known."""
    return Server("git", "git", ServerEntry(**entry))


def test_each_field_of_an_entry_is_one_or_the_other() -> None:
    assert set(ServerEntry.__struct_fields__) == {*OTHER, *RULES, "inherit_env"}


@pytest.mark.parametrize("field", OTHER)
def test_another_command_address_or_credential_is_another_server(field: str) -> None:
    rest = {"url": "https://a/mcp"} if field in ("headers", "type") else {}
    one, other = (identity(of(**rest, **{field: value}), {}) for value in OTHER[field])
    assert one != other
    assert identity(of(**rest), {}) not in (one, other) or field == "type"


@pytest.mark.parametrize("field", RULES)
def test_what_the_user_wants_of_it_makes_it_no_other_server(field: str) -> None:
    assert identity(of(command="x", **{field: RULES[field]}), {}) == identity(of(command="x"), {})


def test_its_key_and_prefix_make_it_no_other_server() -> None:
    entry = ServerEntry(command="x")
    assert identity(Server("a", "b", entry), {}) == identity(Server("c", "d", entry, expanded=frozenset({"e"})), {})


def test_the_order_of_variables_and_headers_makes_it_no_other_server() -> None:
    one, other = {"A": "1", "B": "2"}, {"B": "2", "A": "1"}
    assert identity(of(command="x", env=one), {}) == identity(of(command="x", env=other), {})
    assert identity(of(url="x", headers=one), {}) == identity(of(url="x", headers=other), {})
    inheriting = [of(command="x", inherit_env=names) for names in (("A", "B"), ("B", "A"))]
    assert identity(inheriting[0], one) == identity(inheriting[1], one)


def test_the_value_of_a_variable_that_it_inherits_makes_it_another_server() -> None:
    inheriting = of(command="x", inherit_env=("TOKEN",))
    found = {identity(inheriting, environ) for environ in ({"TOKEN": "1"}, {"TOKEN": "2"}, {"TOKEN": ""}, {})}
    assert len(found) == 4
    assert identity(inheriting, {"TOKEN": "1", "OTHER": "1"}) == identity(inheriting, {"TOKEN": "1", "OTHER": "2"})


def test_it_is_the_same_in_every_process_and_whatever_stands_in_it() -> None:
    odd = {"A": "\udcff", "é": "\n\0"}
    assert identity(of(command="x", env=odd), {}) == "100a8161940a8c1a2c80945fb1aed7c7"


def test_the_working_directory_counts_where_something_in_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`server.py` is another program in another project; `-y` and a package's name are the same everywhere."""
    for project in ("one", "other"):
        (tmp_path / project / "bin").mkdir(parents=True)
        (tmp_path / project / "server.py").touch()
        (tmp_path / project / "bin" / "serve").touch()
    here = [
        of(command="python", args=("server.py",)),
        of(command="uvx", args=("mcp-server-git", "--repository", ".")),
        of(command="bin/serve"),
        of(command="x", cwd="bin"),
    ]
    anywhere = [
        of(command="npx", args=("-y", "@scope/server")),
        of(command="serve"),
        of(command="/bin/serve", args=(str(tmp_path / "one" / "server.py"),)),
        of(command="python", args=("server.py",), cwd=str(tmp_path / "one")),
    ]
    seen = []
    for project in ("one", "other"):
        monkeypatch.chdir(tmp_path / project)
        seen.append([identity(one, {}) for one in (*here, *anywhere)])
    differs = [one != other for one, other in zip(*seen, strict=True)]
    assert differs == [True] * len(here) + [False] * len(anywhere)


def test_two_servers_are_kept_apart(tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    shelf.keep(server("a", command="one"), memory(b"1"))
    shelf.keep(server("b", command="other"), memory(b"2"))
    assert tools_of(shelf.recall(server("x", command="one"), PLAIN)) == [b"1"]
    assert tools_of(shelf.recall(server("y", command="other"), PLAIN)) == [b"2"]


def test_no_secret_is_in_a_file_or_in_its_name(tmp_path: Path) -> None:
    secrets = {"TOKEN": SECRET}
    stdio = server(args=(SECRET,), env=secrets, inherit_env=("TOKEN",), cwd=f"/{SECRET}")
    http = Server("api", "api", ServerEntry(url=f"https://x/{SECRET}", headers=secrets))
    shelf = Listings(tmp_path, secrets)
    for one in (stdio, http):
        shelf.keep(one, memory(b'{"name":"t"}'))
        with shelf.refreshing(one, PLAIN):
            pass
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 4
    told = b"".join(os.fsencode(path) + path.read_bytes() for path in found)
    for form in (SECRET.encode(), SECRET.encode().hex().encode(), base64.b64encode(SECRET.encode())[:-4]):
        assert form not in told


# For which client


def test_for_another_kind_of_client_there_is_another_memory(tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    old = Offer(REVISIONS[0], b"{}")
    for tool, offer, saved in ((b"1", PLAIN, 2.0), (b"2", ABLE, 3.0), (b"3", old, 1.0)):
        assert shelf.recall(server(), offer) is None
        shelf.keep(server(), memory(tool, offer=offer, saved=saved))
    assert tools_of(shelf.recall(server(), PLAIN)) == [b"1"]
    assert tools_of(shelf.recall(server(), ABLE)) == [b"2"]
    assert tools_of(shelf.recall(server(), old)) == [b"3"]
    assert shelf.knows(server())
    found = shelf.all(server())
    assert [one.offer for one, _ in found] == [ABLE, PLAIN, old], "the newest one first"
    assert sorted(size for _, size in found) == sorted(path.stat().st_size for path in stored(tmp_path))


def test_one_server_is_forgotten_or_all_are(tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    one, other = server("a", command="one"), server("b", command="other")
    for which in (one, other):
        for offer in (PLAIN, ABLE):
            shelf.keep(which, memory(b"1", offer=offer))
    assert shelf.forget(one) == 2
    assert not shelf.knows(one)
    assert shelf.recall(one, PLAIN) is None
    assert shelf.knows(other)
    assert shelf.forget(one) == 0
    with shelf.refreshing(other, PLAIN):
        assert shelf.forget() == 2, "the lock is no memory"
    assert not shelf.knows(other)


# What can't be used


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def of_tomorrow(path: Path) -> None:
    files.write(path, "listing 2", b"who knows")


def no_json(path: Path) -> None:
    files.write(path, "listing 1", b"{")


def another_shape(path: Path) -> None:
    files.write(path, "listing 1", b'{"saved":"yesterday"}')


def no_utf_8(path: Path) -> None:
    files.write(path, "listing 1", files.read(path, "listing 1").replace(b"git-mcp", b"git\xff"))  # type: ignore[union-attr]


@pytest.mark.parametrize("spoil", [damaged, of_tomorrow, no_json, another_shape, no_utf_8])
def test_what_can_not_be_read_is_told_and_replaced(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    shelf.keep(server(), memory(b"1"))
    shelf.keep(server(), memory(b"2", offer=ABLE))
    [path] = [path for path in stored(tmp_path) if path.read_bytes().endswith(b"1")]
    spoil(path)
    with pytest.raises(ValueError, match=r"\w"):
        shelf.recall(server(), PLAIN)
    assert [tools_of(one) for one, _ in shelf.all(server())] == [[b"2"]]
    shelf.keep(server(), memory(b"3"))
    assert tools_of(shelf.recall(server(), PLAIN)) == [b"3"]


def test_members_that_a_later_version_added_are_no_hindrance(tmp_path: Path) -> None:
    shelf = Listings(tmp_path, {})
    shelf.keep(server(), memory(b"1"))
    [path] = stored(tmp_path)
    body = files.read(path, "listing 1")
    assert body is not None
    assert body.startswith(b"{")
    files.write(path, "listing 1", b'{"future":[1],' + body[1:])
    assert tools_of(shelf.recall(server(), PLAIN)) == [b"1"]


def test_where_nothing_can_be_written_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "listings").touch()
    shelf = Listings(tmp_path, {})
    with pytest.raises(OSError, match=r"\w"):
        shelf.keep(server(), memory(b"1"))
    with pytest.raises(OSError, match=r"\w"), shelf.refreshing(server(), PLAIN):
        raise AssertionError("it is nobody's")
    with pytest.raises(ValueError, match=r"\w"):
        shelf.recall(server(), PLAIN)
    assert not shelf.knows(server())
    assert shelf.forget() == 0


# Many


def test_the_oldest_of_very_many_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "_MOST_FILES", 3)
    shelf = Listings(tmp_path, {})
    for age in range(5):
        before = set(stored(tmp_path)) if age else set()
        shelf.keep(server(command=f"{age}"), memory(b"1"))
        [path] = set(stored(tmp_path)) - before
        os.utime(path, (1000 + age, 1000 + age))
    assert [age for age in range(5) if shelf.knows(server(command=f"{age}"))] == [2, 3, 4]


def test_one_of_many_has_the_right_to_refresh_and_it_is_for_one_kind_of_client_of_one_server(tmp_path: Path) -> None:
    one, other = Listings(tmp_path, {}), Listings(tmp_path, {})
    with one.refreshing(server(), PLAIN) as first, other.refreshing(server(), PLAIN) as second:
        assert (first, second) == (True, False)
        with other.refreshing(server(), ABLE) as able, other.refreshing(server(command="x"), PLAIN) as another:
            assert (able, another) == (True, True)
    with other.refreshing(server(), PLAIN) as again:
        assert again
    assert not other.knows(server()), "a lock is no memory"


def test_who_recalls_while_others_keep_gets_what_one_of_them_kept(tmp_path: Path) -> None:
    done, problems = threading.Event(), list[BaseException]()
    shelf = Listings(tmp_path, {})
    shelf.keep(server(), memory(b'"0"'))

    def recall() -> None:
        try:
            while not done.is_set():
                [first, *others] = tools_of(shelf.recall(server(), PLAIN))
                assert set(others) <= {first}
        except BaseException as problem:
            problems.append(problem)

    def keep(digit: bytes) -> None:
        for number in range(40):
            Listings(tmp_path, {}).keep(server(), memory(*[b'"' + digit * 100 + b'"'] * (1 + 5 * number)))

    readers = [threading.Thread(target=recall) for _ in range(2)]
    writers = [threading.Thread(target=keep, args=(digit,)) for digit in (b"1", b"2", b"3")]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert problems == []
    assert len(stored(tmp_path)) == 1


declared = st.dictionaries(words, json_texts.values(), max_size=3)
