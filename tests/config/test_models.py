from pathlib import Path

import pytest
from rich.pretty import pretty_repr

from proxy.config.models import ConfigFile, LogSettings, MetricsSettings, OtlpSettings, ProxySettings, ServerEntry
from tests.config.files import loaded, server, servers


def test_an_entry_has_these_values_unless_it_says_otherwise(tmp_path: Path) -> None:
    entry = server(tmp_path, {"command": "x"}).entry
    assert entry.enabled
    assert (entry.call_timeout, entry.start_timeout, entry.call_maximum) == (300.0, 30.0, 3600.0)
    assert (entry.max_running, entry.max_queued, entry.trust_hints) == (64, 256, False)
    assert (entry.args, entry.env, entry.cwd, entry.headers, entry.inherit_env) == ((), {}, None, {}, ())
    assert (entry.tools.allow, entry.tools.deny, entry.tools.rename, entry.tools.describe) == (None, (), {}, {})


def test_the_proxy_has_these_values_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    proxy = loaded(tmp_path, servers()).proxy
    assert (proxy.name, proxy.instructions, proxy.list_wait, proxy.state_dir) == ("hub", None, 10.0, None)
    assert proxy.log == LogSettings(level="info", format="json", file=None)
    assert proxy.metrics == MetricsSettings(enabled=False, host="127.0.0.1", port=9464)


def test_the_file_says_it_in_camel_case(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            "mcpServers": {
                "one": {
                    "command": "x",
                    "callTimeout": 1.5,
                    "startTimeout": 2,
                    "callMaximum": 20,
                    "maxRunning": 1,
                    "maxQueued": 0,
                    "trustHints": True,
                    "inheritEnv": ["LANG"],
                    "tools": {"allow": ["a*"], "deny": ["ab"], "rename": {"a": "b"}, "describe": {"a": "An a."}},
                }
            },
            "proxy": {
                "name": "my-hub",
                "instructions": "Be kind.",
                "listWait": 0,
                "stateDir": "/var/lib/x",
                "log": {"level": "debug", "format": "console", "file": "/var/log/x"},
                "metrics": {"enabled": True, "host": "::1", "port": 0, "discovery": True, "textfile": "/var/lib/node"},
            },
        },
    )
    entry = config.servers[0].entry
    assert (entry.call_timeout, entry.start_timeout, entry.inherit_env) == (1.5, 2.0, ("LANG",))
    assert (entry.call_maximum, entry.max_running, entry.max_queued, entry.trust_hints) == (20.0, 1, 0, True)
    assert (entry.tools.allow, entry.tools.deny) == (("a*",), ("ab",))
    assert (entry.tools.rename, entry.tools.describe) == ({"a": "b"}, {"a": "An a."})
    assert config.proxy == ProxySettings(
        name="my-hub",
        instructions="Be kind.",
        list_wait=0,
        state_dir=Path("/var/lib/x"),
        log=LogSettings(level="debug", format="console", file=Path("/var/log/x")),
        metrics=MetricsSettings(enabled=True, host="::1", port=0, discovery=True, textfile=Path("/var/lib/node")),
    )


@pytest.mark.parametrize(
    ("entry", "transport"),
    [
        ({"command": "x"}, "stdio"),
        ({"type": "stdio", "command": "x"}, "stdio"),
        ({"url": "http://x/"}, "streamable-http"),
        ({"type": "http", "url": "http://x/"}, "streamable-http"),
        ({"type": "streamable-http", "url": "http://x/"}, "streamable-http"),
        ({"type": "sse", "url": "http://x/"}, "sse"),
    ],
)
def test_the_transport_follows_from_the_entry(entry: dict[str, object], transport: str, tmp_path: Path) -> None:
    assert server(tmp_path, entry).entry.transport == transport


def test_a_shape_can_t_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        ServerEntry(command="x").command = "y"  # type: ignore[misc]


def test_secrets_show_in_no_representation() -> None:
    entry = ServerEntry(url="http://x/?key=hunter2", headers={"A": "hunter2"}, env={"A": "hunter2"}, args=("hunter2",))
    assert "hunter2" not in repr(entry)
    assert "hunter2" not in repr(ConfigFile(mcp_servers={"one": entry}))
    assert "hunter2" not in pretty_repr(entry)
    assert "call_timeout=300.0" in repr(entry)


def test_figures_are_kept_where_any_way_out_is_asked_for() -> None:
    assert not MetricsSettings(host="0.0.0.0", port=1).is_wanted
    otlp = OtlpSettings(endpoint="http://localhost:4318")
    wanted = (
        MetricsSettings(enabled=True),
        MetricsSettings(discovery=True),
        MetricsSettings(textfile=Path("x")),
        MetricsSettings(otlp=otlp),
    )
    assert all(settings.is_wanted for settings in wanted)
