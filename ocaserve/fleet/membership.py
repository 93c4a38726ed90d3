"""What the control plane knows now: who has reported what, who takes clients, who hears which.

One thread, the event loop's, changes it; an atlas is made in another, and takes the place of the
one before as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ocaserve.control.contained_defects import ControlDefects
from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.client_urls import ClientLocation, Signer
from ocaserve.fleet.cpu_time import with_cost
from ocaserve.fleet.decision_notes import DecisionNotes
from ocaserve.fleet.decisions import Candidate, Labels, Place, Server, SiteKind
from ocaserve.fleet.grant_sheet import PLACES
from ocaserve.fleet.grants import Grants
from ocaserve.fleet.journal import Journal
from ocaserve.fleet.liveness import Condition, find_fault, silence_of
from ocaserve.fleet.merging import GrantsElsewhere
from ocaserve.fleet.policing import Policing, describe_server
from ocaserve.fleet.pushed_documents import Copy, DocumentOutcome
from ocaserve.fleet.ranking import Ranking, Rankings
from ocaserve.fleet.stock import Stock
from ocaserve.fleet.survey import Survey
from ocaserve.fleet.tables import Tables
from ocaserve.fleet.turn_up import (
    NOT_ASKED_YET,
    TURN_UPS,
    Evidence,
    FailedCheck,
    TurnUp,
    TurnUpEvent,
    find_failed_checks,
)
from ocaserve.lifecycle import advance
from ocaserve.policies.in_force import PoliciesInForce
from ocaserve.policies.questions import ServerFacts
from ocaserve.settings.fleet import Fleet
from ocaserve.settings.fleet_members import FleetAppliance, FleetSite, read_appliance_key

_log = logging.getLogger(__name__)

MOST_APPLIANCES = PLACES  # without a list of them
_LOOKED_AT_ONCE = 256  # a millisecond, then others have their turn
_GATHER_S = 0.05  # what is told in one moment is drawn at once
_ATLASES_EVERY_S = 0.4  # at the most: it is in answers another 0.4 s later
_REST = 3  # times what an atlas took, before the next one
_MANY = 0.02  # of the appliances: where so many have begun, more will soon
_MOST_REST_S = 0.5  # else, whatever the last one took
FORGET_S = 86_400.0  # an appliance that no setting names, after its last report


@dataclass(slots=True)
class Member:
    """An appliance. heard_at: when, on the monotonic clock. is_own: its last report came here.

    failed: of the checks of its turn-up.
    """

    copy: Copy
    heard_at: float
    is_own: bool = True
    grants: Grants = field(default_factory=Grants)
    failed: tuple[FailedCheck, ...] = ()


class FleetDrain(NamedTuple):
    """An operator of the control plane keeps clients from an appliance. since: Unix time."""

    reason: str
    since: float


class FleetState:
    """All of it. `outcomes`: of documents, since the start.

    unpictured: something is another that workers are to know.
    """

    def __init__(self, settings: Fleet) -> None:
        self.settings = settings
        self.roster: Mapping[str, FleetAppliance] = {each.id: each for each in settings.appliance}
        self.sites: Mapping[str, FleetSite] = {each.id: each for each in settings.site}
        self._keys = {each.id: read_appliance_key(each) for each in settings.appliance}
        self.signers: dict[str, Signer] = {}
        self.members: dict[str, Member] = {}
        self.servers: dict[str, Server] = {}
        self.tables = Tables()
        self._survey = Survey(time.time_ns())
        self.atlas = Atlas(self._survey.draw({}))
        self.atlas_s = 0.0  # of CPU, that making the last one took
        self.outcomes: Counter[DocumentOutcome] = Counter()
        self.defects = ControlDefects()
        self.journal = Journal(settings.answer_ttl_s)
        self.stock = Stock(settings.content, settings.appliance)
        self.contacts: dict[str, Mapping[str, str]] = {}  # by appliance and URL, as `Evidence`
        self.drains: dict[str, FleetDrain] = {}
        self.used: dict[str, float] = {}  # of what appliances can take, in tenths
        self.drains_changed = asyncio.Event()  # and are not kept yet
        self.changes = 0  # of whether an appliance takes clients, and of what it is
        self.dirty: set[str] = set()  # appliances of which more is known than is kept
        self.resized: set[str] = set()  # those that can take more or less than workers were told
        # Where several instances share what they know: whether so; appliances of which more is
        # known than was told; since when nothing was heard of the others, None while it is.
        self.is_shared = False
        self.unshared: set[str] = set()
        self.shared_lost_at: float | None = None
        self.granted_elsewhere = GrantsElsewhere()
        self.rankings = Rankings(self.atlas)
        self.policing = Policing(self._facts_of, self.rankings.known)
        self.in_force = PoliciesInForce()  # as workers are shown it
        self.unpictured = asyncio.Event()
        self._is_atlas_old = asyncio.Event()
        self._begun = 0  # since the last atlas, tables of appliances that had none

    # -- what is reported ------------------------------------------------------------------------

    def member(self, appliance: str) -> Member:
        """What is known of it; nothing, where it is new."""
        return self.members.get(appliance) or Member(Copy(appliance), 0.0)

    def is_welcome(self, appliance: str) -> bool:
        """Whether its reports are taken: it is listed, or none is and there are not too many."""
        if self.roster:
            return appliance in self.roster
        return appliance in self.members or len(self.members) < MOST_APPLIANCES

    def hear(self, copy: Copy, now: float, age_s: float = 0.0, *, is_own: bool = True) -> None:
        """Its latest report. age_s: how long ago it came. is_own: here, not at another instance."""
        self._find_address(copy)  # first: where it raises, nothing has changed
        is_new = copy.appliance not in self.members
        member = self.members.setdefault(copy.appliance, Member(copy, now))
        if is_new or copy.capacity is not member.copy.capacity:
            member.grants.settle(now)  # a report of something else does not show what was given
            self.resized.add(copy.appliance)
        drawn = self.atlas.tables.get(copy.appliance)
        if drawn is not copy.table:
            self._is_atlas_old.set()
            self._begun += not drawn
        was = member.copy.turn_up
        if was is TurnUp.IN_SERVICE and copy.turn_up is not was:  # unknown to another instance yet
            copy = replace(copy, turn_up=was)
        member.copy = copy
        member.heard_at = now - age_s
        member.is_own = is_own
        if is_own and self.is_shared:
            self.unshared.add(copy.appliance)
        self.dirty.add(copy.appliance)
        self.stock.hear(copy.appliance, self.site_of(copy.appliance).id, copy.objects)
        self.look_at(copy.appliance, now)

    def _find_address(self, copy: Copy) -> None:
        """Where clients reach it: by the settings, else by what it says."""
        known, urls = self.signers.get(copy.appliance), self._urls_in(copy)
        base = urls[0].rstrip("/") if urls else ""
        if base == (known.location.base if known else ""):
            return
        self.unpictured.set()
        if base:
            location = ClientLocation(base, *self._keys.get(copy.appliance, ("", b"")))
            self.signers[copy.appliance] = Signer(location)
        else:
            del self.signers[copy.appliance]

    def _urls_in(self, copy: Copy) -> list[str]:
        listed = self.roster.get(copy.appliance)
        return (listed.urls if listed else []) or copy.place.urls

    def urls_of(self, appliance: str) -> tuple[str, ...]:
        """All by which clients reach it; they are sent to the first."""
        return tuple(dict.fromkeys(self._urls_in(self.member(appliance).copy)))

    def tell_contacts(self, appliance: str, contacts: Mapping[str, str]) -> None:
        """What hinders asking its URLs from here, as `Evidence` has it."""
        if appliance in self.members:
            self.contacts[appliance] = contacts
            self.look_at(appliance, time.monotonic())

    # -- who takes clients -----------------------------------------------------------------------

    def look(self, now: float, appliances: Iterable[str]) -> None:
        """Once a second: who has fallen silent, and who is to be forgotten."""
        for appliance in appliances:
            member = self.members.get(appliance)
            if member is None or self._is_surely_as_it_was(member, now):
                continue
            if appliance not in self.roster and now - member.heard_at > FORGET_S:
                del self.members[appliance]
                self.servers.pop(appliance, None)
                self.signers.pop(appliance, None)
                self.contacts.pop(appliance, None)
                self.journal.shed.forget(appliance)
                self.stock.forget(appliance)
                self.dirty.add(appliance)
                self.rankings.clear()
                self.unpictured.set()
                self._is_atlas_old.set()
            else:
                self.look_at(appliance, now)

    def drain(self, appliances: Iterable[str], drain: FleetDrain | None) -> None:
        """Keep clients from these, or no longer: None."""
        now = time.monotonic()
        for appliance in appliances:
            if drain is not None:
                self.drains[appliance] = drain
            else:
                self.drains.pop(appliance, None)
            if appliance in self.members:
                self.look_at(appliance, now)
        self.drains_changed.set()

    def replace_drains(self, drains: Mapping[str, FleetDrain]) -> None:
        """By those that all instances have."""
        before, self.drains = self.drains, dict(drains)
        now = time.monotonic()
        for appliance in before.keys() | drains.keys():
            if appliance in self.members and before.get(appliance) != drains.get(appliance):
                self.look_at(appliance, now)

    def look_at(self, appliance: str, now: float) -> None:
        """See whether one takes clients now, and what it is."""
        self._check(appliance, now)
        used = self._used_of(appliance, now)
        if self.used.get(appliance) != used:
            self.used[appliance] = used
            self.resized.add(appliance)
            self.policing.changes += 1
        server = self._describe(appliance, now)
        if (known := self.servers.get(appliance)) != server:
            self.servers[appliance] = server
            self.changes += 1
            if known is None:
                self.rankings.clear()
            else:
                self.rankings.note_change()
            self.unpictured.set()

    def _check(self, appliance: str, now: float) -> None:
        """Let it into service where all checks pass; without a gate whoever comes."""
        settings, member = self.settings, self.members[appliance]
        if settings.turn_up == "checked":
            evidence = self._gather(appliance, now)
            least = 0.0 if settings.content.everywhere else settings.turn_up_content
            member.failed = tuple(find_failed_checks(evidence, settings.report_ttl_s, least))
        if not member.failed and member.copy.turn_up is TurnUp.COMMISSIONING:
            turn_up = advance(TURN_UPS, member.copy.turn_up, TurnUpEvent.PASSED)
            member.copy = replace(member.copy, turn_up=turn_up)
            self.dirty.add(appliance)
            if member.is_own and self.is_shared:
                self.unshared.add(appliance)
            if settings.turn_up == "checked":
                _log.info("fleet: %r is in service: all checks have passed", appliance)

    def _gather(self, appliance: str, now: float) -> Evidence:
        member = self.members[appliance]
        copy, known = member.copy, self.contacts.get(appliance, {})
        asked = {url: known.get(url, NOT_ASKED_YET) for url in self.urls_of(appliance)}
        return Evidence(
            age_s=self._age_of(member, now),
            level=copy.health.level,
            reason=copy.health.reason,
            contacts=asked if self.settings.turn_up_contact else None,
            is_complete=copy.is_complete,
            networks=len(copy.table),
            held=self.stock.held_share(appliance),
        )

    def _describe(self, appliance: str, now: float) -> Server:
        member = self.members[appliance]
        copy, site = member.copy, self.site_of(appliance)
        health, capacity = copy.health, copy.capacity
        drain = self.drains.get(appliance)
        condition = Condition(
            age_s=self._age_of(member, now),
            takes_traffic=health.takes_traffic,
            state=health.state,
            reason=health.reason,
            has_url=appliance in self.signers,
            free_bits_per_s=capacity.free_bits_per_s,
            granted_bits_per_s=self.granted(appliance, now),
            drain=None if drain is None else drain.reason,
            lacking=str(member.failed[0]) if copy.turn_up is TurnUp.COMMISSIONING else "",
        )
        return Server(
            id=appliance,
            site=site.id,
            kind=SiteKind(site.kind),
            location=place_of(site),
            weight=capacity.total_bits_per_s or 1.0,
            fault=find_fault(condition, self.settings.report_ttl_s),
            labels=self._labels_of(appliance, site),
        )

    def _labels_of(self, appliance: str, site: FleetSite) -> Labels:
        listed = self.roster.get(appliance)
        return tuple(sorted((site.labels | (listed.labels if listed else {})).items()))

    def _is_surely_as_it_was(self, member: Member, now: float) -> bool:
        """Whether time alone changes nothing of it: so it is with most."""
        settings, appliance = self.settings, member.copy.appliance
        server, free = self.servers.get(appliance), member.copy.capacity.free_bits_per_s
        if settings.turn_up == "checked" or server is None:
            return False
        age_s = self._age_of(member, now)
        if server.fault:
            is_silent = server.fault == silence_of(settings.report_ttl_s)
            return is_silent and settings.report_ttl_s < age_s <= FORGET_S
        is_heard = age_s <= settings.report_ttl_s
        return is_heard and (free is None or self.granted(appliance, now) < free)

    def _age_of(self, member: Member, now: float) -> float:
        """Since it was heard of. Of who was heard through others it stands still while these
        cannot be heard, for as long as is allowed.
        """
        lost_at = self.shared_lost_at
        if member.is_own or lost_at is None or now - lost_at > self.settings.shared_grace_s:
            return now - member.heard_at
        return lost_at - member.heard_at

    def _used_of(self, appliance: str, now: float) -> float:
        capacity = self.members[appliance].copy.capacity
        total, free = capacity.total_bits_per_s, capacity.free_bits_per_s
        if not total or free is None:
            return 0.0
        return round(min(max(1 - (free - self.granted(appliance, now)) / total, 0.0), 1.0), 1)

    def granted(self, appliance: str, now: float) -> float:
        """Given to clients since its report, here and by other instances, in bits per second."""
        elsewhere = self.granted_elsewhere.of(appliance, now)
        return self.members[appliance].grants.bits_per_s + elsewhere

    def site_of(self, appliance: str) -> FleetSite:
        """By the settings, else by what it says; one that they do not have has the defaults."""
        listed, copy = self.roster.get(appliance), self.member(appliance).copy
        name = (listed.site if listed else "") or copy.site
        place = copy.place
        return self.sites.get(name) or FleetSite(
            id=name or appliance, kind=place.site_kind, location=place.location
        )

    def rank(self, family: int, address: int, place: Place | None) -> Ranking:
        """All that hear an address."""
        return self.rankings.rank(self.servers, family, address, place)

    def note(self, notes: DecisionNotes) -> None:
        """What a worker has noted of its decisions. Raises ValueError where it makes no sense."""
        self.journal.add(notes)
        self.stock.note(notes.wanted)

    def show_policies(self, now: PoliciesInForce) -> None:
        """These are in force: workers are to know."""
        self.in_force = now
        self.unpictured.set()

    def _facts_of(self, candidate: Candidate) -> ServerFacts:
        """As policies see it."""
        return describe_server(candidate, self.used.get(candidate.server.id, 0.0))

    def grant(self, appliance: str, bits_per_s: float) -> None:
        """Clients were sent there."""
        now, member = time.monotonic(), self.members[appliance]
        member.grants.give(bits_per_s, now)
        self.resized.add(appliance)
        free = member.copy.capacity.free_bits_per_s
        if free is not None and self.granted(appliance, now) >= free:
            self.look_at(appliance, now)

    # -- beside requests -------------------------------------------------------------------------

    async def keep_looking(self) -> None:
        """Let nobody be silent for longer than is allowed."""
        while True:
            names = list(self.members)
            for first in range(0, len(names), _LOOKED_AT_ONCE):
                self.look(time.monotonic(), names[first : first + _LOOKED_AT_ONCE])
                await asyncio.sleep(0)
            await asyncio.sleep(min(1.0, self.settings.report_ttl_s / 4))

    async def keep_atlas(self) -> None:
        """Make another atlas where tables have changed, again and again."""
        drawn_at = -math.inf
        while True:
            await self._is_atlas_old.wait()
            await asyncio.sleep(max(drawn_at + self._rest_s() - time.monotonic(), _GATHER_S))
            self._is_atlas_old.clear()
            self._begun = 0
            await self._draw_atlas()
            drawn_at = time.monotonic()

    async def _draw_atlas(self) -> None:
        tables = {name: member.copy.table for name, member in self.members.items()}
        try:
            image, self.atlas_s = await asyncio.to_thread(
                with_cost, lambda: self._survey.draw(tables)
            )
        except Exception:
            self._survey = Survey(time.time_ns())  # this one may know half of it
            raise
        self.take_atlas(Atlas(image, tables))

    def take_atlas(self, atlas: Atlas) -> None:
        """It is in force now."""
        self.atlas = atlas
        self.rankings.follow(atlas)
        self.unpictured.set()

    def _rest_s(self) -> float:
        """After an atlas, before the next one."""
        rest_s = _REST * self.atlas_s
        if self._begun <= _MANY * len(self.members):
            rest_s = min(rest_s, _MOST_REST_S)
        return max(rest_s, _ATLASES_EVERY_S)


def place_of(site: FleetSite) -> Place | None:
    """Where it is, if that is known."""
    return (site.location[0], site.location[1]) if len(site.location) == 2 else None
