import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.clients import HONOURED, IGNORED
from proxy.config.load import load, locate, state_directory
from proxy.config.models import (
    ConfigFile,
    HttpSettings,
    LogSettings,
    MetricsSettings,
    ProxySettings,
    ServerEntry,
    ToolRules,
)
from proxy.config.problems import known_keys
from proxy.errors import ConfigError
from tests.config.files import Content, loaded, problems, server, servers, write

EXAMPLE = Path(__file__).parents[2] / "config.example.json"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (line,) = caught.value.problems
    assert line.isprintable()
    return line


def test_a_file_s_servers_come_in_its_order_with_their_prefixes(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        servers(
            github={"type": "http", "url": "https://x/mcp"},
            time={"command": "uvx", "args": ["mcp-server-time"]},
            files={"command": "npx", "prefix": "fs"},
            bare={"command": "y", "prefix": ""},
            off={"command": "z", "enabled": False},
        ),
    )
    assert config.path == tmp_path / "config.json"
    assert [(one.key, one.prefix, one.entry.enabled, one.problem) for one in config.servers] == [
        ("github", "github", True, None),
        ("time", "time", True, None),
        ("files", "fs", True, None),
        ("bare", "", True, None),
        ("off", "off", False, None),
    ]
    assert config.warnings == ()


def test_the_example_works_anywhere() -> None:
    config = load(EXAMPLE, {})
    assert config.warnings == ()
    assert {one.entry.transport for one in config.servers if one.entry.enabled} == {"stdio", "streamable-http"}
    assert [one.problem for one in config.servers] == [None] * len(config.servers)
    assert {"files"} < {one.prefix for one in config.servers}


def test_the_example_shows_every_key_of_an_entry_and_of_its_rules() -> None:
    written = json.loads(EXAMPLE.read_text())["mcpServers"].values()
    assert {key for entry in written for key in entry} == set(known_keys(ServerEntry)) - {"cwd"}
    assert {key for entry in written for key in entry.get("tools", {})} == set(known_keys(ToolRules))


def test_a_disabled_server_has_no_problem_as_it_is_not_wanted(tmp_path: Path) -> None:
    one = server(tmp_path, {"command": "${UNSET}", "enabled": False})
    assert one.problem is None


def test_a_file_without_servers_is_good_but_pointless(tmp_path: Path) -> None:
    config = loaded(tmp_path, servers())
    assert config.warnings == (f"{tmp_path}/config.json: mcpServers: is empty, so there is nothing to serve",)


def test_a_level_for_a_server_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    levels = {"git": "debug", "gti": "debug"}
    config = loaded(tmp_path, {**servers(git={"command": "x"}), "proxy": {"log": {"levels": levels}}})
    assert config.proxy.log.levels == levels
    assert config.warnings == (f"{tmp_path}/config.json: proxy.log.levels: there is no server of this name: gti",)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"\xef\xbb\xbf" + json.dumps(servers(a={"command": "x"})).encode()).servers


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, json.dumps(servers(a={"command": "x"})).encode())
    os.close(writer)
    try:
        assert load(Path(f"/dev/fd/{reader}"), {}).servers[0].key == "a"
    finally:
        os.close(reader)


def test_a_missing_file_says_what_to_write_and_what_else_to_do(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json") == (
        f"{tmp_path}/none.json: there is no such file; write "
        '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}} into it, name another with '
        '--config or $MCP_MANIFOLD_CONFIG, or try "mcp-manifold demo", which needs none'
    )


def test_what_is_written_there_would_work(tmp_path: Path) -> None:
    line = refusal(tmp_path / "none.json")
    text = line.partition("write ")[2].partition(" into it")[0]
    assert [one.key for one in loaded(tmp_path, text).servers] == ["time"]


def test_a_relative_name_is_reported_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("none.json")).startswith(f"{tmp_path}/none.json: ")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: is a directory; the configuration is a JSON file"


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything, so tests that run as root step down for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, servers())
    path.chmod(0)
    with nobody():
        assert refusal(path) == f"{path}: may not be read by this user; check its permissions"


def test_an_impossible_name_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 300)).endswith(": can't be read: File name too long")
    assert refusal(tmp_path / "a\0b").endswith(r"a\x00b: can't be read: embedded null byte")


def test_an_endless_file_is_refused() -> None:
    assert refusal(Path("/dev/zero")) == "/dev/zero: is larger than 16 MiB"


def test_a_working_directory_that_is_gone_is_no_obstacle(tmp_path: Path) -> None:
    path = write(tmp_path, servers(a={"command": "x"}))
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"""
import os
from pathlib import Path
from proxy.config.load import load, locate
os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})
print(load(locate({str(path)!r}, {{}}), {{}}).servers[0].key)
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "a\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": "é"}'.encode("latin-1"), "line 1: is not UTF-8; save the file as UTF-8"),
        (b'{\n"a":\n"\xff"}', "line 3: is not UTF-8; save the file as UTF-8"),
        ('{"mcpServers": {}}'.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ],
)
def test_another_encoding_is_refused(content: Content, said: str, tmp_path: Path) -> None:
    assert problems(tmp_path, content) == [said]


def test_the_named_file_comes_first_then_the_variable_then_the_user_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    environ = {"MCP_MANIFOLD_CONFIG": "/from/variable.json"}
    assert locate("/from/option.json", environ) == Path("/from/option.json")
    assert locate(None, environ) == Path("/from/variable.json")
    own = locate(None, {})
    assert own.parts[-2:] == ("mcp-manifold", "config.json")
    assert locate(None, {"MCP_MANIFOLD_CONFIG": ""}) == own
    if sys.platform.startswith("linux"):
        assert own == tmp_path / "mcp-manifold" / "config.json"


def test_the_working_directory_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", ".mcp.json", "mcp-manifold.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert tmp_path not in locate(None, {}).parents


def test_a_tilde_is_the_home_directory_as_no_shell_has_seen_it(tmp_path: Path) -> None:
    assert locate("~/c.json", {"HOME": "/home/me"}) == Path("/home/me/c.json")
    assert locate("/a/~/c.json", {"HOME": "/home/me"}) == Path("/a/~/c.json")
    config = loaded(tmp_path, {"mcpServers": {}, "proxy": {"log": {"file": "~/log"}}}, HOME="/home/me")
    assert config.proxy.log.file == Path("/home/me/log")


def test_our_own_files_are_beside_the_configuration_and_may_use_variables(tmp_path: Path) -> None:
    content: Content = {"mcpServers": {}, "proxy": {"log": {"file": "logs/x"}, "stateDir": "${STATE:-state}"}}
    proxy = loaded(tmp_path, content).proxy
    assert (proxy.log.file, proxy.state_dir) == (tmp_path / "logs/x", tmp_path / "state")
    assert state_directory(proxy) == tmp_path / "state"
    assert loaded(tmp_path, content, STATE="/var/x").proxy.state_dir == Path("/var/x")
    bad: Content = {"mcpServers": {}, "proxy": {"log": {"file": "${A}/${B}"}, "stateDir": "a\0b"}}
    assert problems(tmp_path, bad) == [
        "proxy.log.file: the environment variables A and B are not set",
        "proxy.stateDir: holds a NUL character",
    ]


@pytest.mark.parametrize(
    ("given", "what"), [("", "must not be empty"), ("${A:-}", "is empty once its variables are filled in")]
)
def test_no_path_is_empty_as_that_would_be_the_folder_of_the_file(given: str, what: str, tmp_path: Path) -> None:
    sections = {"log": {"file": given}, "audit": {"file": given}, "metrics": {"textfile": given}, "stateDir": given}
    places = ["log.file", "audit.file", "metrics.textfile", "stateDir"]
    found = problems(tmp_path, {"mcpServers": {}, "proxy": sections})
    assert sorted(found) == sorted(f"proxy.{place}: {what}" for place in places)


def test_the_file_of_the_audit_is_found_by_the_same_rules(tmp_path: Path) -> None:
    content: Content = {"mcpServers": {}, "proxy": {"audit": {"file": "${WHERE}/audit.log"}}}
    assert loaded(tmp_path, content, WHERE="kept").proxy.audit.file == tmp_path / "kept/audit.log"


def test_the_audit_is_no_part_of_the_log_which_is_moved_and_removed(tmp_path: Path) -> None:
    content: Content = {"mcpServers": {}, "proxy": {"log": {"file": "hub.log"}, "audit": {"file": "x/../${A}"}}}
    found = problems(tmp_path, content, A="hub.log")
    assert [line.partition(", ")[0] for line in found] == ["proxy.audit.file: is the file of the log"]
    assert loaded(tmp_path, content, A="audit.log").proxy.audit.file is not None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (True, 'must be one of false, "names", "redacted", is true'),
        ("name", 'must be one of false, "names", "redacted", is "name" (did you mean "names"?)'),
        (5, 'must be one of false, "names", "redacted", is a number'),
    ],
)
def test_what_is_logged_of_payloads_is_nothing_or_one_of_two_words(value: object, problem: str, tmp_path: Path) -> None:
    content: Content = {"mcpServers": {}, "proxy": {"log": {"payloads": value}}}
    assert problems(tmp_path, content) == [f"proxy.log.payloads: {problem}"]


def test_the_directory_of_text_files_is_found_by_the_same_rules(tmp_path: Path) -> None:
    content: Content = {"mcpServers": {}, "proxy": {"metrics": {"textfile": "${WHERE}/node"}}}
    assert loaded(tmp_path, content, WHERE="text").proxy.metrics.textfile == tmp_path / "text/node"


def test_state_is_kept_in_the_user_s_own_directory_unless_told() -> None:
    assert state_directory(ProxySettings()).name == "mcp-manifold"


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "mcp-manifold", "args": ["run", "--config", "HERE"]},
        {"command": "/opt/bin/mcp-manifold", "args": ["run", "--config=HERE"]},
        {"command": "uvx", "args": ["mcp-manifold", "run", "--config", "HERE"]},
        {"command": "python", "args": ["-m", "proxy", "run", "--config", "HERE"]},
        {"command": "mcp-manifold", "args": ["run"], "env": {"MCP_MANIFOLD_CONFIG": "HERE"}},
    ],
)
def test_an_entry_that_would_start_this_proxy_again_fails_alone(entry: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    text = json.dumps(servers(hub=entry, fine={"command": "x"})).replace("HERE", str(path))
    config = loaded(tmp_path, text)
    assert [one.problem for one in config.servers] == [
        "it starts mcp-manifold on this same file, which would never end",
        None,
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "mcp-manifold", "args": ["run", "--config", "/some/other.json"]},
        {"command": "mcp-manifold", "args": ["demo"]},
        {"command": "other", "args": ["run", "--config", "HERE"]},
    ],
)
def test_a_proxy_of_other_servers_is_an_entry_like_any(entry: dict[str, object], tmp_path: Path) -> None:
    text = json.dumps(servers(hub=entry)).replace("HERE", str(tmp_path / "config.json"))
    assert loaded(tmp_path, text).servers[0].problem is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8765/mcp", "https://LOCALHOST:8765/mcp/", "http://[::1]:8765/mcp"])
def test_an_entry_that_is_the_hub_itself_fails_alone(url: str, tmp_path: Path) -> None:
    config = loaded(tmp_path, json.dumps(servers(hub={"url": url}, fine={"command": "x"})))
    problem = "it is the hub of this same file, which would ask itself for ever"
    assert [one.problem for one in config.servers] == [problem, None]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8766/mcp", "http://127.0.0.1:8765/other", "http://elsewhere:8765/mcp"]
)
def test_another_hub_is_an_entry_like_any(url: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, json.dumps(servers(hub={"url": url}))).servers[0].problem is None


SHAPES = (ConfigFile, ServerEntry, ToolRules, ProxySettings, LogSettings, MetricsSettings, HttpSettings)
KEYS = st.sampled_from(sorted({*HONOURED, *IGNORED, *(key for shape in SHAPES for key in known_keys(shape))}))
TEXTS = st.text() | st.sampled_from(
    ["${A}", "${B:-c}", "http://x/", "stdio", "http", "sse", "ws", "json", "a b", "a_b"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=4),
    max_leaves=8,
)
ENTRIES = st.dictionaries(KEYS, VALUES, max_size=5) | VALUES
FILES = st.fixed_dictionaries(
    {"mcpServers": st.dictionaries(TEXTS, ENTRIES, max_size=3)},
    optional={"proxy": st.dictionaries(KEYS, VALUES), "$schema": VALUES, "x": VALUES},
)


def refused(path: Path) -> tuple[str, ...]:
    """The lines that refuse the file; none if it is good."""
    try:
        config = load(path, {"A": "value", "HOME": "/home/me"})
    except ConfigError as error:
        return error.problems or ("refused without a reason",)
    assert all(is_one_line(path, line) for line in config.warnings)
    assert all(one.problem is None or one.problem.isprintable() for one in config.servers)
    return ()


def is_one_line(path: Path, line: str) -> bool:
    return line.isprintable() and line.startswith(f"{path}: ")


def load_or_refuse(directory: Path, content: bytes) -> None:
    path = directory / "config.json"
    path.write_bytes(content)
    assert all(is_one_line(path, line) for line in refused(path))


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_whatever_do_more_than_refuse_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    load_or_refuse(tmp_path_factory.getbasetemp(), content)


@given(FILES | VALUES)
def test_no_values_whatever_do_more_than_refuse_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: object
) -> None:
    load_or_refuse(tmp_path_factory.getbasetemp(), json.dumps(data).encode())
