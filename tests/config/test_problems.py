from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.problems import Problem, json_path, render
from tests.config.files import entry_problems, problems, servers


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"callTimeout": "30"}, "callTimeout: must be a number, is a string"),
        ({"callTimeout": True}, "callTimeout: must be a number, is true or false"),
        ({"callTimeout": 0}, "callTimeout: must be greater than 0"),
        ({"callTimeout": -1}, "callTimeout: must be greater than 0"),
        ({"callTimeout": 10**400}, "callTimeout: must be a finite number"),
        ({"startTimeout": 0}, "startTimeout: must be greater than 0"),
        ({"enabled": "yes"}, "enabled: must be true or false, is a string"),
        ({"enabled": 1}, "enabled: must be true or false, is a number"),
        ({"args": "-y"}, "args: must be an array of strings, is a string"),
        ({"args": [1]}, "args[0]: must be a string, is a number; put it in quotes"),
        ({"env": {"PORT": 8080}}, "env.PORT: must be a string, is a number; put it in quotes"),
        ({"env": {"DEBUG": True}}, "env.DEBUG: must be a string, is true or false; put it in quotes"),
        ({"env": {"A": None}}, "env.A: must be a string, is null"),
        ({"env": ["A=b"]}, "env: must be an object, is an array"),
        ({"env": {"my var": 1}}, 'env["my var"]: must be a string, is a number; put it in quotes'),
        ({"inheritEnv": "LANG"}, "inheritEnv: must be an array of strings, is a string"),
        ({"prefix": 5}, "prefix: must be a string, is a number; put it in quotes"),
        ({"tools": {"allow": "x"}}, "tools.allow: must be an array of strings, is a string"),
        ({"tools": {"rename": ["a"]}}, "tools.rename: must be an object, is an array"),
        ({"tools": "x"}, "tools: must be an object, is a string"),
        (
            {"type": "htpp"},
            'type: must be one of "stdio", "http", "streamable-http", "sse", is "htpp" (did you mean "http"?)',
        ),
        ({"type": 5}, 'type: must be one of "stdio", "http", "streamable-http", "sse", is a number'),
    ],
)
def test_a_wrong_value_is_named_with_what_belongs_there(entry: dict[str, object], said: str, tmp_path: Path) -> None:
    assert entry_problems(tmp_path, {"command": "x", **entry}) == [said]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("callTimout", 'unknown key (did you mean "callTimeout"?)'),
        ("call_timeout", 'unknown key (did you mean "callTimeout"?)'),
        ("ENV", 'unknown key (did you mean "env"?)'),
        ("arguments", 'unknown key (did you mean "args"?)'),
        ("autoAprove", 'unknown key (did you mean "autoApprove"?)'),
        ("deny", 'unknown key; it belongs inside "tools"'),
        (
            "zzzz",
            (
                "unknown key (known: command, args, env, cwd, type, url, headers, enabled, prefix, callTimeout, "
                "startTimeout, callMaximum, askTimeout, maxRunning, maxQueued, trustHints, start, idleStop, "
                "inheritEnv, tools)"
            ),
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key: str, said: str, tmp_path: Path) -> None:
    assert entry_problems(tmp_path, {"command": "x", key: {}}) == [f"{key}: {said}"]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "mcpServers": {
                "a": {"command": 5, "tools": {"alow": []}},
                "b": {},
                "c": 5,
                "d": {"command": "x"},
                "e": {"command": "x", "prefix": "d"},
            },
            "proxy": {
                "name": "my hub",
                "instructions": 5,
                "log": {"level": "INFO", "fmt": "json", "file": 5},
                "metrics": {"enabled": "yes", "host": "", "port": 70000},
                "listWait": -1,
                "port": 1,
            },
            "proxi": {},
        },
    )
    assert found == [
        'proxi: unknown key (did you mean "proxy"?)',
        "mcpServers.a.command: must be a string, is a number; put it in quotes",
        'mcpServers.a.tools.alow: unknown key (did you mean "allow"?)',
        "mcpServers.c: must be an object, is a number",
        "proxy.name: may only contain letters, digits, _ and -",
        "proxy.instructions: must be a string, is a number; put it in quotes",
        'proxy.log.level: must be one of "debug", "info", "warning", "error", is "INFO" (did you mean "info"?)',
        "proxy.log.file: must be a string, is a number; put it in quotes",
        'proxy.log.fmt: unknown key (did you mean "format"?)',
        "proxy.metrics.enabled: must be true or false, is a string",
        "proxy.metrics.host: must not be empty",
        "proxy.metrics.port: must be at most 65535",
        "proxy.listWait: must be at least 0",
        'proxy.port: unknown key; it belongs inside "metrics"',
        "mcpServers.b: needs a command (a program to start) or a url (a server to reach)",
        (
            'mcpServers.e.prefix: two entries for one prefix: "d" is the prefix of "d", too; '
            'give one of them another "prefix"'
        ),
    ]


def test_no_value_is_ever_quoted_as_it_may_be_a_secret(tmp_path: Path) -> None:
    entry = {
        "command": ["hunter2"],
        "args": {"hunter2": 1},
        "url": "hunter2",
        "headers": {"A": "hunter2\r\n", "B": ["hunter2"]},
        "env": "hunter2",
        "timeout": "hunter2",
        "disabled": "hunter2",
        "includeTools": "hunter2",
    }
    assert "hunter2" not in "".join(entry_problems(tmp_path, entry))


def test_a_name_can_t_forge_a_line_or_colour_a_terminal(tmp_path: Path) -> None:
    key = "a\n/etc/x: fine\x1b[31m\u202e\x9b"
    assert problems(tmp_path, servers(**{key: {"command": 5}})) == [
        r'mcpServers["a\n/etc/x: fine\u001b[31m\u202e\x9b"].command: must be a string, is a number; put it in quotes'
    ]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ((), ""),
        (("mcpServers", "my-server", "args", 0), "mcpServers.my-server.args[0]"),
        (("mcpServers", "my server"), 'mcpServers["my server"]'),
        (("mcpServers", ""), 'mcpServers[""]'),
        (("mcpServers", 'a"b'), r'mcpServers["a\"b"]'),
    ],
)
def test_a_place_is_written_as_one_would_type_it(location: tuple[str | int, ...], path: str) -> None:
    assert json_path(location) == path


@given(st.text(), st.lists(st.text() | st.integers()), st.text())
def test_a_problem_is_one_line_that_any_terminal_can_show(file: str, location: list[str | int], what: str) -> None:
    line = render(file, Problem(tuple(location), what))
    assert line.isprintable()
    line.encode()
