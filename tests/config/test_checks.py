from pathlib import Path

import pytest

from proxy.config import checks
from proxy.config.models import ServerEntry
from proxy.names import longest_prefix
from tests.config.files import entry_problems, loaded, problems, server, servers

URL = "must be an address that begins with http:// or https:// and has no spaces"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, ": needs a command (a program to start) or a url (a server to reach)"),
        ({"args": ["x"]}, ": needs a command (a program to start) or a url (a server to reach)"),
        (
            {"command": "x", "url": "http://x/"},
            ": has both command and url; a server is started or reached, not both",
        ),
        ({"type": "http", "command": "x"}, 'type: "http" needs a url, but the entry has a command'),
        ({"type": "stdio", "url": "http://x/"}, 'type: "stdio" needs a command, but the entry has a url'),
        ({"command": " "}, "command: is empty"),
        ({"command": "x", "cwd": ""}, "cwd: is empty"),
        ({"url": ""}, f"url: {URL}"),
        ({"url": "localhost:8000"}, f"url: {URL}"),
        ({"url": "ftp://x/"}, f"url: {URL}"),
        ({"url": "https://"}, f"url: {URL}"),
        ({"url": "https://x/a b"}, f"url: {URL}"),
        ({"url": "https://x/\r\nHost: y"}, f"url: {URL}"),
        ({"command": "x\0"}, "command: holds a NUL character"),
        ({"command": "x", "args": ["a", "\0"]}, "args[1]: holds a NUL character"),
        ({"command": "x", "env": {"A": "\0"}}, "env.A: holds a NUL character"),
        ({"command": "x", "env": {"": "a"}}, 'env[""]: is no name of a variable: it is empty or holds "="'),
        ({"command": "x", "env": {"A=B": "a"}}, 'env["A=B"]: is no name of a variable: it is empty or holds "="'),
        ({"command": "x", "inheritEnv": ["A="]}, 'inheritEnv[0]: is no name of a variable: it is empty or holds "="'),
        ({"url": "http://x/", "headers": {"a b": "c"}}, 'headers["a b"]: is no name of a header'),
        ({"url": "http://x/", "headers": {"": "c"}}, 'headers[""]: is no name of a header'),
        (
            {"url": "http://x/", "headers": {"A": "b\r\nC: d"}},
            "headers.A: holds a line break, which would end the header",
        ),
        ({"url": "http://x/", "headers": {"A": "b "}}, "headers.A: begins or ends with a space"),
        (
            {"url": "http://x/", "headers": {"A": "b\0c"}},
            "headers.A: holds characters other than printable ASCII ones",
        ),
        (
            {"command": "x", "tools": {"rename": {"a": "c", "b": "c"}}},
            'tools.rename.b: "a" is renamed to "c", too',
        ),
        ({"command": "x", "tools": {"rename": {"a": ""}}}, "tools.rename.a: the new name is empty"),
    ],
)
def test_an_entry_that_could_never_work_is_refused(entry: dict[str, object], said: str, tmp_path: Path) -> None:
    assert entry_problems(tmp_path, entry) == [said]


def test_a_websocket_server_fails_alone_and_says_so(tmp_path: Path) -> None:
    config = loaded(tmp_path, servers(ws={"type": "ws", "url": "wss://x/"}, fine={"command": "x"}))
    assert [server.problem for server in config.servers] == [
        'WebSocket servers (type "ws") are not supported; use "http" or "sse", or a command that bridges',
        None,
    ]


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ({"command": "${X}"}, "", "command is empty once its variables are filled in"),
        ({"url": "${X}"}, "localhost:80", f"url {URL} once its variables are filled in"),
        (
            {"url": "http://x/", "headers": {"Authorization": "Bearer ${X}"}},
            "token\nmore",
            "headers.Authorization holds a line break, which would end the header once its variables are filled in",
        ),
        (
            {"url": "http://x/", "headers": {"Authorization": "Bearer ${X}"}},
            "",
            "headers.Authorization begins or ends with a space once its variables are filled in",
        ),
    ],
)
def test_a_variable_that_spoils_its_entry_fails_that_server_alone(
    entry: dict[str, object], value: str, said: str, tmp_path: Path
) -> None:
    assert server(tmp_path, entry, X=value).problem == said


def test_two_enabled_entries_for_one_prefix_are_refused(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        servers(
            **{"a b": {"command": "x"}, "a_b": {"command": "x"}, "a.b": {"command": "x"}},
            c={"command": "x", "prefix": "same"},
            d={"command": "x", "prefix": "same"},
            e={"command": "x", "prefix": ""},
            f={"command": "x", "prefix": ""},
        ),
    )
    again = 'give one of them another "prefix"'
    assert found == [
        f'mcpServers.a_b: two entries for one prefix: "a_b" is the prefix of "a b", too; {again}',
        f'mcpServers["a.b"]: two entries for one prefix: "a_b" is the prefix of "a b", too; {again}',
        f'mcpServers.d.prefix: two entries for one prefix: "same" is the prefix of "c", too; {again}',
        (
            'mcpServers.f.prefix: two entries for one prefix: "e" has no prefix either; only one can do without; '
            f"{again}"
        ),
    ]


def test_a_disabled_entry_takes_no_prefix(tmp_path: Path) -> None:
    config = loaded(tmp_path, servers(a={"command": "x"}, b={"command": "x", "prefix": "a", "enabled": False}))
    assert [(server.key, server.prefix, server.entry.enabled) for server in config.servers] == [
        ("a", "a", True),
        ("b", "a", False),
    ]


def test_one_warning_names_keys_that_have_no_effect(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        servers(
            web={"url": "http://x/", "env": {"A": "b"}, "args": ["x"], "cwd": None, "inheritEnv": []},
            child={"command": "x", "headers": {"A": "b"}},
        ),
    )
    assert [line.partition("config.json: ")[2] for line in config.warnings] == [
        'mcpServers: keys without effect on their kind of server: args, env ("web"); headers ("child")'
    ]


def test_a_prefix_that_leaves_no_room_for_names_is_refused() -> None:
    longest = longest_prefix("hub")
    assert checks.too_long({"a" * longest: ServerEntry(command="x")}, "hub") == []
    [problem] = checks.too_long({"a" * (longest + 1): ServerEntry(command="x")}, "hub")
    assert f"at most {longest} characters" in problem.what
    assert checks.too_long({"a" * 99: ServerEntry(command="x", enabled=False)}, "hub") == []
    assert checks.too_long({"a" * 99: ServerEntry(command="x", prefix="short")}, "hub") == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("allowedOrigins", "*", 'allowedOrigins[0]: "*" is no origin'),
        ("allowedOrigins", "example.com", 'allowedOrigins[0]: "example.com" is no origin'),
        ("allowedOrigins", "https://example.com/path", "is no origin, such as"),
        ("allowedHosts", "http://a.com", 'allowedHosts[0]: "http://a.com" is no name of a host'),
        ("allowedHosts", "*.example.com", "is no name of a host"),
        ("allowedHosts", "", "is no name of a host"),
    ],
)
def test_what_no_browser_would_ever_send_is_refused(key: str, value: str, said: str, tmp_path: Path) -> None:
    [line] = problems(tmp_path, {**servers(), "proxy": {"http": {key: [value]}}})
    assert said in line


def test_hosts_and_origins_as_browsers_send_them_are_fine(tmp_path: Path) -> None:
    http = {
        "allowedHosts": ["hub.example.com", "hub:8765", "[::1]:80", "10.0.0.1"],
        "allowedOrigins": [
            "https://app.example.com",
            "http://localhost:3000",
            "http://[::1]:3000/",
            "chrome-extension://abc",
        ],
    }
    assert loaded(tmp_path, {**servers(), "proxy": {"http": http}}).proxy.http.allowed_hosts == (
        "hub.example.com",
        "hub:8765",
        "[::1]:80",
        "10.0.0.1",
    )
