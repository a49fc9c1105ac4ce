"""What is made of this project for others: the bundle for Claude Desktop, and the entry of the MCP registry."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy import __version__
from proxy.cli import build_parser
from tests.support import servers
from tests.support.client import ChildWire, connected
from tests.support.manifold import tools_until, write_config

ROOT = servers.ROOT
DEPLOY = ROOT / "deploy"
MCPB = servers.NPM / "@anthropic-ai/mcpb/dist"
MANIFEST = json.loads((DEPLOY / "mcpb/manifest.json").read_text())
SERVER = json.loads((DEPLOY / "server.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Claude Desktop's own code, from the package that it publishes: which command a manifest and a user's choices make.
FILL_IN = """
const { getMcpConfigForManifest } = await import(process.argv[1]);
const [manifest, extensionPath, userConfig] = process.argv.slice(2).map((text) => JSON.parse(text));
const made = await getMcpConfigForManifest(
  { manifest, extensionPath, userConfig, systemDirs: { HOME: "/home/me" }, pathSeparator: "/" });
console.log(JSON.stringify(made ?? null));
"""

TEXT = {"type": "string", "minLength": 1}
URL = {"type": "string", "pattern": "^https://"}
VERSION = {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}

ARGUMENTS: list[dict[str, Any]] = [
    {
        "required": ["type", "value"],
        "additionalProperties": False,
        "properties": {"type": {"const": "positional"}, "value": TEXT},
    },
    {
        "required": ["type", "name"],
        "additionalProperties": False,
        "properties": {
            "type": {"const": "named"},
            "name": TEXT,
            "description": TEXT,
            "format": {"enum": ["string", "number", "boolean", "filepath"]},
            "isRequired": {"type": "boolean"},
        },
    },
]

# What the registry's format of 2025-12-11 asks of the members that we have, in our words; nothing else may be there.
REGISTRY: dict[str, Any] = {
    "type": "object",
    "required": ["$schema", "name", "description", "version", "repository", "packages"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": {"type": "string", "maxLength": 200, "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": VERSION,
        "websiteUrl": URL,
        "repository": {
            "type": "object",
            "required": ["url", "source"],
            "additionalProperties": False,
            "properties": {"url": URL, "source": {"const": "github"}},
        },
        "packages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["registryType", "identifier", "version", "transport"],
                "additionalProperties": False,
                "properties": {
                    "registryType": {"const": "pypi"},
                    "identifier": TEXT,
                    "version": VERSION,
                    "runtimeHint": {"const": "uvx"},
                    "transport": {"const": {"type": "stdio"}},
                    "packageArguments": {"type": "array", "items": {"oneOf": ARGUMENTS}},
                },
            },
        },
        "_meta": {
            "type": "object",
            "propertyNames": {"const": "io.modelcontextprotocol.registry/publisher-provided"},
        },
    },
}


def node(*words: str) -> str:
    """What a program of node's prints."""
    done = subprocess.run([servers.NODE, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as `make bundle` makes it."""
    file = tmp_path_factory.mktemp("dist") / "new" / "mcp-manifold.mcpb"
    words = [sys.executable, str(DEPLOY / "mcpb/build.py"), str(file)]
    env = {**os.environ, "PATH": f"{servers.BIN}:/usr/bin:/bin"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return file


@pytest.fixture(scope="module")
def unpacked(bundle: Path) -> Path:
    folder = bundle.parent / "unpacked"
    node(str(MCPB / "cli/cli.js"), "unpack", str(bundle), str(folder))
    return folder


def filled_in(folder: Path, **chosen: str) -> dict[str, Any] | None:
    """What Claude Desktop would start for this bundle, with what its user chose."""
    given = [json.dumps(value) for value in (MANIFEST, str(folder), chosen)]
    made: dict[str, Any] | None = json.loads(node("--input-type=module", "-e", FILL_IN, str(MCPB / "node.js"), *given))
    return made


def test_the_manifest_is_one_by_the_bundlers_own_judgement() -> None:
    assert "validation passes" in node(str(MCPB / "cli/cli.js"), "validate", str(DEPLOY / "mcpb/manifest.json"))


def test_the_bundle_has_the_package_and_nothing_of_this_machine(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as file:
        names = set(file.namelist())
        project = tomllib.loads(file.read("pyproject.toml").decode())
    own = {f"proxy/{path.relative_to(ROOT / 'proxy').as_posix()}" for path in (ROOT / "proxy").rglob("*.py")}
    assert own <= names
    assert {name for name in names if not name.startswith("proxy/")} == {
        "LICENSE",
        "manifest.json",
        "pyproject.toml",
        "server.py",
    }
    assert [name for name in names if name.endswith((".pyc", ".so")) or "__pycache__" in name] == []
    pinned = {re.split("[=<>;~ ]", text)[0] for text in project["project"]["dependencies"]}
    needed = {re.split("[=<>;~ ]", text)[0] for text in PROJECT["dependencies"]}
    assert needed <= pinned
    assert all("==" in text for text in project["project"]["dependencies"])


def test_without_a_configuration_nothing_is_started(unpacked: Path) -> None:
    assert filled_in(unpacked) is None
    assert filled_in(unpacked, config="") is None


def test_what_claude_desktop_starts_serves_the_servers_of_the_configuration(unpacked: Path, tmp_path: Path) -> None:
    """With the real uv, which here takes an environment that is there instead of making one from the network."""
    package = unpacked / "proxy/__init__.py"
    package.write_text(package.read_text().replace(f'"{__version__}"', '"9.9.9"'))
    folder = tmp_path / "a folder with spaces"
    found = tmp_path / "found"
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ['PATH']); sys.stdin.read()"
    entries = {
        "raw": servers.script("raw_echo.py"),
        "seen": servers.entry([sys.executable, "-c", script, str(found)]),
    }
    made = filled_in(unpacked, config=str(write_config(folder, entries, listWait=0)))
    assert made is not None
    environment = servers.BIN.parent
    env = {
        "PATH": f"{servers.BIN}:/usr/bin:/bin",
        "UV_PROJECT_ENVIRONMENT": str(environment),
        "UV_NO_SYNC": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        **made.get("env", {}),
    }
    child = ChildWire([made["command"], *made["args"]], env=env, cwd=tmp_path)
    with connected(child) as client:
        assert client.initialize().result["serverInfo"]["version"] == "9.9.9", "the bundle's own code"
        assert "raw__verbatim" in tools_until(client, {"raw__verbatim"})
        assert client.call("raw__verbatim", {"a": 1}).result["content"] == []
        child.close_stdin()
        assert child.wait_for_exit() == 0
        client.wait_for_end()
    assert found.read_text() == "/usr/bin:/bin", "servers find what they would find without uv"


def test_the_entry_of_the_registry_is_one_by_its_rules() -> None:
    jsonschema.Draft7Validator.check_schema(REGISTRY)
    assert [error.message for error in jsonschema.Draft7Validator(REGISTRY).iter_errors(SERVER)] == []
    for broken in ({"description": "x" * 101}, {"name": "no-namespace"}, {"version": "^0.1.0"}, {"version": "latest"}):
        assert not jsonschema.Draft7Validator(REGISTRY).is_valid({**SERVER, **broken})
    assert len(json.dumps(SERVER["_meta"])) < 4096


def test_the_entry_of_the_registry_starts_what_there_is(tmp_path: Path) -> None:
    [package] = SERVER["packages"]
    words: list[str] = []
    for argument in package["packageArguments"]:
        words += (
            [argument["value"]] if argument["type"] == "positional" else [argument["name"], str(tmp_path / "c.json")]
        )
    arguments = build_parser().parse_args(words)
    assert (arguments.command, arguments.config) == ("run", str(tmp_path / "c.json"))
    assert package["identifier"] == PROJECT["name"]
    assert package["identifier"] in PROJECT["scripts"], "uvx starts the command that is named as the package"


def test_the_readme_shows_the_registry_whose_package_it_is() -> None:
    """It looks for this text in what the package index shows."""
    assert PROJECT["readme"] == "README.md"
    assert f"mcp-name: {SERVER['name']}" in (ROOT / "README.md").read_text()


def test_versions_names_and_addresses_agree_everywhere() -> None:
    [package] = SERVER["packages"]
    assert {__version__, PROJECT["version"], MANIFEST["version"], SERVER["version"], package["version"]} == {
        __version__
    }
    assert PROJECT["name"] == MANIFEST["name"] == SERVER["name"].partition("/")[2]
    assert PROJECT["license"] == MANIFEST["license"]
    author = SERVER["_meta"]["io.modelcontextprotocol.registry/publisher-provided"]["author"]
    assert PROJECT["authors"][0]["name"] == MANIFEST["author"]["name"] == author
    home = PROJECT["urls"]["Homepage"]
    assert MANIFEST["repository"]["url"] == SERVER["repository"]["url"] == SERVER["websiteUrl"] == home
    assert MANIFEST["description"] == SERVER["description"]
    assert len(SERVER["description"]) <= 100
    assert MANIFEST["compatibility"]["runtimes"]["python"] == PROJECT["requires-python"]
