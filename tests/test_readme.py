"""The README keeps its word: its examples work, its tables say what is so."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from proxy.cli import build_parser
from proxy.config.load import load
from proxy.config.models import (
    AuditSettings,
    HttpSettings,
    LogSettings,
    MetricsSettings,
    OtlpSettings,
    ProxySettings,
    ServerEntry,
    ToolRules,
    TracesSettings,
)
from proxy.events import CallFinished
from proxy.telemetry.logs import build_logs
from proxy.telemetry.sink import LogSink
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.manifold import write_config
from tests.test_langchain import following

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
CALL = CallFinished("c", "s", "7", "time", "convert_time", "ok", 0.001, 1, 2)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> dict[str, str]:
    """First column -> second one, of the table that follows a sentence."""
    table = TEXT.split(heading, 1)[1].split("\n\n", 2)[1]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {name.strip(): value.strip() for name, value, *_ in cells}


def commands() -> list[str]:
    spoken = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines()]
    started = [line.partition(" -- ")[2] or line for line in spoken]
    return [line.strip() for line in started if line.strip().startswith("mcp-manifold")]


def test_the_configuration_loads_as_it_stands(tmp_path: Path) -> None:
    [example] = [block for block in blocks("json") if '"docs"' in block]
    (tmp_path / "config.json").write_text(example)
    config = load(tmp_path / "config.json", {"HOME": "/home/me"})
    assert {server.key: server.problem for server in config.servers} == {"time": None, "files": None, "docs": None}
    assert config.warnings == ()


def test_the_clients_entry_starts_what_there_is() -> None:
    [entry] = [json.loads(block)["mcpServers"]["hub"] for block in blocks("json") if '"hub"' in block]
    assert entry["command"] == "mcp-manifold"
    assert build_parser().parse_args(entry["args"]).command == "run"


@pytest.mark.parametrize("line", commands())
def test_every_command_line_is_understood(line: str) -> None:
    build_parser().parse_args(shlex.split(line)[1:])


def test_the_commands_are_those_that_there_are() -> None:
    named = {re.findall(r"mcp-manifold (\w+)", name)[0] for name in rows("a permission rule for one server is")}
    shown = set(re.findall(r"^    (\w+)  ", build_parser().format_help(), re.MULTILINE))
    assert named == shown


def test_the_python_example_runs(tmp_path: Path) -> None:
    [example] = [block for block in blocks("python") if "asyncio.run" in block]
    write_config(tmp_path, {"time": servers.time()}).rename(tmp_path / "config.json")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "time__get_current_time - " in done.stdout
    assert done.stdout.rstrip().endswith("False")
    assert done.stderr == ""


async def test_the_langgraph_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = [block for block in blocks("python") if "async def ask" in block]
    write_config(tmp_path, {"time": servers.time()}).rename(tmp_path / "config.json")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 (our own README)
    model = following([("time__get_current_time", {"timezone": "UTC"})])
    with anyio.fail_after(PATIENCE):
        assert await names["ask"](model, "How late is it?") == "done"
    assert "time__convert_time" in model.offered[0]


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE))
def test_every_make_target_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def default_of(key: str, models: dict[str, type[msgspec.Struct]]) -> object:
    *outer, last = key.split(".")
    defaults = models[".".join(outer)]()
    [name] = [field.name for field in msgspec.structs.fields(defaults) if field.encode_name == last]
    default: object = getattr(defaults, name)
    return default


@pytest.mark.parametrize(
    ("heading", "models"),
    [
        ("For each server, under `mcpServers`:", {"": ServerEntry, "tools": ToolRules}),
        (
            "For the proxy itself, under `proxy`:",
            {
                "": ProxySettings,
                "log": LogSettings,
                "audit": AuditSettings,
                "metrics": MetricsSettings,
                "metrics.otlp": OtlpSettings,
                "http": HttpSettings,
                "traces": TracesSettings,
            },
        ),
    ],
)
def test_keys_and_defaults_are_those_of_the_code(heading: str, models: dict[str, type[msgspec.Struct]]) -> None:
    for keys, told in rows(heading).items():
        names = re.findall(r"`([\w.]+)`", keys)
        defaults = [default_of(name, models) for name in names]
        literals = re.findall(r"`([^`]+)`", told)
        if len(literals) == len(names):
            real = [list(each) if isinstance(each, tuple) else each for each in defaults]
            assert [json.loads(literal) for literal in literals] == real


def test_the_log_line_has_the_form_of_a_real_one(tmp_path: Path) -> None:
    [shown] = [json.loads(block) for block in blocks("json") if block.startswith('{"time"')]
    sink = LogSink(tmp_path / "log")
    build_logs(LogSettings(), sink=sink)(CALL)
    sink.close()
    real = json.loads((tmp_path / "log").read_text())
    assert list(shown) == list(real)
    assert {key: type(value) for key, value in shown.items()} == {key: type(value) for key, value in real.items()}
