"""`python -m proxy` and the `mcp-manifold` command."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["run"]:
        # Python's own handler raises in the middle of an import; until ours is there, a signal just ends us.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        gc.disable()  # importing leaves next to no garbage, and looking for it takes 5 ms; commands/run.py enables it
    from .cli import run_command_line  # here, so that importing this module (for its name) starts nothing

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
