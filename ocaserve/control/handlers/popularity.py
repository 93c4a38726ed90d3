"""Which objects clients want most."""

from __future__ import annotations

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.popularity_watch import POPULARITY
from ocaserve.popularity.process import PopularityShown


async def show_popularity(call: Call) -> PopularityShown:
    return call.request.app[POPULARITY].shown


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/popularity", show_popularity,
        "Which objects clients want most, and which are locked in memory", PopularityShown,
    ),
)  # fmt: skip
