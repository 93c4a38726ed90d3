"""What was sent in the last minutes and in the last day, as a chart needs it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.schemas import as_time
from ocaserve.control.series import STEP_S
from ocaserve.control.throughput import SERIES


class ThroughputShown(Struct, frozen=True, kw_only=True):
    """Bits of bodies sent per second.

    `means`: of whole steps of `step_s` seconds from `start` on, the last day at most; null where
    nothing was measured. `recent`: of each of the last seconds, the newest last.
    """

    start: datetime
    step_s: int
    means: list[int | None]
    recent: list[int]


async def show_throughput(call: Call) -> ThroughputShown:
    series = call.request.app[SERIES]
    return ThroughputShown(
        start=as_time(series.start), step_s=STEP_S, means=series.means, recent=series.recent
    )


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/throughput", show_throughput, "Throughput of the last day", ThroughputShown
    ),
)
