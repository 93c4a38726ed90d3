"""Policies in the process that answers operators: the office, and what goes on beside requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from ocaserve.control.endpoints import run_in_background
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.policy_endpoints import OFFICE
from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.fleet.policy_shadows import Shadows
from ocaserve.fleet.policy_storing import PolicyStore
from ocaserve.fleet.recorded_decisions import DecisionRow
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.in_force import PoliciesInForce

_RECENT = 2_000  # decisions that a new policy is tried with: some seconds of a check
_TELL_S = 0.2
_MOST_COMPARED = 20  # decisions each time


def open_office(app: web.Application, state: FleetState, store: PolicyStore) -> PolicyOffice:
    """For as long as the application runs."""
    recent: deque[DecisionRow] = deque(maxlen=_RECENT)
    shadows = Shadows()
    policing = state.policing

    def collect() -> list[DecisionRow]:
        """All recent ones. Those of a canary say nothing of what a release would change."""
        sample = state.journal.take_sample()
        recent.extend(sample)
        live = policing.desk.live
        by = list(live.by) if live is not None else []
        shadows.note(each for each in sample if each.policies == by)
        return list(recent)

    async def show(now: PoliciesInForce, of_shadows: Sequence[Bundle]) -> None:
        """To workers, and here, where decisions are explained and shadows compared."""
        state.show_policies(now)
        await policing.show(now, of_shadows)

    office = app[OFFICE] = PolicyOffice(store, show, collect, shadows)

    async def tell(_: web.Application) -> None:
        """What is noted of decisions, again and again."""
        while True:
            collect()
            await shadows.compare_some(policing.desk, _MOST_COMPARED)
            for notes in (policing.take_notes(), *state.journal.take_policy_notes()):
                if notes is not None:
                    office.hear(notes)
            office.restarts = policing.desk.restarts
            await asyncio.sleep(_TELL_S)

    async def close(_: web.Application) -> AsyncIterator[None]:
        yield
        await store.close()

    app.cleanup_ctx.append(close)
    run_in_background(app, "policy programs", lambda _: policing.desk.keep_running())
    run_in_background(app, "policies", lambda _: office.keep())
    run_in_background(app, "policy notes", tell)
    run_in_background(app, "policy warmth", lambda _: policing.keep_warm())
    return office
