"""`/metrics` for Prometheus: the shared counters in the names and units that are usual there.

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
    InfoMetricFamily,
    Metric,
)

from ocaserve import __version__
from ocaserve.control.state import ControlState
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.histograms import BUCKETS
from ocaserve.stores import show_path

_MICROSECOND = 1e-6
_CODES = ("2xx", "3xx", "4xx", "5xx")
_PATHS = ("sendfile_hot", "sendfile_cold", "ktls", "copied")

_PLAIN: Mapping[str, tuple[str, str]] = {
    "accepted": ("connections_accepted", "Connections accepted."),
    "requests": ("requests", "Requests received."),
    "cold_reads": ("cold_reads", "Reads that had to wait for a disk."),
    "lookups": ("lookups", "Objects looked for in the stores."),
    "lookup_misses": ("lookup_misses", "Objects that no store has."),
    "misses_redirected": (
        "misses_redirected",
        "Requests for objects that no store has, sent on to `fill.miss_url`.",
    ),
    "lookups_refused": ("lookups_refused", "Look-ups that found no place in a store's line."),
    "objects_unreadable": (
        "objects_unreadable",
        "Requests for objects that a store could not open or read, for want of rights too.",
    ),
    "store_errors": ("store_errors", "I/O errors of stores."),
    "files_replaced": ("files_replaced", "Open files that were found to be replaced."),
    "log_lines": ("log_lines", "Lines taken for the access log."),
    "log_lines_dropped": ("log_lines_dropped", "Lines of the access log that were lost."),
    "accept_errors": ("accept_errors", "Connections that could not be accepted."),
    "signatures_refused": (
        "signatures_refused",
        "Requests whose signed URL was wrong, missing or expired.",
    ),
    "bytes_uploaded": ("uploaded_bytes", "Bytes of bodies received, of the speed test."),
    "tls_handshakes": ("tls_handshakes", "TLS handshakes that were completed."),
    "tls_resumed": ("tls_resumed", "Of the TLS handshakes, those that resumed a session."),
    "tls_certificates_read": ("tls_certificates_read", "Certificates that workers read."),
    "tls_certificate_faults": (
        "tls_certificate_faults",
        "Certificates that workers could not read or use.",
    ),
    "defects": ("defects", "Defects of the program that workers met and contained."),
}
"""Counters that stand for themselves: the name here, the name there, what it is."""

_GAUGES: Mapping[str, tuple[str, str]] = {
    "connections": ("connections", "Connections open now."),
    "responding": ("responding_connections", "Connections that a response is being sent on."),
    "open_files": ("open_files", "Files of objects kept open."),
    "tls_handshaking": ("tls_handshaking_connections", "TLS handshakes that are under way."),
    "stores_failed": ("stores_failed", "Stores held for failed, added up over the workers."),
}


class Shown(NamedTuple):
    """A histogram as Prometheus gets it: from which of ours, and which powers of two."""

    name: str
    about: str
    parts: tuple[str, ...]
    bounds: range
    unit: float

    @property
    def sums(self) -> Iterator[str]:
        """Counters that add up to the sum: of bodies, it is counted by path alone."""
        if self.unit == 1:
            return (f"bytes_{path}" for path in _PATHS)
        return (f"{part}_sum" for part in self.parts)


_HISTOGRAMS = (
    Shown(
        "response_duration_seconds", "From a complete request head to the last byte.",
        ("at_once_us", "held_us"), range(6, 35), _MICROSECOND,
    ),
    Shown(
        "first_byte_seconds", "From a complete request head to the first byte of the answer.",
        ("at_once_us", "first_byte_us"), range(6, 28), _MICROSECOND,
    ),
    Shown(
        "response_size_bytes", "Bytes of body sent in a response.",
        ("response_bytes",), range(8, 36), 1,
    ),
    Shown(
        "cold_read_seconds", "What a disk took for one read.",
        ("cold_read_us",), range(6, 28), _MICROSECOND,
    ),
    Shown(
        "loop_lag_seconds", "How late a worker's event loop was, four times a second.",
        ("loop_lag_us",), range(6, 25), _MICROSECOND,
    ),
)  # fmt: skip


class ApplianceCollector:
    """All that `ControlState` knows. Others register collectors of their own beside it."""

    def __init__(self, state: ControlState) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known from collecting, and registering must not read counters."""
        return ()

    def collect(self) -> Iterator[Metric]:
        totals = self._state.counters.totals()
        yield from _plain_counters(totals)
        yield from _labelled_counters(
            totals,
            {
                show_path(path): count
                for path, count in self._state.counters.labelled("store_bytes").items()
            },
        )
        yield from (_histogram(shown, totals) for shown in _HISTOGRAMS)
        for name, (shown_name, about) in _GAUGES.items():
            yield GaugeMetricFamily(f"ocaserve_{shown_name}", about, value=totals[name])
        yield from self._appliance()

    def _appliance(self) -> Iterator[Metric]:
        state = self._state
        appliance = state.appliance
        info = {"version": __version__, "id": state.settings.appliance.id}
        yield InfoMetricFamily("ocaserve", "The appliance.", value=info)
        yield GaugeMetricFamily(
            "ocaserve_start_time_seconds", "When it was started.", value=appliance.started
        )
        workers = GaugeMetricFamily(
            "ocaserve_workers", "Worker processes by state.", labels=["state"]
        )
        states = [worker.state for worker in appliance.workers]
        for name in ("starting", "serving", "draining"):
            workers.add_metric([name], states.count(name))
        yield workers
        yield GaugeMetricFamily(
            "ocaserve_workers_wanted", "Worker processes that there should be.", appliance.wanted
        )
        yield CounterMetricFamily(
            "ocaserve_worker_deaths", "Workers that ended without being told.", appliance.deaths
        )
        yield CounterMetricFamily(
            "ocaserve_supervisor_defects", "Steps of the supervisor that failed.", appliance.defects
        )
        lifecycle = GaugeMetricFamily(
            "ocaserve_state", "1 for the state that the appliance is in.", labels=["state"]
        )
        for name in ("starting", "serving", "draining", "drained", "stopping"):
            lifecycle.add_metric([name], state.lifecycle == name)
        yield lifecycle
        yield GaugeMetricFamily(
            "ocaserve_takes_traffic", "1 when clients should be sent here.", state.takes_traffic
        )


def _plain_counters(totals: Mapping[str, int]) -> Iterator[Metric]:
    for name, (shown, about) in _PLAIN.items():
        yield CounterMetricFamily(f"ocaserve_{shown}", about, value=totals[name])


def _labelled_counters(totals: Mapping[str, int], stores: Mapping[str, int]) -> Iterator[Metric]:
    yield _family(
        "responses", "Responses by class of status.", "code",
        {code: totals[f"responses_{code}"] for code in _CODES},
    )  # fmt: skip
    yield _family(
        "sent_bytes", "Bytes of bodies by the way they took.", "path",
        {path: totals[f"bytes_{path}"] for path in _PATHS},
    )  # fmt: skip
    yield _family("store_sent_bytes", "Bytes of bodies by store.", "store", stores)
    yield _family(
        "connections_closed", "Connections that ended, by reason.", "reason",
        {reason.label: totals[f"close_{reason.label}"] for reason in CloseReason},
    )  # fmt: skip


def _family(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"ocaserve_{name}", about, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _histogram(shown: Shown, totals: Mapping[str, int]) -> Metric:
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
