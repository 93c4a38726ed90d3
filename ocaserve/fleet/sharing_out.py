"""Adds up what workers have given to clients, and shares out among them what is left.

Only appliances of which something has changed are reckoned anew: most of thousands have not since
the last look, a fifth of a second ago.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from math import inf

from ocaserve.fleet.grant_sheet import GrantSheet, bound_of
from ocaserve.fleet.membership import FleetState

_WORD = "d"


class SharingOut:
    """rows: of the sheet, those of the workers that serve now."""

    def __init__(self, state: FleetState, sheet: GrantSheet) -> None:
        self.rows: Sequence[int] = ()
        self._state = state
        self._sheet = sheet
        self._names: Mapping[int, str] = {}  # of appliances, by their place
        self._places: Mapping[str, int] = {}
        self._count = 0
        self._given: dict[int, bytes] = {}  # by row, when it was last looked at
        self._bounds: dict[int, array[float]] = {}  # by row, as they were last written
        self._shared_for: Sequence[int] | None = None  # the rows; None: all is to be reckoned anew
        self._used_told = -1
        self._had_others = False

    def place(self, places: Mapping[str, int]) -> None:
        """Where each appliance is counted from now on."""
        if places != self._places:
            self._places = places
            self._names = {place: name for name, place in places.items()}
            self._count = max(self._names, default=-1) + 1
            self._shared_for, self._used_told = None, -1

    def settle(self, now: float) -> None:
        """Look at what was given since the last time, and write up to where each may go."""
        given = {row: self._sheet.given(row, self._count) for row in self.rows}
        for row, numbers in given.items():
            for place, bits_per_s in self._find_news(row, numbers):
                name = self._names.get(place)
                if name is not None and name in self._state.members:
                    self._state.grant(name, bits_per_s)
        self._bound(given, now)
        if self._used_told != self._state.policing.changes:
            self._used_told = self._state.policing.changes
            used = [self._state.used.get(self._names.get(n, ""), 0.0) for n in range(self._count)]
            self._sheet.tell_used(array(_WORD, used), self._used_told)

    def _bound(self, given: Mapping[int, array[float]], now: float) -> None:
        state, rows = self._state, tuple(given)
        # What others gave ceases to count as time goes on, with nobody telling so.
        has_others = bool(state.granted_elsewhere)
        if has_others or self._had_others or self._shared_for != rows:
            names = set(self._places)
            self._bounds = {row: array(_WORD, bytes(8 * self._count)) for row in rows}
        else:
            names = state.resized & self._places.keys()
        self._had_others, self._shared_for = has_others, rows
        state.resized.clear()
        for name in names & state.members.keys():
            free, place = state.members[name].copy.capacity.free_bits_per_s, self._places[name]
            share = inf
            if free is not None:
                share = max(free - state.granted(name, now), 0.0) / max(len(rows), 1)
            for row, numbers in given.items():
                self._bounds[row][place] = bound_of(numbers[place], share)
        for row, bounds in self._bounds.items():
            self._sheet.bound(row, bounds, now)

    def _find_news(self, row: int, numbers: array[float]) -> Iterator[tuple[int, float]]:
        """By place, what was given since the last look. A worker that takes a row begins at 0."""
        now = numbers.tobytes()
        before, self._given[row] = self._given.get(row, now), now
        if before == now:
            return
        known = array(_WORD, before).tolist() + [0.0] * (len(numbers) - len(before) // 8)
        for place, (then, bits_per_s) in enumerate(zip(known, numbers, strict=False)):
            if bits_per_s != then:
                yield place, bits_per_s - then if bits_per_s >= then else bits_per_s
