"""The list of metrics, made from what /metrics shows.

`python -m ocaserve.control.metrics_reference` prints docs/metrics.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiohttp import web
from prometheus_client.core import Metric

from ocaserve.control.connections import Ending
from ocaserve.control.reference import sample_application
from ocaserve.control.state import STATE

_HEAD = """\
# Metrics

What `/metrics` on the control address tells Prometheus. This page is made from the code by
`python -m ocaserve.control.metrics_reference`. What workers count goes on over crashes of any
process; what control counts of itself and of routes begins anew with it. Alerts on these are in
`deploy/prometheus`, panels in `deploy/grafana`.

| metric | type | labels | what |
|---|---|---|---|
"""

_ENDINGS = """
## Why control ends a connection

The reasons of `ocaserve_control_ended_total`; times and numbers are settings of `[control]`. Those
of the data plane are in [close-reasons.md](close-reasons.md).

| reason | meaning |
|---|---|
"""


def describe_metrics() -> str:
    """All of them, as Markdown."""
    with sample_application() as app:
        metrics = asyncio.run(_collect(app))
    rows = "".join(map(describe_metric, sorted(metrics, key=lambda metric: metric.name)))
    endings = "".join(f"| `{each.label}` | {each.value.meaning} |\n" for each in Ending)
    return f"{_HEAD}{rows}{_ENDINGS}{endings}"


async def _collect(app: web.Application) -> Sequence[Metric]:
    """Of an application that runs for a moment: parts join when it starts."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        return list(app[STATE].registry.collect())
    finally:
        await runner.cleanup()


def describe_metric(metric: Metric) -> str:
    """A row of the table."""
    ending = {"counter": "_total", "info": "_info"}.get(metric.type, "")
    labels = ", ".join(f"`{label}`" for label in _labels(metric))
    return f"| `{metric.name}{ending}` | {metric.type} | {labels} | {metric.documentation} |\n"


def _labels(metric: Metric) -> Iterable[str]:
    """The library keeps the names that a family was made with, and shows only those of samples."""
    named: Sequence[str] = getattr(metric, "_labelnames", ())
    found = {label for sample in metric.samples for label in sample.labels} - {"le"}
    return named or sorted(found)


if __name__ == "__main__":
    print(describe_metrics(), end="")
