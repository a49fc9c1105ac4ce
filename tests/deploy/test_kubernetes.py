"""The manifests: their parts fit together, and the configuration in them serves as they mount it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.documents import DEPLOY, load
from tests.support.bare import line_to
from tests.support.hub import Hub, serving
from tests.support.manifold import write_config
from tests.support.servers import ROOT
from tests.support.tls import make_certificate, trusting

HERE = DEPLOY / "kubernetes"
KUSTOMIZATION = load(HERE / "kustomization.yaml")
MANIFESTS = {document["kind"]: document for name in KUSTOMIZATION["resources"] for document in [load(HERE / name)]}
POD = MANIFESTS["Deployment"]["spec"]["template"]
[HUB] = POD["spec"]["containers"]
CONFIG = json.loads((HERE / "config.json").read_text())["proxy"]["http"]
MOUNTS = {mount["name"]: mount for mount in HUB["volumeMounts"]}
VOLUMES = {volume["name"]: volume for volume in POD["spec"]["volumes"]}


def generated(kind: str) -> dict[str, list[str]]:
    """The names of what is generated, and the names in it."""
    return {each["name"]: [file.partition("=")[0] for file in each.get("files", [])] for each in KUSTOMIZATION[kind]}


def test_selectors_select_the_pod() -> None:
    labels = POD["metadata"]["labels"].items()
    specs = {kind: document["spec"] for kind, document in MANIFESTS.items()}
    chosen = [specs["Service"]["selector"], specs["Deployment"]["selector"]["matchLabels"]]
    chosen.append(specs["NetworkPolicy"]["podSelector"]["matchLabels"])
    assert all(each.items() <= labels for each in chosen)
    [port] = HUB["ports"]
    assert specs["Service"]["ports"][0]["targetPort"] == port["name"]
    assert specs["NetworkPolicy"]["ingress"][0]["ports"][0]["port"] == port["name"]
    assert port["containerPort"] == 8765


def test_the_pod_has_no_privileges() -> None:
    pod, hub = POD["spec"]["securityContext"], HUB["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 10001
    assert "useradd --uid 10001 " in (DEPLOY / "container/Containerfile").read_text()
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert hub == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert not POD["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC"}


def test_what_is_mounted_is_declared_and_generated() -> None:
    assert MOUNTS.keys() == VOLUMES.keys()
    secrets, maps = generated("secretGenerator"), generated("configMapGenerator")
    for volume in VOLUMES.values():
        if "secret" in volume:
            assert volume["secret"]["secretName"] in secrets
            assert volume["secret"]["defaultMode"] == 0o440, "others may not read it, or it is refused"
        elif "configMap" in volume:
            assert volume["configMap"]["name"] in maps
    assert {source["secretRef"]["name"] for source in HUB["envFrom"]} <= secrets.keys()
    assert MOUNTS["config"]["mountPath"] == "/etc/mcp-manifold"
    assert maps[VOLUMES["config"]["configMap"]["name"]] == ["config.json"]
    assert all("subPath" not in mount for mount in MOUNTS.values()), "such a file is never updated"
    assert MOUNTS["home"]["mountPath"] == "/var/lib/mcp-manifold"


def test_the_configuration_names_what_is_mounted() -> None:
    secrets = generated("secretGenerator")
    there = {
        f"{MOUNTS[name]['mountPath']}/{key}"
        for name, volume in VOLUMES.items()
        if "secret" in volume
        for key in secrets[volume["secret"]["secretName"]]
    }
    assert {CONFIG["tokenFile"], CONFIG["tlsCert"], CONFIG["tlsKey"]} == there


def test_the_readme_makes_what_has_to_be_there_and_git_never_sees_it() -> None:
    readme = (HERE / "README.md").read_text()
    files = [file.partition("=")[2] for each in KUSTOMIZATION["secretGenerator"] for file in each.get("files", [])]
    files += [file for each in KUSTOMIZATION["secretGenerator"] for file in each.get("envs", [])]
    commands = readme.partition("```sh\n")[2].partition("```")[0]
    assert [file for file in files if file not in commands] == []
    assert all(file.startswith("secrets/") for file in files)
    assert (HERE / ".gitignore").read_text() == "/secrets/\n"
    names = set(re.findall(r"DNS:([\w.-]+)", commands))
    assert names == set(CONFIG["allowedHosts"]), "the certificate is for the names by which clients know it"
    [image] = KUSTOMIZATION["images"]
    assert image["name"] == HUB["image"]
    assert f'version = "{image["newTag"]}"' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Path]]:
    """The hub on the configuration of the ConfigMap, but for its servers, with the Secrets as links."""
    folder = tmp_path_factory.mktemp("pod")
    made = folder / "made"
    made.mkdir()
    cert, key = make_certificate(made)
    contents = {"tokenFile": b"0123456789abcdef" * 4, "tlsCert": cert.read_bytes(), "tlsKey": key.read_bytes()}
    http: dict[str, Any] = {**CONFIG}
    for number, (name, content) in enumerate(contents.items()):
        path = folder / f"volume{number}" / Path(CONFIG[name]).name
        (path.parent / "..data").mkdir(parents=True)
        (path.parent / "..data" / path.name).write_bytes(content)
        (path.parent / "..data" / path.name).chmod(0o440)
        path.symlink_to(Path("..data") / path.name)
        http[name] = str(path)
    with serving(write_config(folder, {}, http=http)) as running:
        yield running, cert


@pytest.mark.parametrize("kind", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_it_passes_its_probes(hub: tuple[Hub, Path], kind: str) -> None:
    running, cert = hub
    probe = HUB[kind]["httpGet"]
    assert probe["scheme"] == "HTTPS"
    with line_to(running.url, trusting(cert)) as line:
        assert line.ask("GET", probe["path"], {"Host": "10.1.2.3:8765"}).status == 200, "the kubelet knows its address"


def test_clients_reach_it_by_the_names_of_the_service_with_the_token(hub: tuple[Hub, Path]) -> None:
    running, cert = hub
    service = MANIFESTS["Service"]["metadata"]["name"]
    with line_to(running.url, trusting(cert)) as line:
        for host in (service, f"{service}.tools.svc", f"{service}.tools.svc.cluster.local:443"):
            assert line.ask("GET", "/tools/list", {**running.headers, "Host": host}).status == 200
        assert line.ask("GET", "/tools/list", {**running.headers, "Host": f"{service}.other.svc"}).status == 421
        assert line.ask("GET", "/tools/list", {"Host": service}).status == 401
