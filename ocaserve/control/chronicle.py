"""What may change on an appliance, compared once a second: `history` keeps what did."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp import web

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.history import Aspect, History
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.state import STATE, ControlState
from ocaserve.control.wellness import wellness_of
from ocaserve.routing.live import RouteService

_LOOK_EVERY_S = 1.0
_RELOADS = {"done": "ok", "refused": "error", "undone": "error"}

HISTORY = web.AppKey("HISTORY", History)


def start_chronicle(app: web.Application) -> None:
    """Look for changes for as long as the application runs."""
    state = app[STATE]
    app[HISTORY] = History(state.notes, state.link.note)
    run_in_background(app, "history", _keep_looking)


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
    if not last.outcome:
        yield Aspect("reload", "", "", "ok", "no reload yet")  # so that the first is news
    elif last.outcome not in _RELOADS:
        yield Aspect("reload", "", None, "ok", "")  # it runs: what was known before still counts
    else:
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
        if peer is None:  # ExaBGP has not told yet, as when this process was replaced
            yield Aspect("session", address, None, "ok", "")
            continue
        is_up = peer.state == "up"
        why = "" if is_up else f": {peer.reason}"
        word, level = ("up", "ok") if is_up else ("down", "warning")
        yield Aspect("session", address, word, level, f"{address} is {word}{why}".rstrip(": "))


async def _keep_looking(app: web.Application) -> None:
    while True:
        app[HISTORY].look(find_aspects(app))
        await asyncio.sleep(_LOOK_EVERY_S)
