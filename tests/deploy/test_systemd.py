"""The user unit: systemd understands it, and its command is one of ours."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.cli import build_parser
from tests.deploy.documents import DEPLOY

UNIT = DEPLOY / "systemd/mcp-manifold.service"
LINES = [line.partition("=")[::2] for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#"]


def settings(name: str) -> list[str]:
    return [value for key, value in LINES if key == name]


def test_systemd_understands_it(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("it is needed where systemd is: systemd-analyze")
    program = tmp_path / "mcp-manifold"
    program.symlink_to("/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("%h/.local/bin/mcp-manifold", str(program)))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    words = [analyze, "verify", "--user", str(unit)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_starts_the_hub_and_leaves_the_search_for_the_configuration_to_it() -> None:
    [start] = settings("ExecStart")
    program, *words = start.split()
    assert program == "%h/.local/bin/mcp-manifold"
    arguments = build_parser().parse_args(words)
    assert (arguments.command, arguments.config) == ("serve", None)
    assert settings("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_it_is_restarted_but_not_where_that_is_of_no_use() -> None:
    assert settings("Restart") == ["on-failure"]
    assert settings("RestartPreventExitStatus") == ["2"], "what our commands exit with for a bad configuration"
    assert settings("WantedBy") == ["default.target"], "users have no multi-user.target"


def test_nothing_in_it_keeps_servers_from_the_users_files() -> None:
    for name in ("ProtectHome", "ProtectSystem", "PrivateTmp", "MemoryDenyWriteExecute", "PrivateNetwork"):
        assert settings(name) == []
    assert settings("NoNewPrivileges") == ["yes"]
