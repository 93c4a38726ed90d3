"""What has changed lately."""

from __future__ import annotations

from ocaserve.control.chronicle import HISTORY
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.views.history import HistoryShown, describe_history


async def show_history(call: Call) -> HistoryShown:
    return describe_history(call.request.app[HISTORY])


ENDPOINTS = (Endpoint("GET", "/v1/history", show_history, "What has changed lately", HistoryShown),)


# -- what may change -----------------------------------------------------------------------------
