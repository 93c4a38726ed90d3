"""One viewer of what all watch, who asks again a little after each answer, and takes the time."""

from __future__ import annotations

import json
import random
import sys
import time

from benchmarks.clients.wire import BadAnswer, Client, tell


def main(
    port: int, key: str, object_bytes: int, range_bytes: int, pause_s: float, seconds: float
) -> None:
    """Ask for so long; tell the latencies in seconds, in the order of the requests."""
    client = Client(port, 30.0)
    chance = random.Random(range_bytes)  # noqa: S311 - repeatable is what is wanted
    tell("begin")
    latencies: list[float] = []
    failure = None
    end = time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        first = chance.randrange(object_bytes // range_bytes) * range_bytes
        try:
            client.get(key, first, first + range_bytes - 1)
        except (BadAnswer, OSError) as error:
            failure = str(error)
            break
        latencies.append(time.monotonic() - start)
        time.sleep(pause_s)
    tell({"latencies_s": latencies, "failure": failure})


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
