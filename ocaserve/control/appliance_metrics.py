"""`/metrics` of an appliance: its stores, its processes, its state. What any engine has as well is
in `engine_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from ocaserve import __version__
from ocaserve.control.engine_metrics import (
    Named,
    Shown,
    show_by,
    show_counters,
    show_gauges,
    show_histogram,
)
from ocaserve.control.state import ControlState
from ocaserve.stores import show_path

_COUNTERS: Named = {
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
    "signatures_refused": (
        "signatures_refused",
        "Requests whose signed URL was wrong, missing or expired.",
    ),
    "bytes_uploaded": ("uploaded_bytes", "Bytes of bodies received, of the speed test."),
}

_GAUGES: Named = {
    "open_files": ("open_files", "Files of objects kept open."),
    "stores_failed": ("stores_failed", "Stores held for failed, added up over the workers."),
}

_COLD_READS = Shown(
    "cold_read_seconds", "What a disk took for one read.", ("cold_read_us",), range(6, 28)
)


class ApplianceCollector:
    """What `ControlState` knows of stores and of the appliance. Others register collectors of their
    own beside it.
    """

    def __init__(self, state: ControlState) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known from collecting, and registering must not read counters."""
        return ()

    def collect(self) -> Iterator[Metric]:
        counters = self._state.counters
        totals = counters.totals()
        yield from show_counters(totals, _COUNTERS)
        sent = {show_path(path): n for path, n in counters.labelled("store_bytes").items()}
        yield show_by("store_sent_bytes", "Bytes of bodies by store.", "store", sent)
        yield show_histogram(_COLD_READS, totals)
        yield from show_gauges(totals, _GAUGES)
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
