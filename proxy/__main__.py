"""`python -m proxy` and the `mcp-manifold` command."""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["run"]:
        # Python's own handler raises in the middle of an import; until ours is there, a signal just ends us.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        gc.disable()  # importing leaves next to no garbage, and looking for it takes 5 ms; commands/run.py enables it
    _open_what_is_closed()
    from .cli import run_command_line  # here, so that importing this module (for its name) starts nothing

    return run_command_line(sys.argv[1:])


def _open_what_is_closed() -> None:
    """Have stdin, stdout and stderr, to nowhere where we were given none.

    The next file opened would be one of them, and what is printed to a stderr that is missing goes to stdout.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one's
            setattr(sys, name, os.fdopen(nowhere, mode, errors="replace"))


if __name__ == "__main__":
    sys.exit(main())
