"""`/metrics` of the control plane."""

from __future__ import annotations

import time
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.operating import show_sites
from ocaserve.fleet.pushed_documents import DocumentOutcome
from ocaserve.fleet.turn_up import TurnUp, TurnUpCheck
from ocaserve.fleet.verdicts import SERVED, STEERED, UNAVAILABLE, UNCOVERED

REGISTRY: web.AppKey[CollectorRegistry] = web.AppKey("REGISTRY", CollectorRegistry)


class FleetMetrics(Collector):
    """As it lies in memory."""

    def __init__(self, state: FleetState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state
        documents = CounterMetricFamily(
            "ocaserve_fleet_documents", "Reports and changes, by what became of them.",
            labels=["outcome"],
        )  # fmt: skip
        for outcome in DocumentOutcome:
            documents.add_metric([outcome.value], state.outcomes[outcome])
        decisions = CounterMetricFamily(
            "ocaserve_fleet_decisions", "Clients that were asked for, by whether they are served.",
            labels=["result"],
        )  # fmt: skip
        for result in (SERVED, UNCOVERED, UNAVAILABLE, STEERED):
            decisions.add_metric([result], state.journal.outcomes[result])
        shed = CounterMetricFamily(
            "ocaserve_fleet_shed_clients",
            "Clients that were turned away from an appliance, by what it lacked.",
            labels=["appliance", "cause"],
        )
        for turned, clients in state.journal.shed.decisions.items():
            shed.add_metric([turned.appliance, turned.cause.value], clients)
        yield from (documents, decisions, shed)
        yield from self._collect_log()
        yield GaugeMetricFamily(
            "ocaserve_fleet_shared_up",
            "Whether the server that instances share answers; 1 where none is configured.",
            state.shared_lost_at is None,
        )
        yield from self._collect_appliances()
        taking = sum(not each.fault for each in state.servers.values())
        for name, about, value in (
            ("appliances", "Appliances that have reported.", len(state.members)),
            ("appliances_taking_clients", "Of these, those that get clients.", taking),
            ("networks", "Networks that some appliance hears.", len(state.atlas)),
            ("tables", "Tables that differ.", len(state.tables)),
            ("objects", "Objects of the catalogue.", len(state.stock.catalogue.objects)),
            (
                "objects_live",
                "Of these, those that clients are offered.",
                state.stock.presence.live,
            ),
            ("atlas_seconds", "CPU that making the last atlas took.", state.atlas_s),
        ):
            yield GaugeMetricFamily(f"ocaserve_fleet_{name}", about, value)

    def _collect_log(self) -> Iterator[Metric]:
        journal = self._state.journal
        lines = CounterMetricFamily(
            "ocaserve_fleet_decision_log_lines", "Of the decision log, by what became of them.",
            labels=["outcome"],
        )  # fmt: skip
        lines.add_metric(["taken"], journal.lines)
        lines.add_metric(["dropped"], journal.lines_lost)
        lines.add_metric(["too_long"], journal.left_out)
        yield lines

    def _collect_appliances(self) -> Iterator[Metric]:
        state, now = self._state, time.monotonic()
        families = {
            name: GaugeMetricFamily(f"ocaserve_fleet_{name}", about, labels=["appliance", "site"])
            for name, about in (
                ("takes_clients", "Whether the appliance gets clients."),
                ("in_service", "Whether it has ever passed the checks of its turn-up."),
                ("drained", "Whether clients are kept from it here."),
                ("report_age_seconds", "Since it was heard of."),
                ("free_bits_per_second", "What it says that it can still take."),
                ("total_bits_per_second", "What it says that it can take in all."),
                ("granted_bits_per_second", "Given to clients, and not in its reports yet."),
            )
        }
        for appliance, member in state.members.items():
            capacity = member.copy.capacity
            values = {
                "takes_clients": not state.servers[appliance].fault,
                "in_service": member.copy.turn_up is TurnUp.IN_SERVICE,
                "drained": appliance in state.drains,
                "report_age_seconds": now - member.heard_at,
                "free_bits_per_second": capacity.free_bits_per_s,
                "total_bits_per_second": capacity.total_bits_per_s,
                "granted_bits_per_second": member.grants.bits_per_s,
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric([appliance, state.servers[appliance].site], value)
        failed = GaugeMetricFamily(
            "ocaserve_fleet_check_failed",
            "Whether a check of the turn-up fails, where `fleet.turn_up` has them made.",
            labels=["appliance", "site", "check"],
        )
        for appliance, member in state.members.items() if state.settings.turn_up != "off" else ():
            checks = {each.check for each in member.failed}
            for check in TurnUpCheck:
                failed.add_metric(
                    [appliance, state.servers[appliance].site, check.value], check in checks
                )
        same = GaugeMetricFamily(
            "ocaserve_fleet_site_hears_the_same",
            "Whether all appliances of the site tell of the same networks.",
            labels=["site"],
        )
        for site in show_sites(state):
            same.add_metric([site.id], site.hears_the_same)
        yield from (*families.values(), failed, same)


async def show_metrics(call: Call) -> web.Response:
    text = generate_latest(call.request.app[REGISTRY])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


ENDPOINTS = (
    Endpoint(
        "GET", "/metrics", show_metrics, "All metrics", "The exposition format of Prometheus",
        media="text/plain", lane=Lane.VITAL,
    ),
)  # fmt: skip
