"""`mcp-manifold cache`: what is remembered, and what the other commands make of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.changing import Changing, Memory
from tests.support.commands import Here, at_a_terminal
from tests.support.manifold import running, write_config
from tests.support.processes import marked, new_mark

NOTHING = {"version": "", "protocol": "", "tools": 0, "resources": 0, "prompts": 0, "age": None, "size": 0}


@pytest.fixture
def place(tmp_path: Path) -> Changing:
    return Changing(tmp_path / "server", tools=["pid", "more"], version="1.5")


@pytest.fixture
def config(tmp_path: Path, place: Changing) -> Path:
    return write_config(tmp_path, {key: place.entry(key) for key in ("one", "two", "three")})


def cached(here: Here, config: Path, *words: str) -> list[dict[str, Any]]:
    done = here("cache", *words, "--json", "--config", config)
    assert (done.code, done.err) == (0, b"")
    rows: list[dict[str, Any]] = json.loads(done.out)
    return rows


def known(rows: list[dict[str, Any]]) -> dict[str, int]:
    """The number of tools, by server; of those that are remembered."""
    return {row["server"]: row["tools"] for row in rows if row["age"] is not None}


def tools(here: Here, config: Path) -> list[str]:
    done = here("tools", "--json", "--config", config)
    assert (done.code, done.err) == (0, b"")
    return [tool["name"] for tool in json.loads(done.out)]


def test_where_nothing_is_remembered_it_says_so_and_starts_nothing(here: Here, config: Path, place: Changing) -> None:
    assert cached(here, config) == [{"server": key, **NOTHING, "client": ""} for key in ("one", "two", "three")]
    done = here("cache", "show", "two", "--config", config)
    assert done.code == 0
    assert done.lines[0].split()[:4] == ["server", "version", "protocol", "tools"]
    assert [line.split()[0] for line in done.lines[1:]] == ["two"]
    assert "nothing is remembered" in done.lines[1]
    assert place.starts == []


def test_it_shows_what_is_remembered_for_each_kind_of_client(here: Here, config: Path, place: Changing) -> None:
    with running(config, handshake=False) as hub:
        hub.initialize("2025-06-18", {"sampling": {}})
        Memory(config).has(3)
    with running(config):
        Memory(config).has(6)
    newer, older = cached(here, config, "show", "two")
    assert {**newer, "age": 0, "size": 0} == {
        "server": "two",
        "version": "1.5",
        "protocol": "2025-11-25",
        "tools": 2,
        "resources": 1,
        "prompts": 1,
        "age": 0,
        "size": 0,
        "client": "2025-11-25: nothing special",
    }
    assert older["client"] == "2025-06-18: sampling"
    assert 0 <= newer["age"] <= older["age"]
    assert newer["size"] in {file.stat().st_size for file in Memory(config).listings()}
    done = here("cache", "--config", config)
    assert [line.split()[:6] for line in done.lines[1:]] == [
        [key, "1.5", protocol, "2", "1", "1"]
        for key in ("one", "two", "three")
        for protocol in ("2025-11-25", "2025-06-18")
    ]
    assert len(place.starts) == 6


def test_at_a_terminal_a_row_fits_its_columns(config: Path, here: Here) -> None:
    cached(here, config, "refresh", "one")
    shown = at_a_terminal(["cache", "--config", config])
    assert shown.code == 0
    assert shown.lines[1].split()[:4] == ["one", "1.5", "2025-11-25", "2"]


def test_refresh_lists_all_or_the_named_anew(here: Here, config: Path, place: Changing) -> None:
    assert known(cached(here, config, "refresh", "two")) == {"two": 2}
    assert place.starts == ["two"]
    assert known(cached(here, config, "refresh")) == {"one": 2, "two": 2, "three": 2}
    assert sorted(place.starts) == ["one", "three", "two", "two"]
    place.becomes(tools=["pid", "more", "most"])
    assert known(cached(here, config)) == {"one": 2, "two": 2, "three": 2}
    assert known(cached(here, config, "refresh", "three", "one")) == {"three": 3, "one": 3}
    assert known(cached(here, config)) == {"one": 3, "two": 2, "three": 3}
    assert len(place.starts) == 6


def test_refresh_is_for_each_kind_of_client_that_was_here(here: Here, config: Path, place: Changing) -> None:
    kinds: list[dict[str, Any]] = [{}, {"roots": {}}]
    for capabilities in kinds:
        with running(config, handshake=False) as hub:
            hub.initialize(capabilities=capabilities)
            Memory(config).has(6 if capabilities else 3)
    place.becomes(tools=["pid"])
    rows = cached(here, config, "refresh", "one")
    assert {row["client"]: row["tools"] for row in rows} == {"2025-11-25: nothing special": 1, "2025-11-25: roots": 1}
    assert len(place.starts) == 8


def test_a_server_that_can_t_be_listed_exits_1_and_the_others_are_remembered(
    here: Here, tmp_path: Path, place: Changing
) -> None:
    broken = Changing(tmp_path / "broken")
    entries = {
        "broken": broken.entry(),
        "absent": servers.entry(["no-such-command-anywhere"]),
        "unset": servers.entry(["cat", "${NO_SUCH_VARIABLE_IS_SET}"]),
        "well": place.entry(),
    }
    config = write_config(tmp_path, entries)
    assert known(cached(here, write_config(tmp_path, {"broken": broken.entry()}), "refresh")) == {"broken": 1}
    config = write_config(tmp_path, entries)
    broken.becomes(fails="the licence has expired")
    done = here("cache", "refresh", "--json", "--config", config)
    assert done.code == 1
    assert known(json.loads(done.out)) == {"broken": 1, "well": 2}, "what was known stays"
    told = done.err.decode()
    assert "server 'broken' could not be listed: " in told
    assert "the licence has expired" in told
    assert "'no-such-command-anywhere' was not found" in told
    assert "NO_SUCH_VARIABLE_IS_SET" in told
    assert "'well'" not in told


def test_what_was_cleared_is_started_to_be_listed_again(here: Here, config: Path, place: Changing) -> None:
    cached(here, config, "refresh")
    done = here("cache", "clear", "two", "--config", config)
    assert (done.code, done.out) == (0, b"forgot 1 list; the servers are started once to be listed again\n")
    assert known(cached(here, config)) == {"one": 2, "three": 2}
    assert len(tools(here, config)) == 6
    assert place.starts[3:] == ["two"]
    cached(here, config, "refresh", "two")
    assert here("cache", "clear", "--config", config).out.startswith(b"forgot 3 lists; ")
    assert known(cached(here, config)) == {}
    assert here("cache", "clear", "--config", config).out.startswith(b"forgot 0 lists; ")
    assert Memory(config).listings() == []


def test_names_are_forgotten_on_request_only(here: Here, tmp_path: Path, place: Changing) -> None:
    """The newcomer of a clash yields, until the names are given anew."""
    newcomer = Changing(tmp_path / "newcomer", tools=["c"])
    place.becomes(tools=["b__c"])
    config = write_config(tmp_path, {"a": place.entry()})
    with running(config):
        Memory(config).has_names("a__b__c")
    write_config(tmp_path, {"a__b": newcomer.entry(), "a": place.entry()})
    assert "a__b__c" in tools(here, config)[1:]
    done = here("cache", "clear", "--config", config)
    assert b"names" not in done.out
    assert "a__b__c" in tools(here, config)[1:]
    done = here("cache", "clear", "--names", "--config", config)
    assert done.code == 0
    assert b"forgot the names that tools were given" in done.out
    assert tools(here, config)[0] == "a__b__c"
    assert b"names" not in here("cache", "clear", "--names", "--config", config).out


@pytest.mark.parametrize("action", ["show", "refresh", "clear"])
def test_an_unknown_server_exits_2_and_says_which_there_are(
    action: str, here: Here, tmp_path: Path, place: Changing
) -> None:
    config = write_config(
        tmp_path, {"one": place.entry(), "two": place.entry("two"), "off": {**place.entry(), "enabled": False}}
    )
    for name in ("thre", "off"):
        done = here("cache", action, "one", name, "--config", config)
        assert (done.code, done.out) == (2, b"")
        assert done.err.decode().endswith(f"there is no enabled server {name!r}; there are one, two\n")
    assert place.starts == []


def test_an_unknown_action_and_a_bad_config_exit_2(here: Here, config: Path) -> None:
    assert here("cache", "forget", "--config", config).code == 2
    assert here("cache", "--config", config.parent / "absent.json").code == 2


def test_tools_and_call_start_what_they_need_and_check_starts_all(here: Here, config: Path, place: Changing) -> None:
    first = tools(here, config)
    assert first == [f"{key}__{tool}" for key in ("one", "two", "three") for tool in ("pid", "more")]
    assert sorted(place.starts) == ["one", "three", "two"], "nothing is known yet"
    cached(here, config, "refresh")
    (place.folder / "starts").unlink()
    assert tools(here, config) == first
    assert place.starts == []
    done = here("call", "two__pid", "--config", config)
    assert (done.code, done.out.decode()) == (0, f"{place.pids[-1]}\n")
    assert place.starts == ["two"]
    place.becomes(tools=["pid"])
    assert here("check", "--config", config).code == 0
    assert sorted(place.starts[1:]) == ["one", "three", "two"]
    assert tools(here, config) == ["one__pid", "two__pid", "three__pid"], "check has remembered what it saw"
    assert len(place.starts) == 4


def test_nothing_keeps_running(here: Here, tmp_path: Path, place: Changing) -> None:
    mark = new_mark()
    config = write_config(tmp_path, {"one": place.entry(env=mark)})
    cached(here, config, "refresh")
    assert place.starts == ["it"]
    assert marked(mark) == {}
