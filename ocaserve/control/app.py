"""What the control process offers: the areas, each of which registers its routes and its work."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from ocaserve.control import metrics, openapi
from ocaserve.control.handlers import (
    dashboard,
    health,
    history,
    inventory,
    ledger,
    operations,
    routes,
    status,
    views,
)
from ocaserve.control.routing import (
    ROUTES,
    SILENT,
    add_common_fields,
    limit_requests,
    tell_problems,
)
from ocaserve.control.state import STATE, ControlState

AREAS: tuple[Callable[[web.Application], None], ...] = (
    status.register,
    operations.register,
    views.register,
    health.register,
    ledger.register,
    inventory.register,
    routes.register,
    history.register,
    dashboard.register,
    metrics.register,
    openapi.register,
)


def build_app(state: ControlState) -> web.Application:
    """The application over this state."""
    control = state.settings.control
    app = web.Application(
        client_max_size=control.body_bytes,
        middlewares=[tell_problems, limit_requests(control.requests_in_flight)],
    )
    app.on_response_prepare.append(add_common_fields)
    app[STATE] = state
    app[ROUTES] = []
    app[SILENT] = set()
    for register in AREAS:
        register(app)
    return app
