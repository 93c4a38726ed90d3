"""Asks the control process for its status while others do something, and takes the time.

Arguments: the port, and the seconds between two questions. It ends, and tells its latencies, when
its standard input does.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

_PATH = "/v1/status"


def main(port: str, interval: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    latencies: list[float] = []
    print(json.dumps("begin"), flush=True)
    is_over = False
    while not is_over:  # at least once, however short the time is
        asked = time.monotonic()
        connection.request("GET", _PATH)
        connection.getresponse().read()
        latencies.append(time.monotonic() - asked)
        left = asked + float(interval) - time.monotonic()
        is_over = bool(select.select([sys.stdin], [], [], max(0.0, left))[0])
    print(json.dumps({"latencies_s": latencies}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
