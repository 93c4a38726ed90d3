"""What has changed lately."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime

from aiohttp import web
from msgspec import Struct

from ocaserve.control.handlers.routes import SERVICE
from ocaserve.control.history import Aspect, History
from ocaserve.control.routing import Call, Route, add_routes, run_in_background
from ocaserve.control.schemas import as_time
from ocaserve.control.state import STATE, ControlState
from ocaserve.control.wellness import wellness_of
from ocaserve.steering.service import RouteService

_LOOK_EVERY_S = 1.0
_RELOADS = {"done": "ok", "refused": "error", "undone": "error"}

HISTORY = web.AppKey("HISTORY", History)


class EventShown(Struct, frozen=True, kw_only=True):
    """One change. `kind`: lifecycle, health, session, reload, control. `level`: as of health."""

    at: datetime
    kind: str
    level: str
    text: str


class HistoryShown(Struct, frozen=True, kw_only=True):
    """The last changes, the latest first."""

    events: list[EventShown]


async def show_history(call: Call) -> HistoryShown:
    return describe_history(call.request.app[HISTORY])


def describe_history(history: History) -> HistoryShown:
    """As of the last look, a second ago at most."""
    return HistoryShown(
        events=[
            EventShown(at=as_time(event.at), kind=event.kind, level=event.level, text=event.text)
            for event in reversed(history.events)
        ]
    )


ROUTES = (Route("GET", "/v1/history", show_history, "What has changed lately", HistoryShown),)


# -- what may change -----------------------------------------------------------------------------


def find_aspects(app: web.Application) -> Iterator[Aspect]:
    """The appliance as it is now."""
    state = app[STATE]
    yield _lifecycle(state)
    for finding in wellness_of(app).health.findings:
        level = finding.level.label
        text = f"{finding.component} is {level}: {finding.reason}"
        yield Aspect("health", finding.component, level, level, text)
    yield from _sessions(app[SERVICE])
    last = state.appliance.reload
    if last.outcome in _RELOADS:
        text = f"reload {last.outcome}: {'; '.join(last.faults)}".rstrip(": ")
        yield Aspect("reload", "", f"{last.at}", _RELOADS[last.outcome], text)


def _lifecycle(state: ControlState) -> Aspect:
    word, reason = state.lifecycle, state.duty.reason
    text = f"{word}: {reason}" if reason else word
    return Aspect("lifecycle", "", text, "ok" if word == "serving" else "warning", text)


def _sessions(service: RouteService) -> Iterator[Aspect]:
    peers = {peer.session.peer: peer for peer in service.sessions.peers.values()}
    for address in service.expected:
        peer = peers.get(address)
        is_up = peer is not None and peer.state == "up"
        why = "" if peer is None or is_up else f": {peer.reason}"
        word, level = ("up", "ok") if is_up else ("down", "warning")
        yield Aspect("session", address, word, level, f"{address} is {word}{why}".rstrip(": "))


async def _keep_looking(app: web.Application) -> None:
    while True:
        app[HISTORY].look(find_aspects(app))
        await asyncio.sleep(_LOOK_EVERY_S)


def register(app: web.Application) -> None:
    state = app[STATE]
    app[HISTORY] = History(state.notes, state.link.note)
    add_routes(app, ROUTES)
    run_in_background(app, "history", _keep_looking)
