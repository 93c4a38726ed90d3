"""Bills from periods: sums, top networks, the 95th percentile, CSV. Pure."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from ocaserve.ledger.book import Period

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
    """

    since: float
    until: float
    periods: int
    total: NetworkSum
    networks: list[NetworkSum]
    networks_seen: int


def percentile_95(samples: Sequence[float]) -> float:
    """The highest sample after the top 5 % are left out; 0 without samples."""
    if not samples:
        return 0.0
    return sorted(samples)[math.ceil(_PERCENTILE * len(samples)) - 1]


def add_networks(periods: Iterable[Period]) -> dict[str, int]:
    """Bytes by network."""
    sums: dict[str, int] = {}
    for period in periods:
        for network, sent in period.sent.items():
            sums[network] = sums.get(network, 0) + sent
    return sums


def find_top(sums: Mapping[str, int], count: int) -> list[str]:
    """The networks with the most bytes; of equal ones the name decides."""
    return sorted(sums, key=lambda network: (-sums[network], network))[:count]


def measure(
    name: str, sent: int, samples: Iterable[int], seconds: int, count: int, total: int
) -> NetworkSum:
    """samples: bytes of periods with traffic, `count` with those without."""
    rates = [sample * 8 / seconds for sample in samples]
    rates += [0.0] * (count - len(rates))
    return NetworkSum(
        network=name,
        bytes=sent,
        share=round(sent / total, 6) if total else 0.0,
        p95_bits_per_s=round(percentile_95(rates)),
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
