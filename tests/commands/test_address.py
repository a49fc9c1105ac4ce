"""--host and --port over what the configuration has."""

import argparse
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.commands.address import alike, at_address, hub_config
from proxy.config.models import Config, HttpSettings, ProxySettings
from proxy.errors import ConfigError

CONFIG = Config(Path("c.json"), ProxySettings(name="own", http=HttpSettings(host="::1", port=1, max_body=7)))


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ({}, "::1", 1),
        ({"host": "127.0.0.1"}, "127.0.0.1", 1),
        ({"port": 2}, "::1", 2),
        ({"port": 0}, "::1", 0),
        ({"host": "localhost", "port": 3}, "localhost", 3),
    ],
)
def test_what_is_given_takes_the_place_of_what_is_configured_and_nothing_else(
    given: dict[str, object], host: str, port: int
) -> None:
    config = at_address(CONFIG, argparse.Namespace(**{"host": None, "port": None, **given}))
    assert config.proxy.http == replace(CONFIG.proxy.http, host=host, port=port)
    assert config.proxy.name == "own"
    assert config.path == CONFIG.path


def test_without_a_file_of_the_users_the_hub_is_where_it_is_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("MCP_MANIFOLD_CONFIG", raising=False)
    found = hub_config(argparse.Namespace(config=None, host=None, port=7000))
    assert (found.proxy.http.host, found.proxy.http.port, found.proxy.state_dir) == ("127.0.0.1", 7000, None)


@pytest.mark.parametrize("named", ["option", "variable"])
def test_a_file_that_was_named_has_to_be_there(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "none.json")
    if named == "variable":
        monkeypatch.setenv("MCP_MANIFOLD_CONFIG", missing)
    with pytest.raises(ConfigError):
        hub_config(argparse.Namespace(config=missing if named == "option" else None, host=None, port=None))


def test_another_command_is_named_with_the_options_that_were_given() -> None:
    given = argparse.Namespace(config="a b.json", host=None, port=7000)
    assert alike("ui", given, "config", "host", "port") == "mcp-manifold ui --config 'a b.json' --port 7000"
