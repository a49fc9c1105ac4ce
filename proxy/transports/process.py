"""What differs between operating systems about child processes: groups, signals, and the keeper.

A server may start others (npx starts node), so what is ended is always its whole process group. If this process is
killed itself, a keeper, a small shell that holds the other end of a pipe, ends the groups that are left. Windows has
neither groups nor the keeper here; ending a server there ends its own process alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

WINDOWS: Final = sys.platform == "win32"
_KEPT: Final = ("PATH", "LD_LIBRARY_PATH")

# Its input ends when this process ends, however that happens. It reads "? TIME PIPE PIPE PIPE" before a start, after
# it "+ GROUP", or "!" if nothing came of it, and "- GROUP" for one that is gone. Starts don't overlap.
# Arguments: Python, the program that finds a child by its pipes, our session.
# `kill -TERM -GROUP` is the one form for all shells: busybox has no `--`, dash no `-s TERM -GROUP`.
_KEEPER: Final = r"""
trap '' INT TERM HUP
groups=" "
starting=""
while read -r sign rest; do
  case $sign in
    '?') starting=$rest ;;
    '!') starting="" ;;
    +) starting=""; groups="$groups$rest " ;;
    -) groups="${groups%%" $rest "*} ${groups#*" $rest "}" ;;
  esac
done
end() {
  for group in "$@"; do kill -TERM "-$group" 2>/dev/null; done
  for turn in 1 2 3 4 5 6; do
    left=""
    for group in "$@"; do kill -0 "-$group" 2>/dev/null && left=yes; done
    [ -z "$left" ] && return
    sleep 0.1
  done
  for group in "$@"; do kill -KILL "-$group" 2>/dev/null; done
}
if [ -n "$starting" ]; then end $("$1" -I -S "$2" "$3" $starting) & fi
end $groups
wait
"""


def ask_to_end(pid: int) -> None:
    """Ask the whole group of a server to end."""
    _signal_group(pid, signal.SIGTERM)


def kill(pid: int) -> None:
    """End the whole group of a server."""
    _signal_group(pid, signal.SIGTERM if WINDOWS else signal.SIGKILL)


def is_group_alive(pid: int) -> bool:
    """Whether any process of the server's group is left. On Windows only the server itself is known."""
    if WINDOWS:
        return False
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS answers so for a group of zombies
        return False
    return sys.platform != "linux" or _has_living_member(pid)


def _has_living_member(group: int) -> bool:
    """Whether not all of a group are zombies: orphans stay so until init reaps them, in some containers for ever."""
    try:
        with os.scandir("/proc") as entries:
            return any(entry.name.isdecimal() and _is_living_member(entry.path, group) for entry in entries)
    except OSError:
        return True  # no /proc: believe the signal


def _is_living_member(process: str, group: int) -> bool:
    try:
        with open(f"{process}/stat", "rb") as stat:  # noqa: PTH123 (called for every process, so it is kept cheap)
            # pid (name) state parent group ...: the name may hold anything, the last parenthesis ends it
            state, _, member_of = stat.read().rpartition(b")")[2].split()[:3]
    except (OSError, ValueError):
        return False  # it is gone
    return int(member_of) == group and state not in (b"Z", b"X")


def _signal_group(pid: int, number: int) -> None:
    try:
        if WINDOWS:
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it is gone already


class Keeper:
    """Ends the groups of all children when this process is gone, even by SIGKILL.

    For each child: start(), announce(), then watch() or call_off() with nothing awaited in between, in the end
    forget(). None of them ever waits for the keeper.
    """

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    def start(self) -> None:
        """Be there, before a child is. Without it (no /bin/sh) all works but the ending after SIGKILL."""
        if self._shell is not None and self._shell.poll() is not None:
            self._give_up()  # somebody killed it
        if self._shell is None and not WINDOWS:
            with contextlib.suppress(OSError):
                self._shell = _start_shell()
                for group in self._groups:
                    self._tell(f"+ {group}\n")

    def announce(self, pipes: Iterable[int]) -> None:
        """A child is about to start that holds these descriptors of pipes, and nobody else does.

        If we are killed before watch(), it is found by them. That takes a Linux; elsewhere it may be left then.
        """
        if sys.platform == "linux" and self._shell is not None:
            now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
            self._tell(f"? {now} {' '.join(str(os.fstat(fd).st_ino) for fd in pipes)}\n")

    def call_off(self) -> None:
        """What was announced did not start; its pipes' numbers may be somebody else's soon."""
        self._tell("!\n")

    def watch(self, pid: int) -> None:
        """This group lives and must not outlive us."""
        self._groups.add(pid)
        self._tell(f"+ {pid}\n")

    def forget(self, pid: int) -> None:
        """This group is gone; its number may be somebody else's soon."""
        self._groups.discard(pid)
        self._tell(f"- {pid}\n")

    def close(self) -> None:
        """Let the keeper go, and wait for it: with no group left it ends at once."""
        if self._shell is not None and self._shell.stdin is not None:
            self._shell.stdin.close()
            self._shell.send_signal(signal.SIGCONT)  # or one that was stopped would be waited for
            self._shell.wait()

    def _tell(self, line: str) -> None:
        if self._shell is None or self._shell.stdin is None:
            return
        try:
            os.write(self._shell.stdin.fileno(), line.encode())
        except OSError:
            # It was killed, or stopped so long ago that its pipe is full. The next start of a child brings a new one;
            # until then our own ending still cleans up, only SIGKILL would not.
            self._give_up()

    def _give_up(self) -> None:
        """End it before its input ends: it has missed something, and would end groups that are others' by now."""
        if (shell := self._shell) is not None and shell.stdin is not None:
            self._shell = None
            shell.kill()
            shell.wait()
            shell.stdin.close()


def _start_shell() -> subprocess.Popen[bytes]:
    # Where PATH has a relative entry, Python's own path is one, and the keeper has another working directory.
    python = os.path.abspath(sys.executable) if sys.executable else "python3"  # noqa: PTH100 (a `..` in it is no matter)
    strays = Path(__file__).resolve().with_name("strays.py")
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "mcp-manifold-keeper", python, strays, str(os.getsid(0))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        # The second is for a Python whose library is nowhere else to be found.
        env={"PATH": os.defpath} | {name: os.environ[name] for name in _KEPT if name in os.environ},
    )
    assert shell.stdin is not None
    os.set_blocking(shell.stdin.fileno(), False)
    return shell


def describe_exit(code: int | None) -> str:
    """How a process ended, in words: `exited with code 1`, `was killed by SIGKILL`."""
    if code is None:
        return "ended"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"exited with code {code}"
