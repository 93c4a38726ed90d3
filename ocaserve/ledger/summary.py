"""Bills from periods: sums, top networks, the 95th percentile, CSV. Pure."""

from __future__ import annotations

import csv
import heapq
import io
import math
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from ocaserve.ledger.book import Period
from ocaserve.ledger.folding import add_up

MOST_NETWORKS = 200_000
"""Told apart in one answer: twice of what one period may have."""
_PERCENTILE = 0.95
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class NetworkSum(Struct, frozen=True, kw_only=True):
    """One network over a span of time.

    p95_bits_per_s: as transit is billed: of the means of all periods of five minutes, those
    without traffic too, the highest after the top 5 % are left out.
    """

    network: str
    bytes: int
    share: float
    p95_bits_per_s: int
    peak_bits_per_s: int


class Summary(Struct, frozen=True, kw_only=True):
    """All networks over a span of time; `networks` has the top ones.

    since, until: seconds since the epoch. periods: of five minutes, closed, of which the rates are.
    networks_seen: told apart, MOST_NETWORKS and a quarter at the most.
    """

    since: float
    until: float
    periods: int
    total: NetworkSum
    networks: list[NetworkSum]
    networks_seen: int


def percentile_95(samples: Sequence[float], count: int) -> float:
    """Of `count` samples the highest after the top 5 % are left out; 0 without any.

    samples: the highest of them, as many as `count_highest` at the least; all beyond are 0 or less
    than these.
    """
    place = count - math.ceil(_PERCENTILE * count)
    highest = heapq.nlargest(place + 1, samples)  # half the cost of sorting a month
    return highest[place] if count and place < len(highest) else 0.0


def count_highest(count: int) -> int:
    """How many of the highest of so many samples decide the 95th percentile."""
    return count - math.ceil(_PERCENTILE * count) + 1


class Highest:
    """The highest of many numbers, in bounded memory."""

    __slots__ = ("_kept", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = array("Q")

    def add(self, number: int) -> None:
        self._kept.append(number)
        if len(self._kept) > 2 * self._most:
            self._kept = array("Q", heapq.nlargest(self._most, self._kept))

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)


def add_networks(periods: Iterable[Period]) -> dict[str, int]:
    """Bytes by network, of those with the most: a year of floods must not fill the memory."""
    sums: dict[str, int] = {}
    for period in periods:
        add_up(sums, period.sent, MOST_NETWORKS)
    return sums


def find_top(sums: Mapping[str, int], count: int) -> list[str]:
    """The networks with the most bytes; of equal ones the name decides."""
    return sorted(sums, key=lambda network: (-sums[network], network))[:count]


def measure(
    name: str, sent: int, samples: Iterable[int], seconds: int, count: int, total: int
) -> NetworkSum:
    """samples: the highest bytes of periods with traffic; `count`: all periods."""
    rates = [sample * 8 / seconds for sample in samples]
    return NetworkSum(
        network=name,
        bytes=sent,
        share=round(sent / total, 6) if total else 0.0,
        p95_bits_per_s=round(percentile_95(rates, max(count, len(rates)))),
        peak_bits_per_s=round(max(rates, default=0.0)),
    )


def as_csv(summary: Summary) -> str:
    """A row for each network, and one for all."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        ["since", "until", "network", "bytes", "share", "p95_bits_per_s", "peak_bits_per_s"]
    )
    since, until = (time.strftime(_TIME, time.gmtime(at)) for at in (summary.since, summary.until))
    for row in (*summary.networks, summary.total):
        rows.writerow(
            [
                since, until, row.network, row.bytes, f"{row.share:.6f}",
                row.p95_bits_per_s, row.peak_bits_per_s,
            ]
        )  # fmt: skip
    return out.getvalue()
