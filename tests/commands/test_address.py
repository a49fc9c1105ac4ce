"""--host and --port over what the configuration has."""

import argparse
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.commands.address import at_address
from proxy.config.models import Config, HttpSettings, ProxySettings

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
