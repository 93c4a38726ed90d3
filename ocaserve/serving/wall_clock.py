"""The time of day as text, made once for all responses of a quarter of a second."""

from __future__ import annotations

import time

from ocaserve.protocol.dates import format_http_date


class Clock:
    """epoch: seconds since then. http_date: for the field Date. log_time: for a line of the log."""

    def __init__(self, log_format: str) -> None:
        self._log_format = log_format
        self.epoch = 0
        self.http_date = b""
        self.log_time = b""
        self.update(time.time())

    def update(self, now: float) -> None:
        """`now`: seconds since the epoch."""
        epoch = int(now)
        if epoch == self.epoch:
            return
        self.epoch = epoch
        self.http_date = format_http_date(epoch)
        if self._log_format == "json":
            self.log_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)).encode()
        else:
            self.log_time = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(epoch)).encode()
