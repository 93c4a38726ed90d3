"""A few viewers of films that nobody watched before: segment by segment, as fast as they come."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence

from benchmarks.clients.wire import BadAnswer, Client, tell


class Stream(threading.Thread):
    """One viewer. Receiving lets go of the interpreter, so eight of them do not stand in line."""

    def __init__(self, port: int, keys: Sequence[str], object_bytes: int, segment: int) -> None:
        super().__init__(daemon=True)
        self.failure: str | None = None
        self._films = keys
        self._object_bytes = object_bytes
        self._segment = segment
        self._client = Client(port, 30.0)

    @property
    def received(self) -> int:
        """Bytes of bodies until now."""
        return self._client.received

    def run(self) -> None:
        try:
            for key in self._films:
                for first in range(0, self._object_bytes, self._segment):
                    self._client.get(key, first, first + self._segment - 1)
        except (BadAnswer, OSError) as error:
            self.failure = str(error)
        else:
            self.failure = "all films are seen, so that the last part of the time was idle"


def main(
    port: int,
    keys: Sequence[str],
    object_bytes: int,
    segment_bytes: int,
    clients: int,
    seconds: float,
) -> None:
    """Stream for so long; tell the bytes received."""
    streams = [
        Stream(port, keys[place::clients], object_bytes, segment_bytes) for place in range(clients)
    ]
    tell("begin")
    start = time.monotonic()
    for stream in streams:
        stream.start()
    time.sleep(seconds)
    received = sum(stream.received for stream in streams)
    elapsed = time.monotonic() - start
    failures = [stream.failure for stream in streams if stream.failure]
    tell({"bytes": received, "seconds": elapsed, "failures": failures})


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
