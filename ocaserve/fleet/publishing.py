"""The control process shows workers what it knows, shares out what they may give, and reads what
they note.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.client_urls import Signer
from ocaserve.fleet.contents import index_keys
from ocaserve.fleet.cpu_time import with_cost
from ocaserve.fleet.decision_notes import DecisionNotes
from ocaserve.fleet.decisions import Server
from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.picture_files import Exhibits, Gallery
from ocaserve.fleet.pictures import NOTES, PICTURE, Picture, PicturedContent, PicturedServer
from ocaserve.fleet.presence import Sighting
from ocaserve.fleet.sharing_out import SharingOut

_log = logging.getLogger(__name__)

_GATHER_S = 0.05  # what changes at about the same time is one picture
_SETTLE_S = 0.2
_READ_S = 0.5
_AGAIN_S = 1.0


class _Sources(NamedTuple):
    """What an appliance is pictured by."""

    server: Server
    signer: Signer | None
    place: int
    sighting: Sighting | None

    def are(self, other: _Sources) -> bool:
        """The same objects: none of them changes."""
        return (
            self.server is other.server
            and self.signer is other.signer
            and self.place == other.place
            and self.sighting is other.sighting
        )


class _Pictured(NamedTuple):
    """row: in pictures, for as long as the sources are these."""

    sources: _Sources
    row: PicturedServer


class Publisher:
    """folder: of the run. shares: of what appliances can still take."""

    def __init__(self, state: FleetState, folder: Path, sheet: GrantSheet) -> None:
        self.shares = SharingOut(state, sheet)
        self._state = state
        self._folder = folder
        self._exhibits = Exhibits(folder)
        self._pictured: dict[str, _Pictured] = {}
        self._began = time.monotonic()
        self._was_shown = (folder / PICTURE).exists()  # something, by a process before this one

    # -- pictures --------------------------------------------------------------------------------

    def find_shown(self) -> Atlas | None:
        """The atlas of the last picture; None where there is none that can be read."""
        try:
            return Gallery(self._folder).look().atlas
        except (OSError, msgspec.MsgspecError):
            return None

    async def keep_publishing(self) -> None:
        """A picture of what is known, whenever that is something else."""
        unpictured, fault, due = self._state.unpictured, "", -math.inf
        unpictured.set()
        while True:
            await unpictured.wait()
            await asyncio.sleep(max(due - time.monotonic(), _GATHER_S))
            if self._is_better_left():
                await asyncio.sleep(_GATHER_S)
                continue
            unpictured.clear()
            try:
                _, drawing_s = await asyncio.to_thread(with_cost, self.draw())
                # Pictures take no more than a fifth of a core, here and there: thousands may begin.
                fault, due = "", time.monotonic() + 4 * drawing_s
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
        if not is_new or state.atlas.tables or len(state.atlas):
            return False
        is_kept = any(len(member.copy.table) for member in state.members.values())
        return is_kept or self._was_shown

    def draw(self) -> Callable[[], None]:
        """What puts a picture of what is known now in its place; for a thread. Raises OSError."""
        state, exhibits = self._state, self._exhibits
        atlas, presence = state.atlas, state.stock.presence
        sightings = {} if state.settings.content.everywhere else presence.sightings
        signers = dict(state.signers)
        servers, places = dict(state.servers), self.shares.place(state.servers)
        policies = state.in_force

        def put() -> None:
            content = None
            if not state.settings.content.everywhere:
                catalogue = presence.catalogue
                content = PicturedContent(
                    exhibits.find("index", catalogue, lambda: index_keys(catalogue.keys())),
                    exhibits.find("live", presence, lambda: presence.live_bits),
                )
            before, self._pictured = self._pictured, {}
            for name, server in servers.items():
                sources = _Sources(server, signers.get(name), places[name], sightings.get(name))
                known = before.get(name)
                if known is None or not known.sources.are(sources):
                    known = _Pictured(sources, self._describe(sources))
                self._pictured[name] = known
            shown = [each.row for each in self._pictured.values()]
            atlas_file = exhibits.find("atlas", atlas, lambda: atlas.image)
            exhibits.put(Picture(atlas_file, shown, content, policies))

        return put

    def _describe(self, sources: _Sources) -> PicturedServer:
        """Raises OSError."""
        server, signer, place, sighting = sources
        held = ""
        if sighting is not None:
            held = self._exhibits.find(f"held {server.id}", sighting, lambda: sighting.bits)
        return PicturedServer(
            server.id, server.site, server.kind.value, server.location, server.weight,
            server.fault, signer.location.base if signer else "", place, held, server.labels,
        )  # fmt: skip

    # -- grants ----------------------------------------------------------------------------------

    async def keep_settling(self) -> None:
        while True:
            self.shares.settle(time.monotonic())
            await asyncio.sleep(_SETTLE_S)

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
