"""The session with the client: opening, refusals, and what may appear on stdout."""

import sys
from pathlib import Path

import pytest

from tests.real.conftest import Beside
from tests.support import servers
from tests.support.manifold import running, tools_until, write_config
from tests.support.spans import members

REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.mark.parametrize("version", REVISIONS)
def test_a_known_revision_is_agreed_to(version: str, tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"raw": servers.script("raw_echo.py")}), handshake=False) as hub:
        assert hub.initialize(version).result["protocolVersion"] == version
        assert "raw__verbatim" in hub.tools()
        assert hub.call("raw__verbatim", {}).result["content"] == []


@pytest.mark.parametrize("version", ["2023-01-01", "2026-07-28", "2199-12-31", "nonsense", ""])
def test_an_unknown_revision_gets_the_latest_of_the_handshake(version: str, tmp_path: Path) -> None:
    with running(write_config(tmp_path, {}), handshake=False) as hub:
        assert hub.initialize(version).result["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("version", REVISIONS)
def test_the_capabilities_are_those_of_all_servers_that_might_be_there(version: str, tmp_path: Path) -> None:
    """As far as the revision has them; nobody waits for the servers to say which of them they have."""
    with running(write_config(tmp_path, {}), handshake=False) as hub:
        answer = hub.initialize(version).result
    expected: dict[str, object] = {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
    }
    if version > "2024-11-05":
        expected["completions"] = {}
    if version == "2025-11-25":
        expected["tasks"] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    assert answer["capabilities"] == expected
    assert answer["serverInfo"]["name"]
    assert answer["serverInfo"]["version"]


@pytest.mark.parametrize(
    "capabilities", [b"{}", b'{"roots":{}}', b'{"elicitation":{"url":{}},"nobody/knows":{"x":1e400}}']
)
def test_a_server_is_told_what_the_client_can_do(capabilities: bytes, tmp_path: Path) -> None:
    record = tmp_path / "record"
    entry = servers.script("raw_echo.py", "--record", str(record))
    with running(write_config(tmp_path, {"raw": entry}), handshake=False) as hub:
        client = b'"clientInfo":{"name":"raw-client","version":"1"}'
        hub.request("initialize", b'{"protocolVersion":"2025-06-18","capabilities":%b,%b}' % (capabilities, client))
        hub.notify("notifications/initialized")
        assert "raw__verbatim" in hub.tools()
    [told] = [members(line) for line in record.read_bytes().splitlines() if b'"initialize"' in line]
    params = members(told["params"])
    assert params["protocolVersion"] == b'"2025-06-18"'
    assert params["capabilities"] == capabilities


def test_long_lists_come_in_pages_that_together_are_the_list(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"everything": servers.everything()}, pageSize=3)) as hub:
        whole = tools_until(hub, {"everything__simulate-research-query"})
        page = hub.request("tools/list").result
        assert len(page["tools"]) == 3
        assert len(whole) > 9
        assert hub.request("resources/list", {"cursor": page["nextCursor"]}).error["code"] == -32602
        listed: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = hub.request("resources/list", cursor).result
            listed += [resource["uri"] for resource in answer["resources"]]
            assert len(answer["resources"]) <= 3
            if "nextCursor" not in answer:
                break
            cursor = {"cursor": answer["nextCursor"]}
        assert len(listed) == len(set(listed)) == 7


def test_discovery_is_refused_before_and_after_the_handshake(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"raw": servers.script("raw_echo.py")}), handshake=False) as hub:
        params = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
        refused = hub.request("server/discover", params, id=b'"server-discover-probe-1"')
        assert refused.id == b'"server-discover-probe-1"'
        assert refused.error["code"] == -32601
        assert hub.initialize().result["protocolVersion"] == "2025-11-25"
        assert hub.request("server/discover").error["code"] == -32601


def test_initialize_piped_behind_the_probe_is_answered(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {}), handshake=False) as hub:
        hub.start("server/discover", id=b'"probe"')
        hub.initialize()
        assert hub.wait(b'"probe"').error["code"] == -32601


def test_initialize_does_not_wait_for_a_server(tmp_path: Path) -> None:
    silent = servers.entry([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"])
    with running(write_config(tmp_path, {"silent": silent}, listWait=0), handshake=False) as hub:
        hub.initialize()
        assert hub.request("ping").result == {}
        assert hub.tools() == {}


def test_an_unknown_tool_is_refused_with_the_nearest_names(five: Beside) -> None:
    tools_until(five.hub, {"time__get_current_time"})
    error = five.hub.call("time__get_curent_time", {}).error
    assert error["code"] == -32602
    assert "time__get_current_time" in error["message"]
    assert error["data"]["origin"] == "mcp-manifold"


def test_an_unknown_method_is_refused(five: Beside) -> None:
    assert five.hub.request("no/such/method").error["code"] == -32601


@pytest.mark.parametrize("id", [b"0", b"-7", b'"7"', b'""', b'"\\u00e9 \xc3\xa9"', b"9007199254740993"])
def test_an_id_comes_back_as_it_was_sent(id: bytes, five: Beside) -> None:
    assert five.hub.request("ping", id=id).result == {}
    assert five.hub.request("tools/call", {"name": "everything__echo", "arguments": {"message": "x"}}, id=id).id == id


def test_a_line_that_is_not_json_is_answered_and_the_session_goes_on(tmp_path: Path) -> None:
    with running(write_config(tmp_path, {"raw": servers.script("raw_echo.py")})) as hub:
        hub.send(b'{"jsonrpc":"2.0","id":77,"method":')
        refused = hub.wait_for(lambda m: "error" in m.members, "a parse error")
        assert refused.error["code"] == -32700
        assert hub.request("ping").result == {}


def test_a_server_that_cannot_start_fails_alone(tmp_path: Path) -> None:
    entries = {
        "absent": servers.entry(["no-such-command-anywhere"]),
        "ending": servers.entry([sys.executable, "-c", "import sys; sys.exit('it broke')"]),
        "unset": servers.entry([sys.executable, "${NO_SUCH_VARIABLE_IS_SET}"]),
        "raw": servers.script("raw_echo.py"),
    }
    with running(write_config(tmp_path, entries)) as hub:
        assert {name.split("__")[0] for name in hub.tools()} == {"raw"}
        assert hub.call("raw__verbatim", {"a": 1}).result["content"] == []


@pytest.mark.parametrize("noise", [[], ["--noise"]])
def test_stdout_carries_protocol_messages_only(noise: list[str], tmp_path: Path) -> None:
    """Whatever a child prints; `running` also looks at every line of every other test."""
    with running(write_config(tmp_path, {"raw": servers.script("raw_echo.py", *noise)})) as hub:
        assert "raw__verbatim" in hub.tools()
        for number in range(20):
            assert hub.call("raw__verbatim", {"n": number}).result["content"] == []
        hub.child.close_stdin()
        assert hub.child.wait_for_exit() == 0
        hub.wait_for_end()
        assert hub.stray == []
        for line in hub.lines:
            assert members(line)["jsonrpc"] == b'"2.0"'
