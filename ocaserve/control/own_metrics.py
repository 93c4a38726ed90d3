"""What the control process tells Prometheus of itself: lanes, connections, long answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.connections import Ending
from ocaserve.control.endpoints import CONNECTIONS, DEFECTS, LANES, OFFERED
from ocaserve.control.lanes import Lane


class ControlMetrics(Collector):
    """As it lies in memory. others: applications of the process that share the defects of `app`;
    the rest is told of all together.
    """

    def __init__(self, app: web.Application, *others: web.Application) -> None:
        self._app = app
        self._every = (app, *others)

    def describe(self) -> Iterable[Metric]:
        """Nothing, when it is registered: the application does not run yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        lanes = [app[LANES] for app in self._every]
        connections = [app[CONNECTIONS] for app in self._every]
        running = GaugeMetricFamily(
            "ocaserve_control_requests", "Requests that control answers now.", labels=["lane"]
        )
        refused = CounterMetricFamily(
            "ocaserve_control_refused", "Requests refused since a lane was full.", labels=["lane"]
        )
        offered = {each.lane for app in self._every for each in app[OFFERED]}
        for lane in (lane for lane in Lane if lane in offered):
            running.add_metric([lane.label], sum(each.running[lane] for each in lanes))
            refused.add_metric([lane.label], sum(each.refused[lane] for each in lanes))
        yield from (running, refused)
        yield GaugeMetricFamily(
            "ocaserve_control_connections", "Connections of control.", sum(map(len, connections))
        )
        ended = CounterMetricFamily(
            "ocaserve_control_ended", "Connections that control ended itself.", labels=["reason"]
        )
        for ending in Ending:
            ended.add_metric([ending.label], sum(each.ended[ending] for each in connections))
        yield ended
        defects = CounterMetricFamily(
            "ocaserve_control_defects",
            "Defects of control that were contained, by part.",
            labels=["part"],
        )
        for part, count in self._app[DEFECTS].counts.items():
            defects.add_metric([part], count)
        yield defects
