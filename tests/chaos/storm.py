"""A storm: servers are killed and stopped at random under a steady load of calls, and every call is accounted for.

`python -m tests.chaos.storm --seconds 60 --seed 1` prints what became of the calls and exits with 1 if one was lost,
answered twice, answered late, answered with another's result, or not done as its answer says.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.manifold import Manifold, write_config
from tests.support.processes import marked, new_mark, nothing_left

SERVER: Final = Path(__file__).parent / "journal_server.py"
STDIO: Final = 8
HTTP: Final = 2
IN_FLIGHT: Final = 64
AT_ONE: Final = 13
"""Calls that one server has at most, so that those that are stopped do not get them all."""
EVERY: Final = 0.25
CALL_TIMEOUT: Final = 5.0
SLACK: Final = 3.0
"""Seconds after its deadline at which a call counts as hung: the machine may be busy."""
RECOVERY: Final = 2.0
"""Seconds for which a server counts as touched."""
PART: Final = 15.0
"""Seconds of storm between two calms, so that both are measured on a machine that is as busy."""
PATIENCE: Final = 60.0


@dataclass
class Call:
    server: str
    nonce: str
    started: float
    ended: float = 0.0
    outcome: str = ""
    """ "ok", or what an error of ours says of its delivery."""


@dataclass
class Report:
    """What became of the calls. `broken` are sentences, one for each promise that was not kept."""

    outcomes: Counter[str]
    deeds: Counter[str]
    p99s: list[tuple[float, float]]
    """Seconds, for each part: without a storm, and at the servers that were left alone in it."""
    broken: list[str] = field(default_factory=list)

    @property
    def slowdown(self) -> float:
        """The median of the parts, since something else on the machine may begin or end within one."""
        return statistics.median(alone / calm for calm, alone in self.p99s)

    def __str__(self) -> str:
        parts = ", ".join(f"{alone * 1000:.1f} ms ({calm * 1000:.1f} ms)" for calm, alone in self.p99s)
        lines = [
            f"calls  {counts(self.outcomes)}",
            f"deeds  {counts(self.deeds)}",
            f"p99    {self.slowdown:.2f} times that of the calm at servers left alone: {parts}",
        ]
        return "\n".join([*lines, *(self.broken or ["nothing lost, doubled, hung or crossed; the journal agrees"])])


def counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))


class Storm:
    """A proxy with its servers, a client that keeps it busy, and who kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._folder = folder
        self._journal = folder / "journal"
        self.mark = new_mark()
        self._rounds = dict.fromkeys((f"s{number}" for number in range(STDIO)), 0)
        self._ports = {f"h{number}": free_port() for number in range(HTTP)}
        self.servers = [*self._rounds, *self._ports]
        self._web = {key: self._start_http(key) for key in self._ports}
        self._hub = Manifold(self._configure(), env={"PYTHONUNBUFFERED": "1"})
        self._stopped: dict[int, float] = {}
        """Pid -> when it goes on or is killed."""
        self._touched: dict[str, list[float]] = {key: [] for key in self.servers}
        self._down: set[str] = set()
        self._seen = 0
        self.calls: dict[bytes, Call] = {}
        self._flying: dict[bytes, Call] = {}
        self.deeds: Counter[str] = Counter()
        self.broken: list[str] = []

    # The world

    def _command(self, key: str, *more: str) -> list[str]:
        return [sys.executable, "-S", str(SERVER), key, str(self._journal), *more]

    def _start_http(self, key: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command(key, str(self._ports[key])), env={**os.environ, **self.mark})

    def _configure(self) -> Path:
        """The file as it is now. A server that has another round in its environment is started anew."""
        entries: dict[str, Any] = {
            key: {"command": sys.executable, "args": self._command(key)[1:], "env": {**self.mark, "ROUND": str(number)}}
            for key, number in self._rounds.items()
        }
        entries |= {key: {"url": f"http://127.0.0.1:{port}/mcp"} for key, port in self._ports.items()}
        entries = {key: {**entry, "callTimeout": CALL_TIMEOUT} for key, entry in entries.items()}
        return write_config(self._folder, entries, log={"level": "warning"})

    def open(self) -> None:
        self._hub.initialize()
        self.settle()
        self.settle()  # the first calls of all are slower

    def settle(self) -> None:
        """Until all servers answer, also those that were killed."""
        until = time.monotonic() + PATIENCE
        for key in self.servers:
            call = Call(key, f"warm {key}", time.monotonic())
            while "error" in (answer := self._hub.call(f"{key}__note", {"nonce": call.nonce, "ms": 0})).members:
                assert time.monotonic() < until, answer.error
                self._failed(call, answer.error)
                time.sleep(0.1)
                self._tend(time.monotonic())
            assert answer.result["content"][0]["text"] == call.nonce

    def close(self) -> None:
        for pid in self._stopped:
            send(pid, signal.SIGKILL)
        self._hub.child.close()
        for process in self._web.values():
            process.kill()
            process.wait()

    # Load

    def run(self, seconds: float, *, calm: bool) -> list[Call]:
        """Keep IN_FLIGHT calls in flight for so long, then wait for what is left of them; returns them all."""
        calls: list[Call] = []
        until = time.monotonic() + seconds
        strike = tend = 0.0
        while (now := time.monotonic()) < until:
            if not calm and now >= strike:
                strike = now + EVERY
                self._strike(now)
            if now >= tend:
                tend = now + 0.05
                self._tend(now)
            while len(self._flying) < IN_FLIGHT:
                calls.append(self._start(now))
            self._take()
        for pid in self._stopped:
            send(pid, signal.SIGCONT)
        self._stopped.clear()
        last = time.monotonic() + CALL_TIMEOUT + 2 * SLACK
        while self._flying and time.monotonic() < last:
            self._take()
        self.broken += [f"lost: {call}" for call in self._flying.values()]
        self._flying.clear()
        return calls

    def _start(self, now: float) -> Call:
        busy = Counter(call.server for call in self._flying.values())
        free = [key for key in self.servers if busy[key] < AT_ONE]
        key = self._random.choice(free)
        call = Call(key, f"{key} {len(self.calls)} {self._random.random()}", now)
        id = self._hub.start_call(f"{key}__note", {"nonce": call.nonce, "ms": self._random.randrange(10, 100)})
        self.calls[id] = self._flying[id] = call
        return call

    def _take(self) -> None:
        """Wait a moment for answers, and note them."""
        messages = self._hub.messages
        until = time.monotonic() + 0.02
        while self._seen == len(messages) and time.monotonic() < until:
            time.sleep(0.001)
        now = time.monotonic()
        while self._seen < len(messages):
            message = messages[self._seen]
            self._seen += 1
            if message.id is None or message.method is not None or message.id not in self.calls:
                continue
            call = self._flying.pop(message.id, None)
            if call is None:
                self.broken.append(f"answered twice: {self.calls[message.id]}")
                continue
            call.ended = now
            if "result" in message.members:
                call.outcome = "ok"
                if message.result["content"][0]["text"] != call.nonce:
                    self.broken.append(f"crossed: {call} got {message.line!r}")
            else:
                self._failed(call, message.error)
            if now - call.started > CALL_TIMEOUT + SLACK:
                self.broken.append(f"hung for {now - call.started:.1f} s: {call}")

    def _failed(self, call: Call, error: Any) -> None:
        data = error.get("data") or {}
        if data.get("origin") != "mcp-manifold" or data.get("server") != call.server:
            self.broken.append(f"an error that is not ours: {call} got {error}")
        call.outcome = data.get("delivered", "none")
        if "not started again" in error["message"]:
            self._down.add(call.server)

    # Chaos

    def _strike(self, now: float) -> None:
        found = {pid: key_of(line) for pid, line in marked(self.mark).items() if pid not in self._stopped}
        found = {pid: key for pid, key in found.items() if key in self._touched}
        if not found:
            return
        pid, key = self._random.choice(sorted(found.items()))
        self._touched[key].append(now)
        if self._random.random() < 0.5:
            self.deeds["killed"] += 1
            send(pid, signal.SIGKILL)
        else:
            self.deeds["stopped"] += 1
            send(pid, signal.SIGSTOP)
            self._stopped[pid] = now + self._random.uniform(0.1, 3.0)

    def _tend(self, now: float) -> None:
        """What was stopped goes on or is killed; HTTP servers come back; servers that failed too often are revived."""
        for pid in [pid for pid, until in self._stopped.items() if until <= now]:
            del self._stopped[pid]
            goes_on = self._random.random() < 0.5
            self.deeds["went on" if goes_on else "killed while stopped"] += 1
            for key in [key_of(line) for found, line in marked(self.mark).items() if found == pid]:
                self._touched.get(key, []).append(now)
            send(pid, signal.SIGCONT if goes_on else signal.SIGKILL)
        for key, process in self._web.items():
            if process.poll() is not None:
                self._web[key] = self._start_http(key)
        if self._down:
            for key in self._down & self._rounds.keys():
                self._rounds[key] += 1
                self.deeds["revived"] += 1
            self._down.clear()
            self._configure()
            self._hub.child.process.send_signal(signal.SIGHUP)

    # Judgement

    def left_alone(self, calls: list[Call]) -> list[Call]:
        """Those to servers that nothing was done to, shortly before or meanwhile."""
        return [
            call
            for call in calls
            if not any(call.started - RECOVERY < at < call.ended for at in self._touched[call.server])
            and call.outcome == "ok"
        ]

    def judge(self) -> None:
        """Compare what the client was told with what the servers did."""
        done = Counter(self._journal.read_text().splitlines())
        allowed = {"ok": (1, 1), "no": (0, 0), "maybe": (0, 1)}
        for call in self.calls.values():
            least, most = allowed.get(call.outcome, (0, 1))
            if not least <= done[call.nonce] <= most:
                self.broken.append(f"done {done[call.nonce]} times: {call}")


def key_of(command: str) -> str:
    found = re.search(r"journal_server\.py (\w+)", command)
    return found.group(1) if found else ""


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def p99(calls: list[Call]) -> float:
    times = sorted(call.ended - call.started for call in calls)
    return times[int(len(times) * 0.99)] if times else float("nan")


def storm(seconds: float, seed: int, folder: Path) -> Report:
    """So long in all, in parts, and before each of them a calm of a fifth of its time."""
    one = Storm(folder, seed)
    parts = max(1, round(seconds / PART))
    calms: list[list[Call]] = []
    storms: list[list[Call]] = []
    with nothing_left(one.mark):
        try:
            one.open()
            for _ in range(parts):
                one.settle()
                calms.append(one.run(max(1.0, seconds / parts / 5), calm=True))
                storms.append(one.run(seconds / parts, calm=False))
        finally:
            one.close()
        left = marked(one.mark)
        if left:
            one.broken.append(f"left behind: {left}")
    one.judge()
    outcomes = Counter(call.outcome or "lost" for wild in storms for call in wild)
    p99s = [(p99(calm), p99(one.left_alone(wild))) for calm, wild in zip(calms, storms, strict=True)]
    return Report(outcomes, one.deeds, p99s, one.broken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = storm(options.seconds, options.seed, Path(folder))
    print(report)
    sys.exit(bool(report.broken))


if __name__ == "__main__":
    main()
