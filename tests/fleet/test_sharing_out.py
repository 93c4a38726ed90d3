"""What workers may still give is, after whatever has happened, what it would be reckoned anew."""

from __future__ import annotations

import sys
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.membership import FORGET_S, FleetState
from ocaserve.fleet.pushed_documents import CapacityRow, Copy, HealthRow
from ocaserve.fleet.sharing_out import SharingOut
from ocaserve.settings.fleet import load_fleet

ROWS = 2
NAMES = st.sampled_from("ab")
BITS = st.floats(0, 1e9)
REPORTS = st.tuples(st.just("report"), NAMES, st.none() | BITS)
GIFTS = st.tuples(st.just("give"), st.integers(0, ROWS - 1), NAMES, BITS)
DEATHS = st.tuples(st.just("restart"), st.integers(0, ROWS - 1))
LOSSES = st.tuples(st.just("forget"), NAMES)
LOOKS = st.just(("look",))


@given(st.lists(REPORTS | GIFTS | DEATHS | LOSSES | LOOKS, min_size=10, max_size=40))
@settings(deadline=None)
def test_shares_are_as_if_reckoned_anew(events: list[tuple[Any, ...]]) -> None:
    state, sheet = FleetState(load_fleet(None)), GrantSheet(ROWS)
    shares = SharingOut(state, sheet)
    shares.rows = range(ROWS)
    rows = [sheet.row(number) for number in range(ROWS)]
    now = time.monotonic()
    for kind, *about in [*events, ("look",)]:
        if kind == "report":
            name, free = about
            capacity = CapacityRow(total_bits_per_s=1e9, free_bits_per_s=free)
            health = HealthRow(state="serving", takes_traffic=True)
            state.hear(Copy(name, health=health, capacity=capacity), now)
        elif kind == "give":
            number, name, bits = about
            place = shares.place(state.servers).get(name)
            if place is not None:
                rows[number].give(place, bits)
        elif kind == "restart":
            rows[about[0]] = sheet.row(about[0])
        elif kind == "forget":
            member = state.members.get(about[0])
            if member is not None:
                member.heard_at = now - 2 * FORGET_S
                state.look(now, [about[0]])
        else:
            places = shares.place(state.servers)
            assert len(set(places.values())) == len(places)
            shares.settle(now)
            _compare(state, sheet, places, now)


def _compare(state: FleetState, sheet: GrantSheet, places: dict[str, int], now: float) -> None:
    """Of what a worker has given, and half of what is left: up to there it may go."""
    for number in range(ROWS):
        given, bounds = sheet._parts(number)
        for name, place in places.items():
            free = state.members[name].copy.capacity.free_bits_per_s
            left = None if free is None else max(free - state.granted(name, now), 0.0) / ROWS
            due = 0.0 if left is None else max(given[place] + left, sys.float_info.min)
            assert bounds[place] == due, (number, name)
