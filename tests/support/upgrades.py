"""Having a new version of the program take over, as USR2 asks for."""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.daemon import STOP_S, Daemon
from tests.support.processes import children
from tests.support.waiting import eventually


def await_end(processes: list[int]) -> None:
    """Wait for processes that are nobody's children here. Raises TimeoutError."""
    for pid in processes:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([handle], [], [], STOP_S)[0]:
                raise TimeoutError(f"process {pid} did not end in {STOP_S} s")
        finally:
            os.close(handle)


@contextmanager
def upgraded(daemon: Daemon) -> Iterator[int]:
    """Have a new version take over; ends it with the block. Yields its pid."""
    daemon.process.send_signal(signal.SIGUSR2)
    pattern = re.compile(r"the new version \(pid (\d+)\) serves")
    found = eventually(lambda: pattern.search(daemon.log.read_text()), "a new version")
    new = int(found[1])
    processes = children(new)
    try:
        yield new
    finally:
        os.kill(new, signal.SIGTERM)
        await_end([new, *processes])
