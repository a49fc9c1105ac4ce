"""The runs of the suite that the chosen tests ask for, several at a time."""

import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance import suite
from tests.conformance.suite import Runs
from tests.support import servers
from tests.support.client import PATIENCE
from tests.support.manifold import RUN, write_config
from tests.support.servers import Entry
from tests.support.web import listening

HERE = Path(__file__).parent
EVERYTHING = [sys.executable, str(HERE / "everything.py")]
AT_ONCE = 2
"""A run also waits, and another worker's tests run beside."""


@pytest.fixture(scope="session")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Where each side can be tested: `direct` the server itself, else the proxy before it. Started when first asked."""
    known: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def url(side: str) -> str:
            if side not in known:
                folder = tmp_path_factory.mktemp(side)
                known[side] = f"http://localhost:{stack.enter_context(listening(command(side, folder)))}/mcp"
            return known[side]

        def command(side: str, folder: Path) -> list[str]:
            match side:
                case "direct":
                    return [*EVERYTHING, "http"]
                case "bare":
                    return bridged(folder, stack.enter_context(attachable()), "")
                case "prefixed":
                    return bridged(folder, stack.enter_context(attachable()), "x")
                case _ if side.startswith("hub"):
                    return serving(folder, stack.enter_context(attachable()))
                case "http":
                    return bridged(folder, {"type": "http", "url": url("direct")}, "")
            raise AssertionError(side)

        yield url


def serving(folder: Path, server: Entry) -> list[str]:
    """The proxy's own way in over HTTP, which the suite takes without a bridge; it has no way to send a token."""
    config = write_config(folder, {"everything": {**server, "prefix": ""}}, http={"auth": "none"})
    command = shlex.join([sys.executable, "-m", "proxy", "serve", "--config", str(config)])
    return ["sh", "-c", f'exec {command} --port "$PORT" 2>{shlex.quote(str(folder / "proxy.log"))}']


def bridged(folder: Path, server: Entry, prefix: str) -> list[str]:
    config = write_config(folder, {"everything": {**server, "prefix": prefix}})
    options = ["--prefix", prefix, "--stderr", str(folder / "proxy.log")]
    return [sys.executable, str(HERE / "bridge.py"), *options, *RUN, str(config)]


@contextlib.contextmanager
def attachable() -> Iterator[Entry]:
    """The server over stdio, a process of its own each time."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        path = f"{folder}/everything"
        with subprocess.Popen([*EVERYTHING, "host", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as host:
            try:
                assert host.stdout is not None
                assert host.stdout.readline() == b"ready\n"
                yield servers.entry([sys.executable, "-S", *EVERYTHING[1:], "attach", path])
            finally:
                host.terminate()
                host.wait(PATIENCE)


@pytest.fixture(scope="session")
def server_runs(
    request: pytest.FixtureRequest, urls: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """(side, revision or scenario) -> what the suite found there."""
    needed = asked_for(request, "server_runs", ("side", "what"))
    needed |= {("direct", suite.revision_of(what)): None for _, what in needed}
    for side, what in needed:
        urls(place(side, what))  # before there are threads

    def run(side: str, what: str, folder: Path) -> suite.Outcome:
        return suite.server(urls(place(side, what)), what, folder)

    with all_at_once(run, needed, tmp_path_factory) as runs:
        yield runs


def place(side: str, what: str) -> str:
    """Two runs at once in one hub would be two clients of one server, whose unasked words then are nobody's."""
    return f"{side} {what}" if side == "hub" else side


@pytest.fixture(scope="session")
def client_runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """(revision, scenario) -> what the suite found."""

    def run(revision: str, scenario: str, folder: Path) -> suite.Outcome:
        return suite.client([sys.executable, "-m", "tests.conformance.client"], revision, scenario, folder)

    with all_at_once(run, asked_for(request, "client_runs", ("revision", "scenario")), tmp_path_factory) as runs:
        yield runs


def asked_for(request: pytest.FixtureRequest, fixture: str, names: tuple[str, str]) -> dict[tuple[str, str], None]:
    """What the chosen tests will ask the fixture for, by the names of their parameters."""
    pairs: dict[tuple[str, str], None] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and fixture in item.fixturenames:
            one, other = (str(item.callspec.params[name]) for name in names)
            pairs[one, other] = None
    return pairs


@contextlib.contextmanager
def all_at_once(
    run: Callable[[str, str, Path], suite.Outcome],
    pairs: Iterable[tuple[str, str]],
    folders: pytest.TempPathFactory,
) -> Iterator[Runs]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = {pair: pool.submit(run, *pair, folders.mktemp("run") / "results") for pair in pairs}
        try:
            yield lambda one, other: started[one, other].result()
        finally:
            pool.shutdown(cancel_futures=True)
