"""The standard library's logging, warnings and last-resort tracebacks -> the same log.

Left alone they print to stderr: lines that are not JSON, and a write that hangs where nobody reads the pipe.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..config.models import LogLevel
    from .logs import LogObserver

_LEVELS: Final[tuple[tuple[int, LogLevel], ...]] = (
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)


_TOLD_BY_US: Final = "mcp.client."


def install_bridge(observer: LogObserver, level: LogLevel) -> Callable[[], None]:
    """Send what libraries log to `observer`; returns what undoes it.

    Libraries say at "info" what we would say at "debug" (each HTTP request), so at "info" only their warnings pass.
    """
    handler = _Handler(observer)
    root = logging.getLogger()
    before = root.level, sys.unraisablehook, threading.excepthook

    def uncaught(text: str, error: BaseException | None) -> None:
        observer.log("error", "log", logger="python", text=text, traceback=_text(error))

    def on_unraisable(args: sys.UnraisableHookArgs) -> None:
        uncaught(f"{args.err_msg or 'exception ignored in'}: {args.object!r}", args.exc_value)

    def on_thread(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, SystemExit):
            uncaught(f"exception in thread {args.thread.name if args.thread else '?'}", args.exc_value)

    root.addHandler(handler)
    root.setLevel({"debug": logging.DEBUG, "error": logging.ERROR}.get(level, logging.WARNING))
    logging.captureWarnings(True)
    sys.unraisablehook = on_unraisable
    threading.excepthook = on_thread

    def remove() -> None:
        root.removeHandler(handler)
        logging.captureWarnings(False)
        level_before, sys.unraisablehook, threading.excepthook = before
        root.setLevel(level_before)

    return remove


class _Handler(logging.Handler):
    def __init__(self, observer: LogObserver) -> None:
        super().__init__()
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception as error:  # a library's bad format string must not end the work that logs
            text = f"{record.msg} (could not be formatted: {error!r})"
        exception = record.exc_info[1] if record.exc_info else None
        # What the SDK complains of ends a connection of ours, which then is told with its server and the reason.
        level = "debug" if record.name.startswith(_TOLD_BY_US) else _level(record.levelno)
        self._observer.log(level, "log", logger=record.name, text=text, traceback=_text(exception))


def _level(number: int) -> LogLevel:
    return next((name for floor, name in _LEVELS if number >= floor), "debug")


def _text(error: BaseException | None) -> str | None:
    return "".join(traceback.format_exception(error)) if error is not None else None
