"""What compose.yaml starts, without containers: the hub, and a real Prometheus on the file that is shipped."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.deploy.documents import DEPLOY
from tests.support.bare import ask
from tests.support.hub import Hub
from tests.support.prometheus import Prometheus, scraping

OFTEN = "500ms"
"""Instead of each 15 s."""


@contextlib.contextmanager
def watching(hub: Hub, folder: Path) -> Iterator[Prometheus]:
    """Prometheus scrapes the hub as compose's does, but more often, and has our rules."""
    (folder / "token").write_text(hub.token)
    text = (DEPLOY / "compose/prometheus.yml").read_text()
    for shipped, here in {
        "hub:8765": hub.url.partition("://")[2],
        "/run/secrets/token": str(folder / "token"),
        "scrape_interval: 15s": f"scrape_interval: {OFTEN}\n  scrape_timeout: {OFTEN}",
        "evaluation_interval: 15s": f"evaluation_interval: {OFTEN}",
    }.items():
        assert text.count(shipped) == 1
        text = text.replace(shipped, here)
    for name in ("rules.yml", "alerts.yml"):
        (folder / name).symlink_to(DEPLOY / "prometheus" / name)
    with scraping(folder, text) as prometheus:
        yield prometheus


def told(prometheus: Prometheus, path: str, **params: str) -> Any:
    """What its API gives under /api/v1."""
    answer = ask(prometheus.url, "GET", f"/api/v1/{path}?{urlencode(params)}")
    return json.loads(answer.body)["data"]


def scraped_anew(prometheus: Prometheus) -> None:
    """Wait until it has seen everything that happened before this call."""
    [(_, last)] = prometheus.until("timestamp(up)", lambda found: len(found) == 1)
    # Whatever happened while it scraped may be in the one after.
    seen = {last}

    def is_later(found: list[tuple[dict[str, str], float]]) -> bool:
        seen.update(at for _, at in found)
        return len(seen) > 2

    prometheus.until("timestamp(up)", is_later)
