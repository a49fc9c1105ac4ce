import base64
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config.models import Config, Server, ServerEntry
from proxy.config.secrets import secrets
from tests.config.files import loaded, servers

NOWHERE: dict[str, str] = {}


def of(entry: Mapping[str, object], directory: Path, **environ: str) -> set[str]:
    return set(secrets(loaded(directory, servers(one=entry), **environ), environ))


def test_values_of_environment_and_headers_are_secret(tmp_path: Path) -> None:
    env = {"command": "x", "env": {"A": "s3cret-a", "B": "prefix ${B}"}}
    assert of(env, tmp_path, B="s3cret-b") == {"s3cret-a", "prefix s3cret-b", "s3cret-b"}
    web = {"url": "http://x/", "headers": {"X-Key": "s3cret-x", "Authorization": "Bearer s3cret-y"}}
    assert of(web, tmp_path) == {"s3cret-x", "Bearer s3cret-y", "s3cret-y"}


def test_what_a_variable_puts_into_command_arguments_or_address_is_secret(tmp_path: Path) -> None:
    environ = {"A": "s3cret-a", "B": "s3cret-b"}
    assert of({"command": "${A}", "args": ["x", "y ${B}"]}, tmp_path, **environ) == {"s3cret-a", "s3cret-b"}
    assert of({"url": "http://${A}.example/"}, tmp_path, **environ) == {"s3cret-a"}


def test_a_default_is_no_secret_as_the_file_shows_it(tmp_path: Path) -> None:
    assert of({"command": "x", "args": ["${A:-localhost}"]}, tmp_path) == set()


def test_a_server_that_can_t_run_still_has_its_secrets(tmp_path: Path) -> None:
    entry = {"command": "x", "enabled": False, "env": {"A": "s3cret-a", "B": "${UNSET}"}, "args": ["${C}"]}
    assert of(entry, tmp_path, C="s3cret-c") >= {"s3cret-a", "s3cret-c"}


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "x", "args": ["--api-key", "s3cret-x", "--verbose"]},
        {"command": "x", "args": ["--api-key=s3cret-x"]},
        {"command": "docker", "args": ["run", "-e", "GITHUB_TOKEN=s3cret-x", "-e", "MODE=lenient"]},
        {"url": "https://x/mcp?profile=default&api_key=s3cret-x#top"},
        {"url": "https://someone:s3cret-x@example.com/mcp"},
        {"command": "npx", "args": ["mcp-remote", "https://x/?token=s3cret-x"]},
    ],
)
def test_what_an_argument_or_address_calls_a_secret_is_one(entry: dict[str, object], tmp_path: Path) -> None:
    assert of(entry, tmp_path) == {"s3cret-x"}


@pytest.mark.parametrize("url", ["https://x/mcp?api_key=s3cret%2Fx%2By", "https://me:s3cret%2Fx%2By@example.com/mcp"])
def test_a_secret_in_an_address_is_one_as_a_server_reads_it_too(url: str, tmp_path: Path) -> None:
    assert of({"url": url}, tmp_path) == {"s3cret%2Fx%2By", "s3cret/x+y"}


def test_a_header_given_as_an_argument_is_a_header(tmp_path: Path) -> None:
    entry = {"command": "npx", "args": ["mcp-remote", "https://x/", "--header", "Authorization: Bearer s3cret-x"]}
    assert of(entry, tmp_path) == {"Bearer s3cret-x", "s3cret-x"}


def test_a_password_inside_a_setting_is_found_by_itself_too(tmp_path: Path) -> None:
    entry = {"command": "x", "env": {"DATABASE_URL": "postgres://me:s3cret-x@db/main"}}
    assert of(entry, tmp_path) == {"postgres://me:s3cret-x@db/main", "s3cret-x"}


def test_a_key_of_many_lines_is_found_line_by_line(tmp_path: Path) -> None:
    body = base64.b64encode(b"not really a key").decode()
    entry = {"command": "x", "env": {"KEY": f"-----BEGIN KEY-----\n{body}\n-----END KEY-----\n"}}
    assert body in of(entry, tmp_path)


def test_what_is_common_in_text_is_not_redacted(tmp_path: Path) -> None:
    entry = {
        "command": "x",
        "args": ["${HOME}/data", "--verbose", "--token", "--port=123456", "${PATH}"],
        "env": {
            "SHORT": "abcde",
            "YES": "true",
            "PORT": "123456",
            "RATIO": "0.12345",
            "MODE": "production",
            "LOG_LEVEL": "debug,http",
            "PATH": "/opt/x/bin",
            "DATA": "/home/someone",
            "SERVER": "one",
            "BLANK": "          ",
        },
    }
    assert of(entry, tmp_path, HOME="/home/someone", PATH="/usr/bin:/bin") == set()
    web = {"url": "http://x/", "headers": {"Accept": "application/json", "User-Agent": "something/1.0"}}
    assert of(web, tmp_path) == set()


def test_a_plain_word_is_secret_where_its_name_says_so(tmp_path: Path) -> None:
    assert of({"command": "x", "env": {"DB_PASSWORD": "letmein"}}, tmp_path) == {"letmein"}


def test_the_name_of_a_server_is_never_redacted() -> None:
    entry = ServerEntry(command="x", env={"GITHUB_TOKEN": "github-work"})
    servers = (Server("github", "github", entry), Server("github-work", "work", ServerEntry(command="x")))
    assert secrets(Config(Path("config.json"), servers=servers), NOWHERE) == frozenset()


def test_a_representation_of_a_configuration_shows_none_of_them(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        servers(
            a={"command": "x", "args": ["${T}"], "env": {"A": "s3cret-x"}},
            b={"url": "http://x/?key=s3cret-x", "headers": {"A": "s3cret-x"}},
        ),
        T="s3cret-x",
    )
    assert "s3cret" not in repr(config)
