"""What `/metrics` tells of the fleet's ledger, as it was looked at last."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.bills.taking import TakenAs


class FleetLedgerMetrics(Collector):
    """Of a ledger."""

    def __init__(self, ledger: Bookkeeper) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        ledger, standing = self._ledger, self._ledger.standing
        records = CounterMetricFamily(
            "ocaserve_fleet_ledger_records",
            "Records of appliances, by what became of them; known ones had come before.",
            labels=["outcome"],
        )
        for outcome in TakenAs:
            records.add_metric([outcome.value], ledger.counts[outcome])
        yield records
        yield GaugeMetricFamily(
            "ocaserve_fleet_ledger_up", "Whether the ledger can be asked.", not standing.fault
        )
        yield GaugeMetricFamily(
            "ocaserve_fleet_ledger_parties_wait",
            "Whether the settings name other parties than those in force.",
            standing.waiting,
        )
        families = {
            name: GaugeMetricFamily(f"ocaserve_fleet_ledger_{name}", about, labels=["month"])
            for name, about in (
                ("missing", "Records that are missing, of a month that is open."),
                ("held", "Records that are held, of a month that is open."),
                ("parked", "Records that contradict others, of a month that is open."),
                ("bytes", "Delivered in a month that is open."),
            )
        }
        for each in standing.open_months:
            name = [each.month.name]
            families["missing"].add_metric(name, each.completeness.missing)
            families["held"].add_metric(name, each.completeness.held)
            families["parked"].add_metric(name, each.parked)
            families["bytes"].add_metric(name, each.bytes)
        yield from families.values()
