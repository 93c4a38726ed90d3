"""The reference of the control plane, made from the code: `python -m
ocaserve.fleet.fleet_reference` prints docs/fleet-api.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.bills.from_settings import open_vault
from ocaserve.bills.parties import Grouping
from ocaserve.control.engine_metrics import EngineMetrics
from ocaserve.control.metrics_reference import describe_metric
from ocaserve.control.openapi import describe_api
from ocaserve.control.reference import describe_document
from ocaserve.fleet.app import OPERATORS
from ocaserve.fleet.client_reference import CLIENTS
from ocaserve.fleet.fleet_metrics import FleetMetrics
from ocaserve.fleet.ledger_metrics import FleetLedgerMetrics
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.policy_metrics import PolicyMetrics
from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.fleet.policy_shadows import Shadows
from ocaserve.fleet.policy_storing import MemoryPolicies
from ocaserve.metrics import CounterMap
from ocaserve.serving.counters import COUNTERS, GAUGES
from ocaserve.settings.fleet import Fleet

_HEAD = """\
# The API of the control plane

This page is made from the code by `python -m ocaserve.fleet.fleet_reference`. A running control
plane says the same to programs: `/v1/openapi.json` on each of its two addresses. What the calls are
for stands in [fleet.md](fleet.md).

The examples are for a shell on its machine, with the addresses that it has by default:
`fleet.clients` is 127.0.0.1:8088, `fleet.listen` 127.0.0.1:8090. `TOKEN` stands for one of the
role `operate`. On `fleet.clients` the tokens of the role `steer` may do what is marked `read`.
Errors are problems as in RFC 9457.
"""
_METRICS = """
## Metrics

What `/metrics` tells Prometheus, beside what it counts of its own API (`ocaserve_control_`, as in
[metrics.md](metrics.md)). What workers count of connections, requests and times has the names that
it has at an appliance, and goes on over crashes of any process; all others begin anew with the
process. Alerts on these are in
`deploy/prometheus`, panels in `deploy/grafana`.

| metric | type | labels | what |
|---|---|---|---|
"""


def document_fleet_api() -> Mapping[str, Any]:
    """The OpenAPI document of both addresses together."""
    every = {(each.method, each.path): each for each in (*OPERATORS, *CLIENTS)}
    return describe_api(list(every.values()))


def describe_fleet_reference() -> str:
    """All calls, shapes and metrics, as Markdown."""
    operators = {each.path for each in OPERATORS}

    def place_of(path: str) -> str:
        return f"http://127.0.0.1:{8090 if path in operators else 8088}"

    calls = describe_document(document_fleet_api(), _HEAD, place_of)
    ledger = Bookkeeper("sqlite:///ledger", open_vault, Grouping(()), None)
    state = FleetState(Fleet())
    office = PolicyOffice(MemoryPolicies(), state.policing.show, list, Shadows())
    collected = (
        *FleetMetrics(state).collect(),
        *FleetLedgerMetrics(ledger).collect(),
        *PolicyMetrics(office, state).collect(),
        *EngineMetrics(CounterMap(COUNTERS, GAUGES, 1)).collect(),
    )
    metrics = sorted(collected, key=lambda each: each.name)
    return f"{calls}{_METRICS}{''.join(map(describe_metric, metrics))}"


if __name__ == "__main__":
    print(describe_fleet_reference(), end="")
