"""What all processes say on standard error: bounded, without secrets, and without waiting.

`start_logging` is called once, before anything is forked; children go on with a log of their own.
Each process calls `flush_log` about once a second: what had to wait, or was left out, is said then.
"""

from __future__ import annotations

import logging
import os
import re
import sys

from ocaserve.logs.bounding import BURST_OF_PROGRAM, Bound
from ocaserve.logs.hiding import show
from ocaserve.logs.log_outlet import LogOutlet, stream_into

__all__ = ["BURST_OF_PROGRAM", "LineFormatter", "SteadyHandler", "flush_log", "start_logging"]

_CONTROL_CHARACTERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_MOST_BYTES = 8_192  # of one record with its traceback
_STANDARD_ERROR = 2


class LineFormatter(logging.Formatter):
    """One line for each record; a traceback's lines are indented below it.

    What comes from outside, a path or a reason, must not begin a line of its own in the log.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return super().formatMessage(record).replace("\n", "\\x0a")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\n    ")
        return _CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class SteadyHandler(logging.Handler):
    """Hands records to the outlet, as many as `Bound` admits."""

    def __init__(self, outlet: LogOutlet) -> None:
        super().__init__()
        self._outlet = outlet
        self._bound = Bound()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._bound.admits(record):
                self._write(record)
        except Exception:  # noqa: BLE001 - the library's border: a log must not fail its caller
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        text = self.format(record).encode("utf-8", "backslashreplace")
        self._outlet.write(show(text, _MOST_BYTES) + b"\n")

    def flush(self) -> None:
        """Say what had to wait, and what was left out."""
        self.acquire()
        try:
            for left_out in self._bound.take_left_out():
                self._write(logging.makeLogRecord({"msg": str(left_out)}))
        finally:
            self.release()
        self._outlet.flush()

    def forget(self) -> None:
        """In a forked child: the parent's matters are not its own."""
        self._outlet.forget()
        self._bound.forget()


_handlers: list[SteadyHandler] = []
"""The one of this process, once it has begun to log."""


def start_logging(level: int = logging.INFO) -> None:
    """Log to standard error from here on, in this process and those that it forks.

    The journal adds the time itself. What writes to `sys.stderr` goes the same way.
    """
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    formatter = LineFormatter(f"{stamp}ocaserve[%(process)d]: %(message)s")

    def describe(dropped: int) -> bytes:
        said = f"{dropped} lines of the log were dropped: nobody took them"
        return formatter.format(logging.makeLogRecord({"msg": said})).encode() + b"\n"

    outlet = LogOutlet(_STANDARD_ERROR, describe)
    handler = SteadyHandler(outlet)
    handler.setFormatter(formatter)
    sys.stderr = stream_into(outlet)
    os.register_at_fork(after_in_child=handler.forget)
    _handlers[:] = [handler]
    logging.basicConfig(level=level, handlers=[handler])


def flush_log() -> None:
    """Say what had to wait, and what was left out; costs nothing where there is nothing."""
    for handler in _handlers:
        handler.flush()
