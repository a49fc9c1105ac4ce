"""What Claude Desktop starts: the proxy beside this file."""

import os
import sys

from proxy.__main__ import main

# uv puts its own environment in front, where a server's `python3` would find the proxy's libraries instead of its own.
if environment := os.environ.pop("VIRTUAL_ENV", ""):
    own = {os.path.join(environment, name) for name in ("bin", "Scripts")}  # noqa: PTH118 (compared as they are written)
    os.environ["PATH"] = os.pathsep.join(p for p in os.environ.get("PATH", "").split(os.pathsep) if p not in own)

sys.exit(main())
