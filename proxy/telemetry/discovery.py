"""A file that tells Prometheus where this process has its figures, for file-based service discovery."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ..store.files import make_directory
from .published import Process, Published, sweep

FOLDER: Final = "prometheus"
"""In the state directory: files of ports that anybody on this machine may read."""
OF_HUBS: Final = "prometheus-hub"
"""The same of hubs, which ask for their token."""


class Announced(Published):
    """The file with what is told."""

    def __init__(self, directory: Path, process: Process, told: bytes) -> None:
        super().__init__(directory, process, ".json", 0o600)
        self._told = told

    def renew(self) -> None:
        """Write it if it is not there (any more). Raises OSError."""
        if not self.path.exists():
            make_directory(self.path.parent)
            self.write(self._told)


def announce(directory: Path, process: Process, address: str) -> Announced:
    """Tell that `process` has its figures at `address`, a URL, and what is gone no more. Raises OSError.

    Who is told has to remove the file at the end, and should renew it now and then: somebody may empty the directory.
    """
    sweep(directory)
    parts = urlsplit(address)
    labels = process.labels
    if parts.scheme != "http":
        labels["__scheme__"] = parts.scheme
    told = msgspec.json.encode([{"targets": [parts.netloc], "labels": labels}]) + b"\n"
    announced = Announced(directory, process, told)
    announced.renew()
    return announced
