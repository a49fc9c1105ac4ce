"""Figures as people read them at a glance: short, and with their unit."""

from __future__ import annotations

import time
from typing import Final

from ..texts import one_line

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_BARS: Final = "▁▂▃▄▅▆▇█"
_LONGEST_STATE: Final = 20

# A sign and a word for each state: whoever sees no colours sees the same.
_SIGNS: Final = {
    "ready": ("●", "green"),
    "starting": ("◐", "yellow"),
    "idle": ("○", "dim"),
    "backoff": ("↻", "yellow"),
    "failed": ("✖", "red"),
    "stopped": ("■", "red"),
}


def age(seconds: float) -> str:
    """`4.2s`, `12s`, `3m`, `2h 5m`, `4d`."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < _MINUTE:
        return f"{seconds:.0f}s"
    if seconds < _HOUR:
        minutes, rest = divmod(int(seconds), _MINUTE)
        return f"{minutes}m {rest}s" if minutes < 10 else f"{minutes}m"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)}h {int(seconds % _HOUR // _MINUTE)}m"
    return f"{int(seconds // _DAY)}d"


def duration(seconds: float | None) -> str:
    """`0.4ms`, `12ms`, `1.2s`, as of one call; "-" where there was none."""
    if seconds is None:
        return "-"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return age(seconds)


def size(count: int | None) -> str:
    """Bytes: `4.2M`, `120M`, `1.3G`; "-" where it is not known."""
    if count is None:
        return "-"
    mega = count / (1 << 20)
    if mega < 10:
        return f"{mega:.1f}M"
    return f"{mega:.0f}M" if mega < 1000 else f"{mega / 1024:.1f}G"


def rate(calls: float) -> str:
    """Calls a second; "-" for none, so that what works stands out."""
    if calls == 0:
        return "-"
    return f"{calls:.1f}" if calls < 100 else f"{calls:.0f}"


def number(count: int) -> str:
    """A count, "-" for none."""
    return str(count) if count else "-"


def clock(at: float) -> str:
    """A Unix time as the time of day here; "?" for one that no calendar has."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "?"


def bars(counts: list[int], width: int) -> str:
    """A curve of so many characters, the newest at the right; spans without anything are blank."""
    shown = counts[-width:]
    most = max(shown, default=0)
    return "".join(_BARS[(count * len(_BARS) - 1) // most] if count > 0 else " " for count in shown)


def sign(state: str) -> tuple[str, str]:
    """A state as a sign and its word, and the colour that goes with them."""
    mark, style = _SIGNS.get(state, ("?", "yellow"))
    word = "asleep" if state == "idle" else one_line(state, _LONGEST_STATE)
    return f"{mark} {word}", style
