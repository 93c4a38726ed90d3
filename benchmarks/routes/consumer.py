"""ExaBGP's child that does nothing: how long ExaBGP itself takes.

It reads as the feeder does, in large pieces, and writes the time (of the monotonic clock, in a line
each) of every End-of-RIB into the file that its argument names.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

_PIPE_BYTES = _READ_BYTES = 1 << 20
_MARK = b'"eor"'


def main(file: str) -> None:
    fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    tail = b""
    with open(file, "a") as times:
        while data := os.read(0, _READ_BYTES):
            for _ in range((tail + data).count(_MARK)):
                print(time.monotonic(), file=times, flush=True)
            tail = data[-len(_MARK) + 1 :]


if __name__ == "__main__":
    main(*sys.argv[1:])
