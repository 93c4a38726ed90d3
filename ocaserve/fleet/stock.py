"""What the network is to hold and has: the catalogue, plans of sites, what appliances tell.

In memory, changed by the event loop's thread alone; what takes long is made beside it (`stocking`)
and takes the place of what was, as a whole.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from ocaserve.fleet.allotment import NOTHING, SitePlan
from ocaserve.fleet.popularity import Popularity
from ocaserve.fleet.presence import Presence, Sighting, sight
from ocaserve.fleet.pushed_documents import HeldObjects
from ocaserve.settings.fleet_members import FleetAppliance, FleetContent

_PLANS_KEPT = 4  # of a site: an appliance may have a manifest of before


class Stock:
    """presence: of a catalogue that may be the one before `catalogue`, for a moment.

    changed: there is something to be made anew. listed: appliances that settings name.
    """

    def __init__(self, settings: FleetContent, listed: Iterable[FleetAppliance] = ()) -> None:
        self.settings = settings
        self._listed = {each.id: each for each in listed}
        self.catalogue = NOTHING
        self.fault = ""  # why the catalogue is not that of the file
        self.popularity = Popularity()
        self.presence = Presence()
        self.changed = asyncio.Event()
        self.planning = asyncio.Lock()
        self.writing = (
            asyncio.Lock()
        )  # of manifests: one after the other, so that others have turns
        self._noted: Counter[str] = Counter()
        self._plans: dict[str, deque[SitePlan]] = {}
        self._told: dict[str, tuple[str, HeldObjects]] = {}
        self._shares: dict[str, float] = {}  # counting takes long
        self._sites: dict[str, str] = {}  # of all appliances that were heard of
        self._at: dict[str, set[str]] = {}  # by site, with those that are listed there
        for each in self._listed.values():
            if each.site:
                self._at.setdefault(each.site, set()).add(each.id)

    # -- plans -----------------------------------------------------------------------------------

    def plan_of(self, site: str) -> SitePlan | None:
        """The latest."""
        plans = self._plans.get(site)
        return plans[-1] if plans else None

    def take_plan(self, site: str, plan: SitePlan) -> None:
        """It is the site's from now on."""
        self._plans.setdefault(site, deque(maxlen=_PLANS_KEPT)).append(plan)
        self.changed.set()

    # -- what appliances tell --------------------------------------------------------------------

    def hear(self, appliance: str, site: str, held: HeldObjects | None) -> None:
        """What an appliance has told of its objects: at its first report, and whenever that or its
        site is another.
        """
        if self._sites.get(appliance) != site:
            self._leave(appliance)
            self._sites[appliance] = site
            self._at.setdefault(site, set()).add(appliance)
        if held is None or self._told.get(appliance) == (site, held):
            return
        self._told[appliance] = (site, held)
        self._shares[appliance] = held.share
        self.changed.set()

    def forget(self, appliance: str) -> None:
        """It is no longer one of the network."""
        self._leave(appliance)
        self._shares.pop(appliance, None)
        if self._told.pop(appliance, None) is not None:
            self.changed.set()

    def _leave(self, appliance: str) -> None:
        """The site that it was at, unless it is listed there."""
        site, listed = self._sites.pop(appliance, None), self._listed.get(appliance)
        if site is not None and (listed is None or listed.site != site):
            self._at[site].discard(appliance)
            if not self._at[site]:
                del self._at[site]

    def shares_at(self, site: str) -> Mapping[str, float]:
        """Of all appliances of a site, by their names; of silent ones too: what they hold does not
        move for that.
        """
        listed = self._listed
        return {
            name: listed[name].share if name in listed else 1.0 for name in self._at.get(site, ())
        }

    def held_share(self, appliance: str) -> float | None:
        """Of its objects, what it has; None where its manifest is not one from here."""
        known = self._told.get(appliance)
        if known is None or self._find_plan(appliance, *known) is None:
            return None
        return self._shares[appliance]

    def unplanned(self) -> set[str]:
        """Sites of appliances that tell of a manifest of which no plan is known."""
        return {
            site
            for appliance, (site, held) in self._told.items()
            if self._find_plan(appliance, site, held) is None
        }

    def _find_plan(self, appliance: str, site: str, held: HeldObjects) -> SitePlan | None:
        for plan in reversed(self._plans.get(site, ())):
            if plan.versions.get(appliance) == held.manifest:
                return plan
        return None

    def look_again(self) -> Callable[[], Presence]:
        """Makes what is present of what is known now; for a thread, since nothing of it changes."""
        catalogue, before = self.catalogue, self.presence.sightings
        least = self.settings.live_sites
        told = [
            (appliance, site, held, self._find_plan(appliance, site, held))
            for appliance, (site, held) in self._told.items()
        ]

        def make() -> Presence:
            sightings: dict[str, Sighting] = {}
            for appliance, _, held, plan in told:
                known = before.get(appliance)
                if (
                    known is not None
                    and known.catalogue is catalogue
                    and (plan is None or (known.held is held and known.plan is plan))
                ):
                    sightings[appliance] = known
                elif plan is not None:
                    sightings[appliance] = sight(appliance, held, plan, catalogue, known)
            sites = {appliance: site for appliance, site, *_ in told}
            return Presence(catalogue, sightings, sites, least)

        return make

    def note(self, wanted: Mapping[bytes, int]) -> None:
        """So often clients have asked for an object. One that is not in the catalogue does not
        count: anybody can ask for any.
        """
        for key, count in wanted.items():
            name = key.decode("utf-8", "surrogateescape")
            if name in self.catalogue.numbers:
                self._noted[name] += count

    def take_noted(self) -> Mapping[str, int]:
        """How often each was asked for since the last time; nobody changes it from now on."""
        noted, self._noted = self._noted, Counter()
        return noted

    # -- who has what ----------------------------------------------------------------------------

    def holders_of(self, key: bytes) -> Callable[[str], bool] | None:
        """Whether an appliance may be asked for an object; None: each of them."""
        if self.settings.everywhere:
            return None
        return self.presence.holders_of(key)
