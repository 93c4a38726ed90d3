"""Metrics of what every engine has, whatever it answers with: connections, requests, times, TLS.

Everything is read from memory when it is asked for. Histograms are added up from what the workers
count by powers of two; of these, the useful ones are shown as cumulative buckets, in seconds or
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ocaserve.metrics import CounterMap
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.histograms import BUCKETS

Named = Mapping[str, tuple[str, str]]
"""Counters that stand for themselves: the name here, the name there, what it is."""

_MICROSECOND = 1e-6
_CODES = ("2xx", "3xx", "4xx", "5xx")
_PATHS = ("sendfile_hot", "sendfile_cold", "ktls", "copied")

_COUNTERS: Named = {
    "accepted": ("connections_accepted", "Connections accepted."),
    "requests": ("requests", "Requests received."),
    "log_lines": ("log_lines", "Lines taken for the access log."),
    "log_lines_dropped": ("log_lines_dropped", "Lines of the access log that were lost."),
    "accept_errors": ("accept_errors", "Connections that could not be accepted."),
    "tls_handshakes": ("tls_handshakes", "TLS handshakes that were completed."),
    "tls_resumed": ("tls_resumed", "Of the TLS handshakes, those that resumed a session."),
    "tls_certificates_read": ("tls_certificates_read", "Certificates that workers read."),
    "tls_certificate_faults": (
        "tls_certificate_faults",
        "Certificates that workers could not read or use.",
    ),
    "defects": ("defects", "Defects of the program that workers met and contained."),
}

_GAUGES: Named = {
    "connections": ("connections", "Connections open now."),
    "responding": ("responding_connections", "Connections that a response is being sent on."),
    "tls_handshaking": ("tls_handshaking_connections", "TLS handshakes that are under way."),
}


class Shown(NamedTuple):
    """A histogram as Prometheus gets it: from which of ours, and which powers of two."""

    name: str
    about: str
    parts: tuple[str, ...]
    bounds: range
    unit: float = _MICROSECOND

    @property
    def sums(self) -> Iterator[str]:
        """Counters that add up to the sum: of bodies, it is counted by path alone."""
        if self.unit == 1:
            return (f"bytes_{path}" for path in _PATHS)
        return (f"{part}_sum" for part in self.parts)


_HISTOGRAMS = (
    Shown(
        "response_duration_seconds", "From a complete request head to the last byte.",
        ("at_once_us", "held_us"), range(6, 35),
    ),
    Shown(
        "first_byte_seconds", "From a complete request head to the first byte of the answer.",
        ("at_once_us", "first_byte_us"), range(6, 28),
    ),
    Shown(
        "response_size_bytes", "Bytes of body sent in a response.",
        ("response_bytes",), range(8, 36), 1,
    ),
    Shown(
        "loop_lag_seconds", "How late a worker's event loop was, four times a second.",
        ("loop_lag_us",), range(6, 25),
    ),
)  # fmt: skip


class EngineMetrics(Collector):
    """counters: of all workers."""

    def __init__(self, counters: CounterMap) -> None:
        self._counters = counters

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known from collecting, and registering must not read counters."""
        return ()

    def collect(self) -> Iterator[Metric]:
        totals = self._counters.totals()
        yield from show_counters(totals, _COUNTERS)
        yield show_by(
            "responses", "Responses by class of status.", "code",
            {code: totals[f"responses_{code}"] for code in _CODES},
        )  # fmt: skip
        yield show_by(
            "sent_bytes", "Bytes of bodies by the way they took.", "path",
            {path: totals[f"bytes_{path}"] for path in _PATHS},
        )  # fmt: skip
        yield show_by(
            "connections_closed", "Connections that ended, by reason.", "reason",
            {reason.label: totals[f"close_{reason.label}"] for reason in CloseReason},
        )  # fmt: skip
        yield from (show_histogram(shown, totals) for shown in _HISTOGRAMS)
        yield from show_gauges(totals, _GAUGES)


def show_counters(totals: Mapping[str, int], named: Named) -> Iterator[Metric]:
    for name, (shown, about) in named.items():
        yield CounterMetricFamily(f"ocaserve_{shown}", about, value=totals[name])


def show_gauges(totals: Mapping[str, int], named: Named) -> Iterator[Metric]:
    for name, (shown, about) in named.items():
        yield GaugeMetricFamily(f"ocaserve_{shown}", about, value=totals[name])


def show_by(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    """A counter for each value of a label."""
    family = CounterMetricFamily(f"ocaserve_{name}", about, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def show_histogram(shown: Shown, totals: Mapping[str, int]) -> Metric:
    counts = [sum(totals[f"{part}_{bits}"] for part in shown.parts) for bits in range(BUCKETS)]
    total = sum(totals[name] for name in shown.sums)
    family = HistogramMetricFamily(f"ocaserve_{shown.name}", shown.about)
    family.add_metric([], buckets=list(_cumulated(counts, shown)), sum_value=total * shown.unit)
    return family


def _cumulated(counts: Sequence[int], shown: Shown) -> Iterator[tuple[str, float]]:
    """Our bucket `bits` has what is below 2**bits, so up to there all are to be added."""
    for bits in shown.bounds:
        yield _bound((2**bits - (shown.unit == 1)) * shown.unit), sum(counts[: bits + 1])
    yield "+Inf", sum(counts)


def _bound(value: float) -> str:
    return repr(float(f"{value:.6g}") if value < 1e6 else float(value))
