"""The names that were given: what one proxy gave the next one keeps, and no proxy takes away what another one gave."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.names import Given, Namer
from proxy.store import files
from proxy.store.given import GivenNames

PATIENCE = 30.0
CONFIG = Path("/home/me/mcp.json")

Name = tuple[str, str, str, str]

READ: Name = ("tools", "git", "read", "git__read")
WRITE: Name = ("tools", "git", "write.all", "git__write_all_123abc")
PROMPT: Name = ("prompts", "git", "read", "git__read")
TIME: Name = ("tools", "time", "now", "time__now")


def kept(state: Path, config: Path = CONFIG) -> set[Name]:
    return set(GivenNames(state, config).load().listing())


def file_of(state: Path) -> Path:
    [path] = [path for path in (state / "names").iterdir() if not path.name.startswith(".")]
    return path


def test_at_first_no_name_was_given(tmp_path: Path) -> None:
    names = GivenNames(tmp_path / "state", CONFIG)
    assert names.load().listing() == []
    assert not names.forget()
    assert not (tmp_path / "state").exists(), "looking makes nothing"


def test_names_that_were_saved_are_given_again_and_are_no_news(tmp_path: Path) -> None:
    GivenNames(tmp_path, CONFIG).save([READ, WRITE, PROMPT, TIME])
    given = GivenNames(tmp_path, CONFIG).load()
    assert set(given.listing()) == {READ, WRITE, PROMPT, TIME}
    assert given.changes == 0
    assert given.of("tools", "git", "write.all") == "git__write_all_123abc"
    assert given.is_anothers("tools", "git__read", "time")


def test_what_is_saved_is_added_to_what_others_gave_and_takes_the_place_of_the_same_tools_name(tmp_path: Path) -> None:
    one, other = GivenNames(tmp_path, CONFIG), GivenNames(tmp_path, CONFIG)
    one.save([READ, WRITE])
    other.save([("tools", "git", "read", "git__look"), TIME])
    assert kept(tmp_path) == {("tools", "git", "read", "git__look"), WRITE, TIME}
    one.save([])
    assert len(kept(tmp_path)) == 3


def test_each_configuration_has_names_of_its_own(tmp_path: Path) -> None:
    other = Path("/srv/project/.mcp.json")
    GivenNames(tmp_path, CONFIG).save([READ])
    GivenNames(tmp_path, other).save([TIME])
    assert kept(tmp_path) == {READ}
    assert kept(tmp_path, other) == {TIME}
    assert GivenNames(tmp_path, CONFIG).forget()
    assert kept(tmp_path) == set()
    assert kept(tmp_path, other) == {TIME}


def test_a_path_may_be_of_any_bytes(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"/caf\xe9/mcp.json"))
    GivenNames(tmp_path, odd).save([READ])
    assert kept(tmp_path, odd) == {READ}


def test_names_of_which_half_a_character_is_missing_are_given_anew_each_time(tmp_path: Path) -> None:
    GivenNames(tmp_path, CONFIG).save([READ, ("tools", "git", "\ud800", "git__tool_123abc")])
    assert kept(tmp_path) == {READ}


def test_names_are_for_this_user_alone(tmp_path: Path) -> None:
    GivenNames(tmp_path / "state", CONFIG).save([READ])
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state", tmp_path / "state" / "names")] == [
        0o700,
        0o700,
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state" / "names").iterdir()} == {0o600}


# What can't be used


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def foreign(path: Path) -> None:
    path.write_text("{}")


def of_tomorrow(path: Path) -> None:
    files.write(path, "names 2", b"{}")


def no_json(path: Path) -> None:
    files.write(path, "names 1", b"{")


def another_shape(path: Path) -> None:
    files.write(path, "names 1", b'{"git":["read"]}')


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [torn, foreign, of_tomorrow, no_json, another_shape, link])
def test_a_file_that_can_not_be_read_is_told_and_replaced(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    names = GivenNames(tmp_path, CONFIG)
    names.save([READ])
    spoil(file_of(tmp_path))
    with pytest.raises(ValueError, match=r"\w"):
        names.load()
    names.save([TIME])
    assert kept(tmp_path) == {TIME}


def test_where_nothing_can_be_written_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "names").touch()
    with pytest.raises(OSError, match=r"\w"):
        GivenNames(tmp_path, CONFIG).save([READ])
    with pytest.raises(OSError, match=r"\w"):
        GivenNames(tmp_path, CONFIG).forget()


def test_a_name_that_two_proxies_gave_to_two_servers_is_the_first_ones(tmp_path: Path) -> None:
    """Each knew but one of the two servers, as before and after a change of the configuration."""
    names = GivenNames(tmp_path, CONFIG)
    names.save([("tools", "a", "b__t", "a__b__t")])
    names.save([("tools", "a__b", "t", "a__b__t")])
    given = names.load()
    one, other = Namer("a", "a", ["a__b"], 57, given), Namer("a__b", "a__b", ["a"], 57, given)
    assert one.name("b__t") == "a__b__t"
    assert other.name("t").startswith("a__b__t_")


# Many at once

SAVER = """
import sys
from pathlib import Path
from proxy.store.given import GivenNames
names, mine = GivenNames(Path(sys.argv[1]), Path("/home/me/mcp.json")), sys.argv[2]
for number in range(10):
    names.save([("tools", mine, str(number), f"{mine}__{number}")])
"""


def test_of_names_that_many_processes_save_at_once_none_is_lost(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SAVER, str(tmp_path)]
    savers = [subprocess.Popen([*words, f"process{number}"]) for number in range(3)]
    threads = [threading.Thread(target=save, args=(tmp_path, f"thread{number}")) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [saver.wait(PATIENCE) for saver in savers] == [0, 0, 0]
    owners = [*(f"process{number}" for number in range(3)), *(f"thread{number}" for number in range(2))]
    assert kept(tmp_path) == {
        ("tools", owner, str(number), f"{owner}__{number}") for owner in owners for number in range(10)
    }


def save(state: Path, mine: str) -> None:
    names = GivenNames(state, CONFIG)
    for number in range(10):
        names.save([("tools", mine, str(number), f"{mine}__{number}")])


def test_what_a_session_lists_is_there_for_the_next_one(tmp_path: Path) -> None:
    given = Given()
    name = Namer("git", "git", (), 57, given).name("a.b")
    GivenNames(tmp_path, CONFIG).save(given.listing())
    later = GivenNames(tmp_path, CONFIG).load()
    assert Namer("git", "git", ("git__a_b",), 57, later).name("a.b") == name
    assert later.changes == 0, "nothing is to be saved again"
