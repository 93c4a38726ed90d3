"""Adds up what workers have given to clients, and shares out among them what is left.

Only appliances of which something has changed are reckoned anew: most of thousands have not since
the last look, a fifth of a second ago.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
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
        self._places: dict[str, int] = {}  # where each appliance is counted
        self._names: list[str | None] = []  # by their places
        self._used: array[float] = array(_WORD)  # likewise, the part of what they can take
        self._given: dict[int, bytes] = {}  # by row, when it was last looked at
        self._bounds: dict[int, array[float]] = {}  # by row, as they were last written
        self._had_others = False

    def place(self, known: Collection[str]) -> dict[str, int]:
        """A place for each of these appliances, from now on: that which it has, or that of one
        which is not among them any more, or another one.
        """
        for name in self._places.keys() - set(known):
            self._names[self._places.pop(name)] = None
        if new := [name for name in known if name not in self._places]:
            free = [place for place, name in enumerate(self._names) if name is None]
            free += range(len(self._names), len(known))
            for name, place in zip(new, free, strict=False):
                self._put(name, place)
        return dict(self._places)

    def _put(self, name: str, place: int) -> None:
        if place == len(self._names):
            self._names.append(None)
            for numbers in (self._used, *self._bounds.values()):
                numbers.append(0.0)
        self._names[place], self._places[name] = name, place
        self._state.resized.add(name)

    def settle(self, now: float) -> None:
        """Look at what was given since the last time, and write up to where each may go."""
        state, rows = self._state, tuple(self.rows)
        given = {row: self._sheet.given(row, len(self._names)) for row in rows}
        for row, numbers in given.items():
            for place, bits_per_s in self._find_news(row, numbers):
                name = self._names[place]
                if name is not None and name in state.members:
                    state.grant(name, bits_per_s)
        # What others gave ceases to count as time goes on, with nobody telling so.
        has_others = bool(state.granted_elsewhere)
        if has_others or self._had_others or rows != tuple(self._bounds):
            self._bounds = {row: array(_WORD, bytes(8 * len(self._names))) for row in rows}
            state.resized.update(self._places)
        self._had_others = has_others
        for name in state.resized & self._places.keys() & state.members.keys():
            self._reckon(name, given, now)
        state.resized.clear()
        self._sheet.tell_used(self._used, state.policing.changes)
        for row, bounds in self._bounds.items():
            self._sheet.bound(row, bounds, now)

    def _reckon(self, name: str, given: Mapping[int, array[float]], now: float) -> None:
        state, place = self._state, self._places[name]
        self._used[place] = state.used.get(name, 0.0)
        free, share = state.members[name].copy.capacity.free_bits_per_s, inf
        if free is not None:
            share = max(free - state.granted(name, now), 0.0) / max(len(given), 1)
        for row, numbers in given.items():
            self._bounds[row][place] = bound_of(numbers[place], share)

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
