"""A client that says exactly the bytes it is told to, and keeps exactly the bytes it hears.

`RawClient` speaks through any `Wire`: a child's pipes here, HTTP and SSE in `web.py`. Waits end after `PATIENCE`
seconds with what was seen by then, so that a failure tells its reason.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.support.message import Message

PATIENCE = 30.0
"""Seconds. Reached only when something is broken."""

LATEST = "2025-11-25"


class Wire(Protocol):
    """What carries lines. `deliver` is called from any thread, with None once nothing more can come."""

    def open(self, deliver: Callable[[bytes | None], None]) -> None: ...
    def send(self, line: bytes) -> None: ...
    def close(self) -> None: ...
    def story(self) -> str:
        """What a failure message should show: the end of stderr, say."""


class RawClient:
    """One session. Requests of the peer are answered with -32601 unless `answers` has a result for the method."""

    def __init__(self, wire: Wire, answers: Mapping[str, Any] | None = None) -> None:
        self.wire = wire
        self.lines: list[bytes] = []
        """Every line received, in order."""
        self.messages: list[Message] = []
        self.stray: list[bytes] = []
        """Lines that are not JSON objects."""
        self.ended = False
        self._answers = dict(answers or {})
        self._changed = threading.Condition()
        self._next_id = 0
        wire.open(self._deliver)

    def will_answer(self, method: str, answer: Any) -> None:
        """From now on requests of this method get this result, or what it returns for the question if it is callable.

        A callable may return None: then nothing is answered yet, and `respond` is left to the test.
        """
        self._answers[method] = answer

    # -- what is said

    def send(self, line: bytes) -> None:
        """One line, as given."""
        self.wire.send(line)

    def start(self, method: str, params: Any = None, *, id: bytes | None = None) -> bytes:
        """Send a request; return its id's text. Bytes as `params` go out verbatim."""
        if id is None:
            self._next_id += 1
            id = b"%d" % self._next_id
        parts = [b'"jsonrpc":"2.0","id":' + id + b',"method":' + json.dumps(method).encode()]
        if params is not None:
            parts.append(b'"params":' + _text(params))
        self.send(b"{" + b",".join(parts) + b"}")
        return id

    def request(self, method: str, params: Any = None, *, id: bytes | None = None) -> Message:
        return self.wait(self.start(method, params, id=id))

    def notify(self, method: str, params: Any = None) -> None:
        tail = b"" if params is None else b',"params":' + _text(params)
        self.send(b'{"jsonrpc":"2.0","method":' + json.dumps(method).encode() + tail + b"}")

    def initialize(self, version: str = LATEST, capabilities: Any = None) -> Message:
        """The whole handshake; the answer to `initialize`."""
        answer = self.request(
            "initialize",
            {
                "protocolVersion": version,
                "capabilities": capabilities or {},
                "clientInfo": {"name": "raw-client", "version": "1"},
            },
        )
        self.notify("notifications/initialized")
        return answer

    def respond(self, question: Message, result: Any) -> None:
        """Answer a request of the peer's."""
        assert question.id is not None
        self.send(b'{"jsonrpc":"2.0","id":' + question.id + b',"result":' + _text(result) + b"}")

    def call(self, tool: str, arguments: Any = None) -> Message:
        """Call a tool. Bytes as `arguments` go out verbatim."""
        return self.wait(self.start_call(tool, arguments))

    def start_call(self, tool: str, arguments: Any = None, meta: Any = None) -> bytes:
        params = b'{"name":' + json.dumps(tool).encode()
        if meta is not None:
            params += b',"_meta":' + _text(meta)
        return self.start(
            "tools/call", params + b',"arguments":' + _text({} if arguments is None else arguments) + b"}"
        )

    # -- what is heard

    def wait(self, id: bytes) -> Message:
        """The answer to the request with this id."""
        return self.wait_for(lambda m: m.id == id and m.method is None, f"an answer to id {id!r}")

    def wait_for_notification(
        self, method: str, also: Callable[[Message], bool] = lambda _: True, *, since: int = 0
    ) -> Message:
        return self.wait_for(lambda m: m.id is None and m.method == method and also(m), method, since=since)

    def wait_for(self, wanted: Callable[[Message], bool], what: str, *, since: int = 0) -> Message:
        """The first message, received already or to come, that is wanted; `since` skips that many of the earliest."""
        until = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for message in self.messages[since:]:
                    if wanted(message):
                        return message
                since = max(since, len(self.messages))
                if self.ended or not self._changed.wait(until - time.monotonic()):
                    raise AssertionError(f"no {what}; {'the peer is gone' if self.ended else 'waited'}\n{self.story()}")

    def wait_for_end(self) -> None:
        """Until the peer has closed its side."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended, PATIENCE):
                raise AssertionError(f"the peer did not close its side\n{self.story()}")

    def notifications(self, method: str) -> list[Message]:
        with self._changed:
            return [m for m in self.messages if m.method == method and m.id is None]

    def questions(self, method: str) -> list[Message]:
        """The requests of this method that the peer has sent so far."""
        with self._changed:
            return [m for m in self.messages if m.method == method and m.id is not None]

    def wait_for_question(self, method: str, *, since: int = 0) -> Message:
        return self.wait_for(lambda m: m.id is not None and m.method == method, f"question {method}", since=since)

    def story(self) -> str:
        heard = b"\n".join(line[:500] for line in self.lines[-10:]).decode(errors="replace")
        return f"last lines:\n{heard}\n{self.wire.story()}"

    def _deliver(self, line: bytes | None) -> None:
        question: Message | None = None
        with self._changed:
            if line is None:
                self.ended = True
            else:
                self.lines.append(line)
                try:
                    message = Message.of(line)
                except (AssertionError, ValueError, IndexError):
                    self.stray.append(line)
                else:
                    self.messages.append(message)
                    question = message if message.id is not None and message.method is not None else None
            self._changed.notify_all()
        if question is not None:
            self._answer(question)

    def _answer(self, question: Message) -> None:
        assert question.id is not None
        if question.method in self._answers:
            answer = self._answers[question.method]
            answer = answer(question) if callable(answer) else answer
            if answer is None:
                return
            outcome = b'"result":' + _text(answer)
        else:
            outcome = b'"error":{"code":-32601,"message":"Method not found"}'
        with contextlib.suppress(OSError):
            self.send(b'{"jsonrpc":"2.0","id":' + question.id + b"," + outcome + b"}")


class ChildWire:
    """A child process as the peer: lines over its stdin and stdout, its stderr kept."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.command = list(command)
        # As a client would start it: in a session of its own, so that ending it can reach all it started.
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        self._stderr: list[bytes] = []
        self._threads: list[threading.Thread] = []

    def open(self, deliver: Callable[[bytes | None], None]) -> None:
        self._threads = [
            threading.Thread(target=self._read_lines, args=(deliver,), daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait_for_exit(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not exit\n{self.story()}") from None

    def close(self) -> None:
        """End the child gently, so that it ends its own children; by force if it takes too long."""
        self.close_stdin()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        for thread, stream in zip(self._threads, (self.process.stdout, self.process.stderr), strict=False):
            thread.join(5)
            # An orphan that still holds the pipe keeps the thread reading; closing under it would block.
            if stream is not None and not thread.is_alive():
                stream.close()

    def story(self) -> str:
        return f"{self.command[-3:]} exit code {self.process.poll()}, end of stderr:\n{self.stderr()[-8000:]}"

    def stderr(self) -> str:
        return b"".join(self._stderr).decode(errors="replace")

    def _read_lines(self, deliver: Callable[[bytes | None], None]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            deliver(line.removesuffix(b"\n"))
        deliver(None)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._stderr.append(line)


@contextlib.contextmanager
def connected(wire: Wire, answers: Mapping[str, Any] | None = None) -> Iterator[RawClient]:
    """A session whose handshake has not happened yet."""
    client = RawClient(wire, answers)
    try:
        yield client
    finally:
        wire.close()


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
