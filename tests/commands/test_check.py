"""`mcp-manifold check`: one look tells how every server is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.commands import Here, at_a_terminal, python, sample
from tests.support.manifold import write_config
from tests.support.processes import marked, new_mark
from tests.support.raw_http import refused_url
from tests.support.sdk_site import sdk_site

COLUMNS = ["server", "transport", "protocol", "tools", "resources", "prompts", "seconds", "problem"]
SILENT = "import sys; sys.stdin.read()"


def rows(lines: list[str]) -> dict[str, list[str]]:
    """The table's cells by server; a problem is one cell."""
    return {line.split()[0]: line.split(maxsplit=7)[1:] for line in lines if line.strip()}


def test_it_exits_0_and_counts_if_all_are_ready(here: Here, tmp_path: Path) -> None:
    done = here("check", "--config", write_config(tmp_path, {"clock": sample("clock"), "every": servers.everything()}))
    assert done.code == 0
    assert done.lines[0].split() == COLUMNS
    table = rows(done.lines)
    assert table["clock"][:5] == ["stdio", "2025-11-25", "3", "0", "0"]
    transport, protocol, tools, resources, prompts, seconds = table["every"]
    assert (transport, protocol) == ("stdio", "2025-11-25")
    assert int(tools) > 5
    assert int(resources) > 5
    assert int(prompts) > 2
    assert float(seconds) > 0


@pytest.mark.parametrize("kind", ["json", "sse"])
def test_servers_behind_http_are_checked_too(kind: str, here: Here, tmp_path: Path) -> None:
    with sdk_site(kind) as url:
        done = here(
            "check", "--config", write_config(tmp_path, {"web": {"url": url, "type": kind.replace("json", "http")}})
        )
    assert done.code == 0
    assert rows(done.lines)["web"][:3] == ["sse" if kind == "sse" else "streamable-http", "2025-11-25", "2"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (servers.entry(["no-such-command-anywhere"]), "'no-such-command-anywhere' was not found"),
        (servers.entry(["/etc/passwd"]), "may not be executed"),
        (servers.entry(["cat"], cwd="/no/such/folder"), "'/no/such/folder' does not exist"),
        (servers.entry(["cat", "${NO_SUCH_VARIABLE_IS_SET}"]), "NO_SUCH_VARIABLE_IS_SET"),
        (python("import sys; sys.exit('the licence has expired')"), "the licence has expired"),
        (python(SILENT, startTimeout=0.2), "did not answer initialize within 0.2 s"),
        ({"url": refused_url()}, "no connection"),
        ({"url": "wss://example.com", "type": "ws"}, "not supported"),
    ],
    ids=["absent", "not-executable", "no-folder", "unset", "exits", "silent", "refused", "ws"],
)
def test_it_exits_1_and_says_what_is_wrong(entry: dict[str, Any], problem: str, here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"good": sample("notes"), "bad": entry})
    done = here("check", "--config", config)
    assert done.code == 1
    assert rows(done.lines)["good"][0] == "stdio"
    [line] = [line for line in done.lines if line.startswith("bad ")]
    assert problem in line
    assert done.lines[-1] == "1 of 2 servers is not ready"


def test_as_json_it_says_the_same(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock"), "gone": servers.entry(["no-such-command-anywhere"])})
    done = here("check", "--json", "--config", config)
    assert done.code == 1
    good, bad = json.loads(done.out)["servers"]
    assert good.pop("seconds") > 0
    assert good == {
        "server": "clock",
        "transport": "stdio",
        "state": "ready",
        "protocol": "2025-11-25",
        "tools": 3,
        "shown": 3,
        "resources": 0,
        "prompts": 0,
        "problem": "",
        "derived": [],
    }
    assert (bad["server"], bad["state"], bad["tools"]) == ("gone", "failed", -1)
    assert "not found" in bad["problem"]


def test_a_banner_or_a_crash_of_one_server_does_not_hide_another(here: Here, tmp_path: Path) -> None:
    noisy = servers.script("raw_echo.py", "--noise")
    config = write_config(
        tmp_path, {"noisy": noisy, "crash": python("import os; os.abort()"), "notes": sample("notes")}
    )
    done = here("check", "--config", config)
    assert done.code == 1
    table = rows(done.lines)
    assert table["noisy"][1] == table["notes"][1] == "2025-11-25"
    assert "SIGABRT" in table["crash"][-1]


def test_nothing_is_cut_or_folded_or_coloured_for_a_pipe(here: Here, tmp_path: Path) -> None:
    name, words = "a-server-with-quite-a-long-name-indeed" * 2, "word " * 40
    entry = python(f"import sys; sys.exit('{words.strip()}')", prefix="short")
    config = write_config(tmp_path, {name: entry})
    done = here("check", "--config", config)
    assert f"{name} " in done.lines[1]
    assert words.strip() in done.lines[1]
    assert b"\x1b" not in done.out


def test_what_a_server_says_is_not_taken_for_markup(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"[bold]odd[/]": python("import sys; sys.exit('[/red] [link=x]:smile:')")})
    done = here("check", "--config", config)
    assert done.lines[1].startswith("[bold]odd[/] ")
    assert "[/red] [link=x]:smile:" in done.lines[1]


def test_a_config_without_servers_is_fine_and_says_so(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"off": sample("clock", enabled=False)})
    done = here("check", "--config", config)
    assert done.code == 0
    assert done.lines == [f"no server is enabled in {config}"]


def test_warnings_of_the_config_are_on_stderr(here: Here, tmp_path: Path) -> None:
    done = here("check", "--config", write_config(tmp_path, {"clock": sample("clock", autoApprove=["x"])}))
    assert done.code == 0
    assert b"autoApprove" in done.err
    assert b"autoApprove" not in done.out


def test_a_bad_config_exits_2_and_starts_nothing(here: Here, tmp_path: Path) -> None:
    mark = new_mark()
    config = write_config(tmp_path, {"good": sample("clock", env=mark), "bad": {"comand": "x"}})
    done = here("check", "--config", config)
    assert (done.code, done.out) == (2, b"")
    assert done.err.decode().startswith(f"{config}: mcpServers.bad")
    assert b"command" in done.err
    assert marked(mark) == {}


def test_nothing_keeps_running(here: Here, tmp_path: Path) -> None:
    mark = new_mark()
    stays = python("import time; time.sleep(600)", env=mark, startTimeout=0.1)
    here("check", "--config", write_config(tmp_path, {"good": sample("clock", env=mark), "stays": stays}))
    assert marked(mark) == {}


def test_at_a_terminal_it_shows_progress_and_colours(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock"), "slow": python(SILENT, startTimeout=0.5)})
    done = at_a_terminal(["check", "--config", config])
    assert done.code == 1
    assert b"waiting for" in done.out
    assert b"\x1b[32mclock" in done.out, "green"
    assert b"\x1b[31mslow" in done.out, "red"
