"""What a worker decides by: the last picture that it was shown, and what it has given since."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.client_urls import ClientLocation, Signer
from ocaserve.fleet.contents import Contents
from ocaserve.fleet.decision_notes import DecisionNotes, NoteTaker
from ocaserve.fleet.decisions import Candidate, Place, Server
from ocaserve.fleet.grant_sheet import GrantRow
from ocaserve.fleet.liveness import FULL
from ocaserve.fleet.pictures import Picture, PicturedServer
from ocaserve.fleet.policing import Policing, describe_server
from ocaserve.fleet.ranking import Ranking, Rankings
from ocaserve.fleet.survey import draw_atlas
from ocaserve.policies.in_force import PoliciesInForce
from ocaserve.policies.questions import ServerFacts
from ocaserve.settings.fleet import Fleet
from ocaserve.settings.fleet_members import read_appliance_key


class _Used(Mapping[str, float]):
    """Of what appliances can take, the part that is taken, as it was at a time."""

    def __init__(self, places: Mapping[str, int], tenths: Sequence[float]) -> None:
        self._places, self._tenths = places, tenths

    def __getitem__(self, appliance: str) -> float:
        return self._tenths[self._places[appliance]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Decider:
    """`servers` and `signers` are of the picture, by the appliance's id.

    row: where it counts what it gives. notes: where it takes note of decisions. Raises
    SettingsError where a key cannot be read.
    """

    def __init__(self, settings: Fleet, row: GrantRow, notes: NoteTaker) -> None:
        self.settings = settings
        self.notes = notes
        self.servers: dict[str, Server] = {}
        self.signers: dict[str, Signer] = {}
        self._atlas = draw_atlas({})
        self.rankings = Rankings(self._atlas)
        self.is_informed = False  # nothing was shown yet
        self.policing = Policing(self._facts_of, self.rankings.known)
        self._in_force = PoliciesInForce()
        self._policies_shown = self._in_force
        self.used: Mapping[str, float] = {}  # of what appliances can take, in tenths
        self._row = row
        self._keys = {each.id: read_appliance_key(each) for each in settings.appliance}
        self._contents: Contents | None = None
        self._places: dict[str, int] = {}
        self._last_place = -1
        self._shown: Mapping[str, PicturedServer] = {}
        self._full: dict[str, Server] = {}  # as the picture has them: of them our share is given

    def show(
        self,
        picture: Picture,
        atlas: Atlas,
        contents: Contents | None,
        servers: Mapping[str, PicturedServer],
    ) -> None:
        """This is how it is now. Of servers that are as they were it has the same objects, which
        cost next to nothing here: there are thousands, and few change at a time.
        """
        self.is_informed = True
        before, self._shown = self._shown, servers
        news = (
            [each for name, each in servers.items() if before.get(name) is not each]
            if servers is not before
            else []
        )
        come = [each for each in news if each.id not in before]
        gone = [] if len(before) + len(come) == len(servers) else before.keys() - servers.keys()
        if come or gone:
            self.rankings.clear()
        if atlas is not self._atlas:
            self.rankings.follow(atlas)
        self._atlas, self._contents = atlas, contents
        self._in_force = picture.policies
        for name in gone:
            for known in (self.servers, self.signers, self._full):
                known.pop(name, None)
        if news or gone:
            self._places = {name: each.place for name, each in servers.items()}
            self._last_place = max(self._places.values(), default=-1)
        now = time.monotonic()
        for each in news:
            self._take(each)
        self.rankings.note_change()
        self._look_at_use()
        for each in news:
            if not each.fault:
                self._look_at(each.id, now)
        self.look_again()

    def _take(self, each: PicturedServer) -> None:
        """A server that is another one than it was."""
        server, was = each.server(), self._full.pop(each.id, None) or self.servers.get(each.id)
        # An equal one stays the same object: by that rankings see that it is.
        self.servers[each.id] = was if was is not None and was == server else server
        signer = self.signers.get(each.id)
        if not each.base:
            self.signers.pop(each.id, None)
        elif signer is None or signer.location.base != each.base:
            location = ClientLocation(each.base, *self._keys.get(each.id, ("", b"")))
            self.signers[each.id] = Signer(location)

    @property
    def follows_policies(self) -> bool:
        """Whether those of the picture are in force here."""
        return self._policies_shown == self._in_force

    async def follow_policies(self) -> None:
        """Put those of the picture in force."""
        self._policies_shown = wanted = self._in_force
        await self.policing.show(wanted)

    def take_notes(self) -> DecisionNotes | None:
        """All that was noted since the last time; None where there is nothing."""
        return self.notes.take(self.policing.take_notes())

    # -- asked by decisions ----------------------------------------------------------------------

    def rank(self, family: int, address: int, place: Place | None) -> Ranking:
        """All that hear an address."""
        return self.rankings.rank(self.servers, family, address, place)

    def _facts_of(self, candidate: Candidate) -> ServerFacts:
        """As policies see it."""
        return describe_server(candidate, self.used.get(candidate.server.id, 0.0))

    def holders_of(self, key: bytes) -> Callable[[str], bool] | None:
        """Whether an appliance may be asked for an object; None: each of them."""
        return None if self._contents is None else self._contents.holders_of(key)

    @property
    def is_serving(self) -> bool:
        """Whether some appliance takes clients."""
        return any(not each.fault for each in self.servers.values())

    # -- what is given ---------------------------------------------------------------------------

    def is_first(self, network: bytes, appliance: str, minute: int) -> bool:
        """Whether a client network was not sent there yet in this minute."""
        return self._row.is_first(network, appliance, minute)

    def grant(self, appliance: str, bits_per_s: float) -> None:
        """A client was sent there."""
        self._row.give(self._places[appliance], bits_per_s)
        self._look_at(appliance, time.monotonic())

    def look_again(self) -> None:
        """A few times a second: those that were full may have room again."""
        if self.policing.changes != self._row.changes:
            self._look_at_use()
        now = time.monotonic()
        for name, server in list(self._full.items()):
            if not self._row.is_full(self._places[name], now):
                del self._full[name]
                self.servers[name] = server
                self.rankings.note_change()

    def _look_at_use(self) -> None:
        self.policing.changes = self._row.changes
        self.used = _Used(self._places, self._row.all_used(self._last_place + 1))

    def _look_at(self, appliance: str, now: float) -> None:
        if appliance not in self._full and self._row.is_full(self._places[appliance], now):
            server = self._full[appliance] = self.servers[appliance]
            self.servers[appliance] = replace(server, fault=FULL)
            self.rankings.note_change()
