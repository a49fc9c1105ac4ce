"""Servers of bad habits, a dozen at a time beside a good one: each fails with a reason, and none disturbs another."""

import contextlib
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.habits import HABITS
from tests.support import servers
from tests.support.manifold import Manifold, running, write_config
from tests.support.message import Message
from tests.support.processes import eventually, marked, new_mark, nothing_left

SCRIPT = Path(__file__).parent / "habits.py"
FEW = 12
"""Servers of bad habits in one proxy."""


@dataclass(frozen=True)
class Failure:
    """An error of ours."""

    code: int
    delivered: str


DOWN = Failure(-32000, "no")
LOST = Failure(-32000, "maybe")
SILENT = Failure(-32001, "maybe")
BROKEN = Failure(-32603, "maybe")


@dataclass(frozen=True)
class Case:
    """What a call to this server comes to: None where all is well, and `says` what the client is told else.

    `again` tells whether the next call is answered. `settings` are more of its entry.
    """

    habit: str
    failure: Failure | None = None
    says: str = ""
    again: bool = True
    settings: dict[str, Any] = field(default_factory=dict)

    def entry(self, journal: Path, mark: dict[str, str]) -> servers.Entry:
        """Its entry in the configuration; settings may have a command of their own."""
        return {**behaving(self.habit if self.habit in HABITS else "none", journal, env=mark), **self.settings}


QUICK = {"callTimeout": 2}

# What never comes up: a call waits while it is being started again, and then is told why it failed too often.
NEVER_UP = [
    Case("exits-at-once", DOWN, "exited with code 0 and printed nothing; .*; it failed too often"),
    Case("exits-with-a-banner", DOWN, "exited with code 3; its last words: Error: no token in the configuration"),
    Case("is-killed-at-once", DOWN, "was killed by SIGKILL"),
    Case("prints-rubbish-for-ever", DOWN, "printed 100 lines on stdout within 10 s that are no messages"),
    Case("closes-stdout-at-once", DOWN, "closed its output"),
    Case("closes-stdin-at-once", DOWN, "closed its input"),
    Case("leaves-a-child-in-its-place", DOWN, "exited with code 0"),
    Case("never-answers-initialize", DOWN, "did not answer initialize within 0.5 s", settings={"startTimeout": 0.5}),
    Case("welcomes-with-an-unknown-version", DOWN, "1999-01-01"),
    Case("welcomes-with-a-number", DOWN, "its answer to initialize can't be used"),
    Case("welcomes-with-an-array", DOWN, "its answer to initialize can't be used"),
    Case("welcomes-with-null", DOWN, "answer to initialize"),
    Case("welcomes-with-rubbish", DOWN, "not JSON"),
    Case("refuses-initialize", DOWN, "the database is locked"),
    Case("crashes-at-initialize", DOWN, "exited with code 1; its last words: KeyError: 'HOME_DIR'"),
    Case("crashes-at-the-list", DOWN, "exited with code 4"),
    Case("never-lists", DOWN, "did not list its tools within 0.5 s", settings={"startTimeout": 0.5}),
    Case("lists-in-a-loop", DOWN, "go round in circles"),
    Case("lists-without-end", DOWN, "more than 1000 pages"),
    Case("lists-no-array", DOWN, "array"),
    Case("refuses-to-list", DOWN, "not today"),
]

ENTRIES = [
    Case("no-such-command", DOWN, "'no-such-command' was not found", settings={"command": "no-such-command"}),
    Case("no-such-path", DOWN, "'/no/such/path' was not found", settings={"command": "/no/such/path"}),
    Case("not-executable", DOWN, "may not be executed", settings={"command": __file__}),
    Case("a-directory", DOWN, "is a directory, not a program", settings={"command": str(Path(__file__).parent)}),
    Case("no-such-folder", DOWN, "working directory '/no/such' does not exist", settings={"cwd": "/no/such"}),
]

# What is odd, and harms nobody.
ODD = [
    Case("none"),
    Case("prints-a-banner-first"),
    Case("closes-stderr"),
    Case("floods-stderr-first"),
    Case("asks-before-it-is-greeted"),
    Case("answers-before-it-is-asked"),
    Case("has-children"),
    Case("ignores-sigterm"),
    Case("ignores-the-end-of-stdin"),
    Case("ignores-all-that-ends"),
    Case("stops-itself-in-the-end"),
    Case("answers-initialize-late"),
    Case("answers-initialize-twice"),
    Case("lists-garbage"),
]

AT_A_CALL = [
    Case("exits", LOST, "exited with code 7"),
    Case("exits-as-if-all-were-well", LOST, "exited with code 0"),
    Case("breaks-a-rule-of-memory", LOST, "SIGSEGV"),
    Case("is-killed", LOST, "SIGKILL"),
    Case("dies-within-its-answer", BROKEN, "not JSON"),
    Case("dies-after-its-answer"),
    Case("leaves-children-behind", LOST, "exited with code 7"),
    Case("closes-its-stdout", LOST, "closed its output"),
    Case("closes-its-stdin", LOST, "closed its input"),
    Case("stops-itself", SILENT, "did not answer 'misbehave' within 2 s", again=False, settings=QUICK),
    Case("stops-to-read", SILENT, "did not answer 'misbehave' within 2 s", again=False, settings=QUICK),
    Case("never-answers", SILENT, "did not answer 'misbehave' within 2 s", settings=QUICK),
    Case("answers-too-late", SILENT, "did not answer 'misbehave' within 2 s", settings=QUICK),
    Case("reports-progress-for-ever", SILENT, "did not answer", settings={"callTimeout": 2, "callMaximum": 3}),
    Case("answers-twice"),
    Case("answers-under-a-wrong-id", SILENT, "did not answer", settings=QUICK),
    Case("answers-under-a-string"),
    Case("answers-under-null", SILENT, "did not answer", settings=QUICK),
    Case("answers-under-a-fraction", BROKEN, "an id is a string or an integer"),
    Case("answers-calls-of-others"),
    Case("uses-huge-ids"),
    Case("asks-under-our-id"),
    Case("asks-for-ever"),
    Case("cancels-our-request"),
    Case("floods-stdout", LOST, "printed 100 lines on stdout within 10 s that are no messages"),
    Case("floods-stderr"),
    Case("floods-one-line-of-stderr"),
    Case("floods-log-messages"),
    Case("floods-progress"),
    Case("floods-list-changes"),
    Case("floods-updates"),
    Case("says-too-long-a-line", BROKEN, "longer than 64 MiB"),
    Case("says-a-line-without-end"),
    Case("nests-deeply", BROKEN, "nested deeper than 128 levels"),
    Case("says-invalid-utf8", BROKEN, "not JSON"),
    Case("says-lone-surrogates"),
    Case("says-nan", BROKEN, "not JSON"),
    Case("says-control-characters", BROKEN, "not JSON"),
    Case("repeats-keys"),
    Case("answers-in-a-batch"),
    Case("answers-in-an-empty-batch"),
    Case("ends-lines-like-dos"),
    Case("glues-messages"),
    Case("prints-before-its-answer"),
    Case("begins-with-a-byte-order-mark"),
    Case("says-blank-lines"),
    Case("breaks-its-answer-into-lines", SILENT, "did not answer", settings=QUICK),
    Case("says-utf16", SILENT, "did not answer", settings=QUICK),
    Case("gives-a-result-and-an-error", Failure(1, ""), "both"),
    Case("gives-neither", BROKEN, "neither result nor error"),
    Case("gives-no-object", BROKEN, "no object"),
    Case("gives-null", BROKEN, "neither result nor error"),
    Case("gives-an-error-without-a-code", BROKEN, "no JSON-RPC error.*no code"),
    Case("gives-an-error-that-is-a-text", BROKEN, "no JSON-RPC error.*the disk is full"),
    Case("pretends-to-be-us", Failure(-32000, ""), "is down"),
    Case("speaks-the-first-version"),
    Case("leaves-the-version-out"),
    Case("answers-byte-by-byte"),
]


def in_groups(cases: list[Case]) -> list[Any]:
    """(the cases that share a proxy, one of them), for each of them."""
    groups = [tuple(cases[start : start + FEW]) for start in range(0, len(cases), FEW)]
    return [pytest.param(group, case, id=case.habit) for group in groups for case in group]


def behaving(habit: str, journal: Path, **more: Any) -> servers.Entry:
    command = [sys.executable, "-S", str(SCRIPT), "--habit", habit, "--journal", str(journal)]
    return servers.entry(command, **more)


class Street:
    """A proxy with servers of bad habits and a good one, and what was said to whom.

    `notes` and `deeds` are the first calls of `note` and `misbehave` to each, which all began at once.
    """

    def __init__(self, hub: Manifold, journal: Path, habits: list[str]) -> None:
        self.hub = hub
        self._journal = journal
        self._nonces = itertools.count(1)
        self.asked: dict[bytes, str] = {}
        """Id -> nonce, of each call."""
        self.notes = {habit: self.start(habit) for habit in habits}
        self.deeds: dict[str, bytes] = {}

    def misbehave(self) -> None:
        """Each server answers a call, and then all show their habits."""
        if not self.deeds:
            for call in self.notes.values():
                self.is_well(call)
            self.deeds = {habit: self.start(habit, "misbehave") for habit in self.notes}

    def start(self, server: str, tool: str = "note") -> bytes:
        nonce = f"{server}:{tool}:{next(self._nonces)}"
        id = self.hub.start_call(f"{server}__{tool}", {"nonce": nonce}, {"progressToken": nonce})
        self.asked[id] = nonce
        return id

    def wait(self, id: bytes) -> Message:
        return self.hub.wait(id)

    def good(self) -> None:
        """The good server answers."""
        self.is_well(self.start("good"))

    def is_well(self, id: bytes) -> None:
        """The call was done, once, and its answer is its own."""
        assert self.wait(id).result["content"][0]["text"] == self.asked[id]
        assert self.done(id) == 1

    def failed(self, id: bytes, case: Case) -> None:
        """The call failed as the case says, and what it says of its delivery is true."""
        assert case.failure is not None
        error = self.wait(id).error
        assert re.search(case.says, error["message"]), error
        assert error["code"] == case.failure.code, error
        if case.failure.delivered:
            data = error["data"]
            assert (data["origin"], data["server"]) == ("mcp-manifold", case.habit), error
            assert data["delivered"] == case.failure.delivered, error
        assert self.done(id) <= (0 if case.failure == DOWN else 1)

    def done(self, id: bytes) -> int:
        """How often the journal has this call."""
        if not self._journal.exists():
            return 0
        return self._journal.read_text().splitlines().count(self.asked[id])


@contextlib.contextmanager
def opened(cases: tuple[Case, ...], folder: Path) -> Iterator[Street]:
    journal, mark = folder / "journal", new_mark()
    entries = {case.habit: case.entry(journal, mark) for case in cases}
    entries["good"] = behaving("none", journal, env=mark)
    with nothing_left(mark):
        with running(write_config(folder, entries)) as hub:
            street = Street(hub, journal, [case.habit for case in cases])
            yield street
            answers = Counter(message.id for message in hub.messages if message.method is None)
            assert {id: answers[id] for id in street.asked} == dict.fromkeys(street.asked, 1)
        eventually(lambda: not marked(mark), lambda: marked(mark))


Streets = Callable[[tuple[Case, ...]], Street]


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streets]:
    """The street of these cases, for as long as nobody wants another one."""
    current: list[tuple[tuple[Case, ...], Street]] = []
    with contextlib.ExitStack() as stack:

        def street_of(cases: tuple[Case, ...]) -> Street:
            if not current or current[0][0] is not cases:
                current.clear()
                stack.close()
                current.append((cases, stack.enter_context(opened(cases, tmp_path_factory.mktemp("street")))))
            return current[0][1]

        yield street_of


@pytest.mark.parametrize(("cases", "case"), in_groups([*NEVER_UP, *ENTRIES]))
def test_a_server_that_never_comes_up_is_down_with_a_reason(
    cases: tuple[Case, ...], case: Case, streets: Streets
) -> None:
    street = streets(cases)
    street.good()
    street.failed(street.notes[case.habit], case)
    street.good()


@pytest.mark.parametrize(("cases", "case"), in_groups(ODD))
def test_an_odd_server_works(cases: tuple[Case, ...], case: Case, streets: Streets) -> None:
    street = streets(cases)
    street.good()
    street.is_well(street.notes[case.habit])


@pytest.mark.parametrize(("cases", "case"), in_groups(AT_A_CALL))
def test_a_bad_habit_costs_its_own_call_at_most(cases: tuple[Case, ...], case: Case, streets: Streets) -> None:
    street = streets(cases)
    street.misbehave()
    street.good()
    if case.failure is None:
        street.is_well(street.deeds[case.habit])
    else:
        street.failed(street.deeds[case.habit], case)
    if case.again:
        street.is_well(street.start(case.habit))
    street.good()


def test_every_habit_is_tried() -> None:
    tried = {case.habit for case in (*NEVER_UP, *ODD, *AT_A_CALL)}
    assert len(tried) >= 40
    assert set(HABITS) <= tried
