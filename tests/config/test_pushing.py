"""Where spans are sent to: what the file says, with variables filled in; a mistake there costs the spans alone."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config.models import TracesSettings
from proxy.config.pushing import settle
from proxy.config.secrets import secrets
from proxy.errors import ConfigError
from tests.config.files import loaded


def traces(folder: Path, settings: Mapping[str, object], **environ: str) -> tuple[TracesSettings, tuple[str, ...]]:
    config = loaded(folder, {"mcpServers": {"x": {"command": "x"}}, "proxy": {"traces": settings}}, **environ)
    return config.proxy.traces, config.warnings


def test_nothing_is_sent_unless_it_is_said_where(tmp_path: Path) -> None:
    assert traces(tmp_path, {"headers": {"X-Key": "${UNSET}"}})[0].endpoint is None
    assert traces(tmp_path, {})[1] == ()


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://otlp.example/v1/traces", "https://otlp.example/v1/traces"),
        ("https://otlp.example/base/", "https://otlp.example/base/"),
        ("https://otlp.example/?key=x", "https://otlp.example/?key=x"),
    ],
)
def test_an_address_without_a_path_gets_the_usual_one(given: str, full: str, tmp_path: Path) -> None:
    assert traces(tmp_path, {"endpoint": given})[0].endpoint == full


def test_variables_are_filled_in_and_secret(tmp_path: Path) -> None:
    settings = {"endpoint": "https://${HOST}/${KEY}/in?token=s3cret-t", "headers": {"Authorization": "Bearer ${TOKEN}"}}
    environ = {"HOST": "otlp.example", "KEY": "s3cret-k", "TOKEN": "s3cret-b"}
    config = loaded(tmp_path, {"mcpServers": {}, "proxy": {"traces": settings}}, **environ)
    assert config.proxy.traces.endpoint == "https://otlp.example/s3cret-k/in?token=s3cret-t"
    assert config.proxy.traces.headers == {"Authorization": "Bearer s3cret-b"}
    assert secrets(config, environ) >= {"s3cret-k", "s3cret-b", "s3cret-t", "Bearer s3cret-b"}
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"endpoint": "http://${UNSET}:4318"}, "the environment variable UNSET is not set"),
        ({"endpoint": "http://x", "headers": {"X-Key": "${UNSET}"}}, "the environment variable UNSET is not set"),
        ({"endpoint": "${EMPTY}"}, "proxy.traces.endpoint must be an address"),
        ({"endpoint": "http://x", "headers": {"X-Key": "a${BREAK}b"}}, "holds a line break"),
    ],
)
def test_what_the_environment_spoils_costs_the_spans_alone(
    settings: dict[str, object], why: str, tmp_path: Path
) -> None:
    found, warnings = traces(tmp_path, settings, EMPTY="", BREAK="\n")
    assert found.endpoint is None
    [warning] = warnings
    assert "no traces are sent" in warning
    assert why in warning


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"endpoint": "localhost:4318"}, "proxy.traces.endpoint: must be an address"),
        ({"endpoint": ""}, "proxy.traces.endpoint: must not be empty"),
        ({"endpoint": "http://x", "headers": {"a b": "c"}}, 'proxy.traces.headers["a b"]: is no name of a header'),
        ({"endpoint": "http://x", "ratio": 1.5}, "proxy.traces.ratio: must be at most 1"),
        ({"endpoint": "http://x", "ratio": -0.5}, "proxy.traces.ratio: must be at least 0"),
        ({"endpiont": "http://x"}, "endpoint"),
    ],
)
def test_what_the_file_spoils_is_told_with_its_place(settings: dict[str, object], what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        traces(tmp_path, settings)
    [line] = caught.value.problems
    assert what in line


def test_an_address_that_python_cannot_read_raises_nothing() -> None:
    found, warnings, _ = settle(TracesSettings(endpoint="http://[::1"), {})
    assert (found.endpoint, warnings) == ("http://[::1", [])


def test_figures_go_where_they_are_told_by_the_same_rules(tmp_path: Path) -> None:
    otlp = {"endpoint": "https://otlp.example", "headers": {"X-Key": "${TOKEN}"}, "interval": 15}
    content = {"mcpServers": {}, "proxy": {"metrics": {"otlp": otlp}}}
    config = loaded(tmp_path, content, TOKEN="s3cret-b")
    found = config.proxy.metrics.otlp
    assert (found.endpoint, found.interval) == ("https://otlp.example/v1/metrics", 15.0)
    assert found.headers == {"X-Key": "s3cret-b"}
    assert "s3cret-b" in secrets(config, {})
    assert "s3cret" not in repr(config)
    without = loaded(tmp_path, content)
    assert without.proxy.metrics.otlp.endpoint is None
    assert [line for line in without.warnings if "no metrics are sent: the environment variable TOKEN" in line]


def test_what_the_file_spoils_of_the_figures_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, {"mcpServers": {}, "proxy": {"metrics": {"otlp": {"endpoint": "localhost:4318"}}}})
    [line] = caught.value.problems
    assert "proxy.metrics.otlp.endpoint: must be an address" in line
