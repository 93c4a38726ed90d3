"""The control process shows workers what it knows, shares out what they may give, and reads what
they note.
"""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import msgspec

from ocaserve.fleet.contents import index_keys
from ocaserve.fleet.decision_notes import DecisionNotes
from ocaserve.fleet.grant_sheet import GrantSheet, bound_of
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.picture_files import Exhibits
from ocaserve.fleet.pictures import NOTES, PICTURE, Picture, PicturedContent, PicturedServer

_log = logging.getLogger(__name__)

_GATHER_S = 0.05  # what changes at about the same time is one picture
_SETTLE_S = 0.2
_READ_S = 0.5
_AGAIN_S = 1.0


class Publisher:
    """folder: of the run. rows: of the sheet, those of the workers that serve now."""

    def __init__(self, state: FleetState, folder: Path, sheet: GrantSheet) -> None:
        self.rows: Sequence[int] = ()
        self._state = state
        self._folder = folder
        self._sheet = sheet
        self._exhibits = Exhibits(folder)
        self._places: dict[str, int] = {}
        self._given: dict[int, array[float]] = {}  # by row, when it was last looked at
        self._began = time.monotonic()

    # -- pictures --------------------------------------------------------------------------------

    async def keep_publishing(self) -> None:
        """A picture of what is known, whenever that is something else."""
        unpictured, fault = self._state.unpictured, ""
        unpictured.set()
        while True:
            await unpictured.wait()
            await asyncio.sleep(_GATHER_S)
            if self._is_better_left():
                await asyncio.sleep(_GATHER_S)
                continue
            unpictured.clear()
            try:
                await asyncio.to_thread(self.draw())
                fault = ""
            except OSError as error:
                if not fault:
                    _log.error("fleet: workers cannot be told what has changed: %s", error)
                fault = str(error)
                unpictured.set()
                await asyncio.sleep(_AGAIN_S)

    def _is_better_left(self) -> bool:
        """A process that begins anew, and does not know yet who hears which, leaves workers what
        they know; and workers that know nothing wait, if what was kept says who hears something.
        """
        state = self._state
        is_new = time.monotonic() - self._began < state.settings.report_ttl_s
        if not is_new or state.atlas.tables:
            return False
        is_kept = any(len(member.copy.table) for member in state.members.values())
        return is_kept or (self._folder / PICTURE).exists()

    def draw(self) -> Callable[[], None]:
        """What puts a picture of what is known now in its place; for a thread. Raises OSError."""
        state, exhibits = self._state, self._exhibits
        atlas, presence = state.atlas, state.stock.presence
        is_everywhere = state.settings.content.everywhere
        bases = {name: signer.location.base for name, signer in state.signers.items()}
        servers, places = dict(state.servers), self._find_places()
        policies = state.in_force

        def put() -> None:
            def held_by(name: str) -> str:
                sighting = None if is_everywhere else presence.sightings.get(name)
                if sighting is None:
                    return ""
                return exhibits.find(f"held {name}", sighting, lambda: sighting.bits)

            content = None
            if not is_everywhere:
                catalogue = presence.catalogue
                content = PicturedContent(
                    exhibits.find("index", catalogue, lambda: index_keys(catalogue.keys())),
                    exhibits.find("live", presence, lambda: presence.live_bits),
                )
            picture = Picture(
                exhibits.find("atlas", atlas, lambda: atlas.image),
                [
                    PicturedServer(
                        each.id, each.site, each.kind.value, each.location, each.weight,
                        each.fault, bases.get(each.id, ""), places[each.id], held_by(each.id),
                        each.labels,
                    )
                    for each in servers.values()
                ],
                content,
                policies,
            )  # fmt: skip
            exhibits.put(picture)

        return put

    def _find_places(self) -> dict[str, int]:
        """Where grants of each are counted; one that is forgotten leaves its place to another."""
        known = self._state.servers
        for name in self._places.keys() - known.keys():
            del self._places[name]
        taken = set(self._places.values())
        free = (place for place in range(len(known)) if place not in taken)
        for name in known:
            if name not in self._places:
                self._places[name] = next(free)
        return dict(self._places)

    # -- grants ----------------------------------------------------------------------------------

    async def keep_settling(self) -> None:
        while True:
            self.settle(time.monotonic())
            await asyncio.sleep(_SETTLE_S)

    def settle(self, now: float) -> None:
        """Add up what workers have given, and share out among them what is left."""
        state, places = self._state, self._places
        count = max(places.values(), default=-1) + 1
        given = {row: self._sheet.given(row, count) for row in self.rows}
        names = {place: name for name, place in places.items() if name in state.members}
        for row, numbers in given.items():
            for place, bits_per_s in self._find_news(row, numbers):
                if place in names:
                    state.grant(names[place], bits_per_s)
        shares = [inf] * count
        for place, name in names.items():
            free = state.members[name].copy.capacity.free_bits_per_s
            if free is not None:
                shares[place] = max(free - state.granted(name, now), 0.0) / len(self.rows or (0,))
        used = [state.used.get(names.get(place, ""), 0.0) for place in range(count)]
        self._sheet.tell_used(array("d", used), state.policing.changes)
        for row, numbers in given.items():
            self._sheet.bound(row, array("d", map(bound_of, numbers, shares)), now)

    def _find_news(self, row: int, numbers: array[float]) -> list[tuple[int, float]]:
        """By place, what was given since the last look. A worker that takes a row begins at 0."""
        before = self._given.get(row, numbers)
        self._given[row] = numbers
        if before == numbers:
            return []
        known = before.tolist() + [0.0] * (len(numbers) - len(before))
        return [
            (place, now - then if now >= then else now)
            for place, (then, now) in enumerate(zip(known, numbers, strict=False))
            if now != then
        ]

    # -- notes -----------------------------------------------------------------------------------

    async def keep_reading(self) -> None:
        while True:
            self.read_notes()
            await asyncio.sleep(_READ_S)

    def read_notes(self) -> None:
        """Those of all workers; each writes its next ones when these are gone."""
        for file in (self._folder / NOTES).glob("[!.]*"):
            try:
                data = file.read_bytes()
                file.unlink()
                self._state.note(msgspec.msgpack.decode(data, type=DecisionNotes))
            except (OSError, msgspec.MsgspecError, ValueError) as error:
                _log.error("fleet: what a worker has noted is lost: %s", error)
