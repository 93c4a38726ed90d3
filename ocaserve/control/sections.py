"""What the report tells of the appliance besides its routes: health, capacity, content."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec
from aiohttp import web

from ocaserve.control.state import STATE
from ocaserve.control.views.health import describe_capacity
from ocaserve.control.wellness import wellness_of
from ocaserve.health import Level

Section = dict[str, Any]


class Steady:
    """A section that is new at once in what matters, and else after a while.

    Each change of a section is a serial and goes to the control plane within a second; figures that
    are others each second must not have it so.

    describe: the section as it is now. what_matters: the part of it by which it is new at once.
    seconds: after which it may be new otherwise.
    """

    def __init__(
        self,
        describe: Callable[[], Section],
        what_matters: Callable[[Section], object],
        seconds: float,
    ) -> None:
        self._describe = describe
        self._what_matters = what_matters
        self._seconds = seconds
        self._told: Section | None = None
        self._at = 0.0

    def __call__(self) -> Section:
        now, value = monotonic(), self._describe()
        if (
            self._told is None
            or self._what_matters(value) != self._what_matters(self._told)
            or now - self._at >= self._seconds
        ):
            self._told, self._at = value, now
        return self._told


def report_sections(app: web.Application) -> dict[str, Callable[[], Section]]:
    """By name, to be asked once a second; of a running application."""
    state = app[STATE]

    def health() -> Section:
        found = wellness_of(app).health
        return {
            "state": state.lifecycle,
            "takes_traffic": state.takes_traffic,
            "level": found.level.label,
            "reasons": list(found.reasons),
            "components": {each.component: each.level.label for each in found.findings},
        }

    def capacity() -> Section:
        shown = msgspec.to_builtins(describe_capacity(wellness_of(app)))
        return {"serving_workers": len(state.serving_workers()), **shown}

    def content() -> Section:
        stores, room = wellness_of(app).stores(), wellness_of(app).room()
        return {
            "stores": len(stores),
            "stores_in_error": sum(store.level is Level.ERROR for store in stores),
            "total_bytes": room.total,
            "free_bytes": room.free,
        }

    def place() -> Section:
        appliance = state.settings.appliance
        return {
            "urls": appliance.urls,
            "location": appliance.location,
            "site_kind": appliance.site_kind,
        }

    seconds = state.settings.report.interval_s
    return {
        "place": place,
        "health": Steady(health, lambda it: {**it, "reasons": None}, seconds),
        "capacity": Steady(
            capacity, lambda it: (it["serving_workers"], it["free_bits_per_s"] == 0), seconds
        ),
        "content": Steady(content, lambda it: (it["stores"], it["stores_in_error"]), seconds),
    }
