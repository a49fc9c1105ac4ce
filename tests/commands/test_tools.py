"""`mcp-manifold tools`: the names as clients see them, and whose they are."""

import json
from pathlib import Path

from tests.support import servers
from tests.support.commands import Here, at_a_terminal, python, sample
from tests.support.manifold import write_config
from tests.support.processes import marked, new_mark

LISTS = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "l", "version": "1"}}
    else:
        result = {"tools": TOOLS}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def listing(*tools: dict[str, str]) -> dict[str, object]:
    """A server that lists these."""
    return python(LISTS.replace("TOOLS", repr([{"inputSchema": {"type": "object"}, **tool} for tool in tools])))


def test_it_shows_name_server_tool_and_the_first_line_of_the_description(here: Here, tmp_path: Path) -> None:
    entries = {
        "clock": sample("clock", tools={"deny": ["countdown"]}),
        "mine": listing({"name": "do.it", "description": "\n  Does it.\nAt length."}, {"name": "bare"}),
    }
    done = here("tools", "--config", write_config(tmp_path, entries))
    assert done.code == 0
    assert [line.split(maxsplit=3) for line in done.lines][:3] == [
        ["name", "server", "tool", "description"],
        ["clock__now", "clock", "now", "The current date and time in a time zone."],
        ["clock__days_between", "clock", "days_between", "How many days lie between two dates."],
    ]
    name, server, tool, description = done.lines[3].split(maxsplit=3)
    assert name.startswith("mine__do_it_")
    assert (server, tool, description) == ("mine", "do.it", "Does it.")
    assert done.lines[4].split() == ["mine__bare", "mine", "bare"]
    assert done.lines == [line.rstrip() for line in done.lines]
    assert len(done.lines) == 5


def test_as_json_it_says_the_same(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"clock": sample("clock", prefix="c", tools={"allow": ["now"]})})
    done = here("tools", "--json", "--config", config)
    assert done.code == 0
    assert json.loads(done.out) == [
        {"name": "c__now", "server": "clock", "tool": "now", "description": "The current date and time in a time zone."}
    ]


def test_a_server_that_is_missing_is_named_and_the_others_are_shown(here: Here, tmp_path: Path) -> None:
    entries = {"gone": servers.entry(["no-such-command-anywhere"]), "notes": sample("notes")}
    done = here("tools", "--config", write_config(tmp_path, entries))
    assert done.code == 1
    assert done.err.decode() == (
        "server 'gone' is missing: the command 'no-such-command-anywhere' was not found in PATH; give its whole path\n"
    )
    assert [line.split()[0] for line in done.lines] == [
        "name", "notes__add_note", "notes__list_notes", "notes__read_note", "notes__delete_note",
    ]  # fmt: skip


def test_all_servers_are_waited_for_however_short_a_client_would_wait(here: Here, tmp_path: Path) -> None:
    done = here("tools", "--json", "--config", write_config(tmp_path, {"clock": sample("clock")}, listWait=0))
    assert len(json.loads(done.out)) == 3


def test_descriptions_are_not_taken_for_markup(here: Here, tmp_path: Path) -> None:
    words = "Use [/path] and [red]this[/red], :smile:"
    done = here("tools", "--config", write_config(tmp_path, {"mine": listing({"name": "t", "description": words})}))
    assert done.code == 0
    assert words in done.lines[1]


def test_nothing_is_cut_for_a_pipe(here: Here, tmp_path: Path) -> None:
    words = "word " * 40
    done = here(
        "tools", "--config", write_config(tmp_path, {"mine": listing({"name": "t" * 40, "description": words})})
    )
    assert words.strip() in done.lines[1]
    assert b"\x1b" not in done.out


def test_at_a_terminal_a_tool_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"mine": listing({"name": "t", "description": "word " * 40})})
    done = at_a_terminal(["tools", "--config", config])
    assert done.code == 0
    assert len(done.lines) == 2
    assert done.lines[1].split()[:4] == ["mine__t", "mine", "t", "word"]
    assert done.lines[1].rstrip().endswith("…")


def test_nothing_keeps_running(here: Here, tmp_path: Path) -> None:
    mark = new_mark()
    here("tools", "--config", write_config(tmp_path, {"clock": sample("clock", env=mark)}))
    assert marked(mark) == {}
