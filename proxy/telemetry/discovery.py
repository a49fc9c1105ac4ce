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


def announce(directory: Path, process: Process, address: str) -> Published:
    """Tell that `process` has its figures at `address`, a URL, and what is gone no more. Raises OSError.

    Who is told has to remove the file at the end.
    """
    make_directory(directory)
    sweep(directory)
    parts = urlsplit(address)
    labels = process.labels
    if parts.scheme != "http":
        labels["__scheme__"] = parts.scheme
    published = Published(directory, process, ".json", 0o600)
    published.write(msgspec.json.encode([{"targets": [parts.netloc], "labels": labels}]) + b"\n")
    return published
