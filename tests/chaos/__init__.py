"""Servers that break in every way, calls amid that, and every way to end the proxy; in CI as often as is demanded."""

import os
from typing import Final

FULL: Final = bool(os.environ.get("CI"))
"""Whether the runs are of full length, which takes some minutes in all."""
