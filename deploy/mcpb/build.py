"""Makes dist/mcp-manifold.mcpb: the package, and the versions of its libraries that it was tested with.

No library is in it: those with compiled parts would fit one system each. Claude Desktop's uv installs them.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MCPB = ROOT / "tests/npm/node_modules/@anthropic-ai/mcpb/dist/cli/cli.js"
_PIN = re.compile(r"^[A-Za-z0-9].*==.*$", re.MULTILINE)


def stage(folder: Path) -> None:
    """Lay out in `folder` what goes into the bundle."""
    for name in ("manifest.json", "server.py"):
        shutil.copy(HERE / name, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    shutil.copytree(ROOT / "proxy", folder / "proxy", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (folder / "pyproject.toml").write_text(project(), encoding="utf-8")


def project() -> str:
    """What uv reads. The package itself is not installed: it lies beside server.py."""
    version = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))["version"]
    pins = _PIN.findall((ROOT / "requirements/run.lock").read_text(encoding="utf-8"))
    # JSON's strings are TOML's, too.
    lines = [f"    {json.dumps(pin.strip())}," for pin in pins]
    head = f'[project]\nname = "mcp-manifold-bundle"\nversion = "{version}"\nrequires-python = ">=3.11"\n'
    return head + "\n".join(["dependencies = [", *lines, "]", "", "[tool.uv]", "package = false", ""])


def main(output: Path) -> int:
    """Pack it; `mcpb` checks the manifest before."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        return subprocess.run(["node", str(MCPB), "pack", folder, str(output)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist/mcp-manifold.mcpb"))
