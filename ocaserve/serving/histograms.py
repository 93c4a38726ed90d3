"""Histograms in the shared map of counters, cheap enough for every response.

A value is a whole number, of microseconds or bytes, and its bucket is the number of its bits: one
integer operation instead of a search, and the same buckets for a microsecond and for an hour. What
is of no use at either end is left out where they are shown (`ocaserve.control.engine_metrics`).
"""

from __future__ import annotations

from enum import IntEnum

# Bucket b has values below 2**b. No response has 2**47 microseconds (4 years) or bytes, so no value
# need be cut to the last bucket.
BUCKETS = 48
WIDTH = BUCKETS + 1  # and their sum


class Histogram(IntEnum):
    """What is observed. A response that went out in one turn has its first byte at its end, so it
    is counted in `AT_ONCE` alone; any other in both `HELD` and `FIRST_BYTE`.
    """

    AT_ONCE_US = 0
    HELD_US = 1
    FIRST_BYTE_US = 2
    RESPONSE_BYTES = 3
    COLD_READ_US = 4
    LOOP_LAG_US = 5


HISTOGRAM_COUNTERS: tuple[str, ...] = tuple(
    f"{histogram.name.lower()}_{column}"
    for histogram in Histogram
    for column in (*range(BUCKETS), "sum")
)


def observe(counts: memoryview, base: int, value: int) -> None:
    """Count a value, which is not negative, in the histogram that begins at `base`."""
    counts[base + value.bit_length()] += 1
    counts[base + BUCKETS] += value
