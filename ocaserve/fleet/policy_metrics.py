"""What `/metrics` tells of policies."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.policies.in_force import FigureRow


class PolicyMetrics(Collector):
    """Of an office, and of sessions that were told of."""

    def __init__(self, office: PolicyOffice, state: FleetState) -> None:
        self._office = office
        self._state = state

    def collect(self) -> Iterator[Metric]:
        office = self._office
        answers = CounterMetricFamily(
            "ocaserve_fleet_policy_answers",
            "Answers of a policy: from memory, of its program, too late, or none by its fault.",
            labels=["policy", "source"],
        )
        seconds = CounterMetricFamily(
            "ocaserve_fleet_policy_cpu_seconds", "What its program took.", labels=["policy"]
        )
        for name, row in self._by_name().items():
            for source, count in (
                ("memory", row.kept), ("program", row.asked), ("late", row.late),
                ("fault", row.faults),
            ):  # fmt: skip
                answers.add_metric([name, source], count)
            seconds.add_metric([name], row.cpu_s)
        yield from (answers, seconds)
        backs = CounterMetricFamily(
            "ocaserve_fleet_policy_rollbacks",
            "Releases that were rolled back here by a measure, or because their time was over.",
        )
        backs.add_metric([], office.rollbacks)
        restarts = CounterMetricFamily(
            "ocaserve_fleet_policy_restarts", "Processes that run policies and were replaced."
        )
        restarts.add_metric([], office.restarts)
        sessions = CounterMetricFamily(
            "ocaserve_fleet_sessions", "Sessions that clients told of, by how they went.",
            labels=["outcome"],
        )  # fmt: skip
        for outcome in ("well", "failed over", "refused"):
            sessions.add_metric([outcome.replace(" ", "_")], self._state.journal.sessions[outcome])
        yield from (backs, restarts, sessions)
        yield GaugeMetricFamily(
            "ocaserve_fleet_policies_in_force", "Policies in force.", len(office.book.live)
        )
        yield GaugeMetricFamily(
            "ocaserve_fleet_policies_known", "Whether the releases can be read.", not office.fault
        )

    def _by_name(self) -> dict[str, FigureRow]:
        """Versions of one name together: of a thousand a day none should be a series."""
        sums: dict[str, FigureRow] = {}
        for version, row in self._office.figures.items():
            bundle = self._office.texts.get(version)
            if bundle is not None:
                known = sums.get(bundle.name, FigureRow())
                sums[bundle.name] = FigureRow(
                    asked=known.asked + row.asked, kept=known.kept + row.kept,
                    faults=known.faults + row.faults, late=known.late + row.late,
                    cpu_s=known.cpu_s + row.cpu_s,
                )  # fmt: skip
        return sums
