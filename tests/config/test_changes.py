"""What a reload does about two files: which servers start, stop, restart or stay."""

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.changes import Changes, compare
from proxy.config.models import Config
from tests.config.files import loaded, servers

A, B, C = {"command": "a"}, {"command": "b"}, {"url": "http://c/", "headers": {"Authorization": "Bearer ${TOKEN}"}}


@pytest.fixture
def base(tmp_path: Path) -> Config:
    return loaded(tmp_path, servers(a=A, b=B, c=C), TOKEN="one")


def keys(changes: Changes) -> dict[str, list[str]]:
    """The servers of each kind that has any."""
    found = {
        "removed": list(changes.removed),
        "added": [server.key for server in changes.added],
        "changed": [server.key for server in changes.changed],
        "same": list(changes.same),
    }
    return {kind: names for kind, names in found.items() if names}


def test_the_same_file_read_again_is_no_change(base: Config, tmp_path: Path) -> None:
    changes = compare(base, loaded(tmp_path, servers(a=A, b=B, c=C), TOKEN="one"))
    assert not changes
    assert changes == Changes(same=("a", "b", "c"))


def test_other_spaces_and_a_default_written_out_are_no_change(base: Config, tmp_path: Path) -> None:
    text = (
        '{"proxy": {"log": {"level": "info"}},\n\n "mcpServers": {"a": {"enabled": true, "command": "a"},'
        '"b": {"callTimeout": 300, "command": "b"},'
        '"c": {"headers": {"Authorization": "Bearer one"}, "url": "http://c/"}}}'
    )
    assert not compare(base, loaded(tmp_path, text))


def test_servers_come_and_go(base: Config, tmp_path: Path) -> None:
    changes = compare(base, loaded(tmp_path, servers(z=A, b=B, y=A), TOKEN="one"))
    assert keys(changes) == {"removed": ["a", "c"], "added": ["z", "y"], "same": ["b"]}
    assert changes


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "b", "args": ["-v"]},
        {"command": "b", "env": {"X": "1"}},
        {"command": "b", "callTimeout": 1},
        {"command": "b", "prefix": "bee"},
        {"command": "b", "tools": {"deny": ["x"]}},
        {"url": "http://b/"},
    ],
)
def test_an_entry_with_other_content_is_changed_and_alone(
    entry: dict[str, object], base: Config, tmp_path: Path
) -> None:
    new = loaded(tmp_path, servers(a=A, b=entry, c=C), TOKEN="one")
    changes = compare(base, new)
    assert keys(changes) == {"changed": ["b"], "same": ["a", "c"]}
    assert changes.changed == (new.servers[1],)


def test_arguments_in_another_order_are_a_change_and_variables_in_another_order_are_none(tmp_path: Path) -> None:
    def entry(*args: str, **env: str) -> Config:
        return loaded(tmp_path, servers(a={"command": "a", "args": args, "env": env}))

    assert compare(entry("1", "2"), entry("2", "1"))
    assert not compare(entry(X="1", Y="2"), entry(Y="2", X="1"))


def test_a_variable_s_new_value_changes_the_servers_that_use_it(base: Config, tmp_path: Path) -> None:
    changes = compare(base, loaded(tmp_path, servers(a=A, b=B, c=C), TOKEN="two"))
    assert keys(changes) == {"changed": ["c"], "same": ["a", "b"]}


def test_a_server_that_could_not_run_and_now_can_is_changed(base: Config, tmp_path: Path) -> None:
    without = loaded(tmp_path, servers(a=A, b=B, c=C))
    assert without.servers[2].problem is not None
    changes = compare(without, base)
    assert keys(changes) == {"changed": ["c"], "same": ["a", "b"]}
    assert changes.changed[0].problem is None


@pytest.mark.parametrize("other", [{"prefix": "b"}, {"problem": "it can't run"}])
def test_what_follows_from_an_entry_counts_with_it(other: dict[str, str], base: Config) -> None:
    new = replace(base, servers=(replace(base.servers[0], **other), *base.servers[1:]))  # type: ignore[arg-type]
    assert keys(compare(base, new)) == {"changed": ["a"], "same": ["b", "c"]}


def test_enabling_adds_and_disabling_removes(base: Config, tmp_path: Path) -> None:
    disabled = loaded(tmp_path, servers(a=A, b={**B, "enabled": False}, c=C), TOKEN="one")
    assert keys(compare(base, disabled)) == {"removed": ["b"], "same": ["a", "c"]}
    assert keys(compare(disabled, base)) == {"added": ["b"], "same": ["a", "c"]}


def test_what_happens_to_a_disabled_server_is_no_change(base: Config, tmp_path: Path) -> None:
    disabled = loaded(tmp_path, servers(a=A, b=B, c=C, d={**A, "enabled": False}), TOKEN="one")
    edited = loaded(tmp_path, servers(d={**B, "enabled": False}, a=A, b=B, c=C), TOKEN="one")
    assert not compare(base, disabled)
    assert not compare(disabled, edited)


def test_another_order_of_the_servers_that_stay_is_a_change_by_itself(base: Config, tmp_path: Path) -> None:
    changes = compare(base, loaded(tmp_path, servers(c=C, a=A, b=B), TOKEN="one"))
    assert changes == Changes(same=("c", "a", "b"), reordered=True)
    assert changes


def test_servers_that_come_and_go_in_between_do_not_reorder_the_others(base: Config, tmp_path: Path) -> None:
    assert not compare(base, loaded(tmp_path, servers(new=A, a=A, newer=A, c=C), TOKEN="one")).reordered
    assert compare(base, loaded(tmp_path, servers(new=A, c=C, newer=A, a=A), TOKEN="one")).reordered


def test_settings_are_told_by_their_places_in_the_file(base: Config, tmp_path: Path) -> None:
    proxy = {
        "instructions": "Use hunter2 wisely.",
        "listWait": 1,
        "stateDir": "state",
        "log": {"level": "debug", "file": "manifold.log"},
        "metrics": {"port": 9000},
    }
    changes = compare(base, loaded(tmp_path, {**servers(a=A, b=B, c=C), "proxy": proxy}, TOKEN="one"))
    assert changes.settings == (
        "proxy.instructions",
        "proxy.log.level",
        "proxy.log.file",
        "proxy.metrics.port",
        "proxy.listWait",
        "proxy.stateDir",
    )
    assert changes
    assert changes.same == ("a", "b", "c")
    assert "hunter2" not in repr(changes)


def test_a_changed_token_does_not_show(base: Config, tmp_path: Path) -> None:
    assert "hunter2" not in repr(compare(base, loaded(tmp_path, servers(a=A, b=B, c=C), TOKEN="hunter2")))
