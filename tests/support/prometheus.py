"""A real Prometheus and a real node_exporter, Debian's, on free ports, that are asked what they know."""

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

from tests.support.client import PATIENCE

PROMETHEUS: Final = shutil.which("prometheus") or ""
PROMTOOL: Final = shutil.which("promtool") or ""
NODE_EXPORTER: Final = shutil.which("prometheus-node-exporter") or ""
MISSING: Final = "Prometheus is needed: apt-get install prometheus prometheus-node-exporter"

_LISTENS: Final = re.compile(r'msg="Listening on" address=(\S+)')
_EVERY: Final = 0.05


class Prometheus:
    """One that runs; `url` is where it answers."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that the expression gives now."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=PATIENCE) as response:  # noqa: S310 (our own)
            answer: dict[str, Any] = json.loads(response.read())
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def until(self, expression: str, is_so: Callable[[list[tuple[dict[str, str], float]]], bool]) -> Any:
        """What the expression gives once that is so: it scrapes in its own time, and tells nobody when."""
        end = time.monotonic() + PATIENCE
        while not is_so(found := self.query(expression)):
            assert time.monotonic() < end, f"{expression} is still {found}"
            time.sleep(_EVERY)
        return found


@contextlib.contextmanager
def scraping(folder: Path, scrape_configs: str) -> Iterator[Prometheus]:
    """A Prometheus with these scrape configurations (YAML), whose data lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(scrape_configs)
    command = [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    options = ["--web.listen-address=127.0.0.1:0", "--log.level=info"]
    with _listening([*command, *options], "ready to receive web requests") as address:
        yield Prometheus(f"http://{address}")


@contextlib.contextmanager
def exporting(directory: Path) -> Iterator[str]:
    """The address of a node_exporter's figures, which are those of the text files in `directory` alone."""
    options = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={directory}"]
    with _listening([NODE_EXPORTER, *options, "--web.listen-address=127.0.0.1:0"], "Listening on") as address:
        yield f"http://{address}/metrics"


@contextlib.contextmanager
def _listening(command: list[str], ready: str) -> Iterator[str]:
    """Where this program says that it listens, once it has said that it is ready, too: before that or after it."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
        lines: Queue[str] = Queue()

        def read() -> None:
            for line in child.stderr or ():
                lines.put(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield _address(lines, ready)
        finally:
            child.terminate()
            child.wait(PATIENCE)
            reader.join(PATIENCE)


def _address(lines: "Queue[str]", ready: str) -> str:
    said, address, is_ready = [], "", False
    with contextlib.suppress(Empty):
        while True:
            line = lines.get(timeout=PATIENCE)
            said.append(line)
            found = _LISTENS.search(line)
            address = found[1] if found is not None else address
            is_ready = is_ready or ready in line
            if address and is_ready:
                return address
    raise AssertionError("it did not come up:\n" + "".join(said))
