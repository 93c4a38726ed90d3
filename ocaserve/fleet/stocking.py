"""Keeping the stock: the catalogue's file, plans of sites, what is present; and manifests for those
who ask.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from bgp.prefixes import parse_query
from ocaserve.control.auth import Role
from ocaserve.control.endpoints import GUARD, Call, Endpoint
from ocaserve.control.problems import Problem
from ocaserve.fill.manifest import Manifest, ManifestError, read_manifest
from ocaserve.fleet.allotment import Catalogue, SitePlan, allot, count_copies
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.fleet_shapes import StockShown
from ocaserve.fleet.membership import FleetState, place_of
from ocaserve.fleet.operating import INTAKE
from ocaserve.fleet.planned_manifests import DAY_S, MOST_TIERS, Neighbour, make_manifest, tag_of
from ocaserve.fleet.popularity import KeptPopularity, Popularity, encode_popularity
from ocaserve.fleet.stock import Stock
from ocaserve.settings.fleet_members import FleetSite
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
_SAVE_S = 600.0  # between two writings of what was asked for


class CatalogueFile:
    """The file of `fleet.content.catalogue`, read again when it is another one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None

    def look(self) -> Catalogue | None:
        """Another one than the last time; for a thread. Raises OSError and ManifestError."""
        status = os.stat(self._path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        data = Path(self._path).read_bytes()
        return Catalogue.of(read_manifest(data), data)


async def keep_stock(state: FleetState, kept: Path | None) -> None:
    """For as long as it runs. kept: the file of what was asked for; None: in memory alone."""
    stock = state.stock
    file = CatalogueFile(stock.settings.catalogue)
    if kept is not None:
        stock.popularity = await asyncio.to_thread(load_popularity, kept)
    saved_at = time.monotonic()
    while True:
        is_changed = stock.changed.is_set()
        stock.changed.clear()
        is_changed |= await _look_at(file, state)
        day = int(time.time() // DAY_S)
        if day != stock.popularity.kept.day or time.monotonic() - saved_at > _SAVE_S:
            saved_at = time.monotonic()
            await _count(stock, day)
            if kept is not None:
                await _save(stock.popularity, kept)
        if is_changed:
            for site in stock.unplanned():
                await plan_site(state, site)
            stock.presence = await asyncio.to_thread(stock.look_again())
            state.unpictured.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(stock.changed.wait(), _LOOK_S)


async def _look_at(file: CatalogueFile, state: FleetState) -> bool:
    """Whether there is another catalogue. One that cannot be read leaves the one before."""
    stock = state.stock
    try:
        found = await asyncio.to_thread(file.look)
        said = stock.fault if found is None else ""
    except (OSError, ManifestError) as error:
        found, said = None, f"fleet.content.catalogue: {str(error)[:500]}"
    if said and said != stock.fault:
        _log.error("fleet: %s", said)
    stock.fault = said
    if found is None:
        return False
    stock.catalogue = found
    _log.info("fleet: a catalogue of %d objects", len(found.objects))
    return True


def load_popularity(file: Path) -> Popularity:
    """From its file; begun anew where there is none that can be read."""
    try:
        return Popularity.of(msgspec.json.decode(file.read_bytes(), type=KeptPopularity))
    except FileNotFoundError:
        return Popularity()
    except (OSError, msgspec.MsgspecError) as error:
        _log.error("fleet: begins without what was asked for: %s: %s", file, error)
        return Popularity()


async def _count(stock: Stock, day: int) -> None:
    """What was asked for until now. day: today, since the epoch."""
    stock.popularity = await asyncio.to_thread(stock.popularity.after, stock.take_noted(), day)


async def _save(popularity: Popularity, file: Path) -> None:
    def save() -> None:
        replace_file(file, encode_popularity(popularity.kept))

    try:
        await asyncio.to_thread(save)
    except OSError as error:
        _log.error("fleet: what was asked for cannot be kept, tried again: %s", error)


# -- plans ---------------------------------------------------------------------------------------


async def plan_site(state: FleetState, site: str) -> SitePlan:
    """Which of its appliances is to hold which objects, as of now."""
    stock = state.stock
    async with stock.planning:
        shares, copies = stock.shares_at(site), _copies_of(state, site)
        catalogue, popularity = stock.catalogue, stock.popularity
        stamp = (catalogue.digest, popularity.digest, copies, *sorted(shares.items()))
        known = stock.plan_of(site)
        if known is not None and known.stamp == stamp:
            return known

        def make() -> SitePlan:
            weights = [popularity.weight(entry.key) for entry in catalogue.objects]
            counts = count_copies(weights, copies, len(shares))
            return allot(catalogue, counts, shares, stamp)

        plan = await asyncio.to_thread(make)
        stock.take_plan(site, plan)
        return plan


def _copies_of(state: FleetState, site: str) -> float:
    return state.sites.get(site, FleetSite(id=site)).copies


async def find_neighbours(
    state: FleetState, appliance: str, plan: SitePlan, address: str
) -> list[Neighbour]:
    """Where an appliance may fetch from: the others of its site, then who hears its address."""
    site = state.site_of(appliance)
    found = [
        Neighbour(name, "peer", state.signers[name], plan)
        for name in sorted(plan.numbers)
        if name != appliance and name in state.signers
    ]
    try:
        prefix = parse_query(_address_of(state, appliance) or address)
    except ValueError:
        return found
    groups = state.rank(prefix.family, prefix.bits, place_of(site)).groups
    ranked = [each.server for group in groups for each in group]
    others = [each for each in ranked if each.site != site.id and each.id in state.signers]
    for server in others[:MOST_TIERS]:
        theirs = await plan_site(state, server.site)
        if server.id in theirs.numbers:
            found.append(Neighbour(server.id, "tier", state.signers[server.id], theirs))
    return found


def _address_of(state: FleetState, appliance: str) -> str:
    """Of its URL, if that is an address; empty where it is a name."""
    signer = state.signers.get(appliance)
    host = (urlsplit(signer.location.base).hostname or "") if signer else ""
    return host if host.replace(".", "").isdigit() or ":" in host else ""


# -- manifests -----------------------------------------------------------------------------------


async def give_manifest(call: Call) -> web.Response:
    """To the appliance itself, by its token, or to who may look."""
    request = call.request
    state, name = request.app[FLEET], call.path["id"]
    _admit(request, name)
    stock = state.stock
    if not stock.settings.catalogue:
        raise Problem(404, "there are no manifests: fleet.content.catalogue is not set")
    if not stock.catalogue.digest:
        raise Problem(
            503, stock.fault or "the catalogue is being read", headers={"Retry-After": "5"}
        )
    if name not in state.members and name not in state.roster:
        raise Problem(404, f"{name[:200]!r} is no appliance of the network")
    site = state.site_of(name).id
    plan = await plan_site(state, site)
    if name not in plan.numbers:
        raise Problem(404, f"{name[:200]!r} is not known yet: it has no site")
    neighbours = await find_neighbours(state, name, plan, request.remote or "")
    expires = (int(time.time() // DAY_S) + 2) * DAY_S  # signatures change by the day, as plans do
    tag = tag_of(name, plan, neighbours, expires)
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    is_packed = "gzip" in request.headers.get("Accept-Encoding", "")

    def make() -> bytes:
        made = make_manifest(name, plan, neighbours, expires)
        return gzip.compress(made, 1) if is_packed else made

    headers = {"ETag": tag, **({"Content-Encoding": "gzip"} if is_packed else {})}
    async with stock.writing:
        body = await asyncio.to_thread(make)
    return web.Response(body=body, headers=headers, content_type="application/json")


def _admit(request: web.Request, appliance: str) -> None:
    """Raises Problem."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    name = request.app[INTAKE].name_of(token.strip()) if scheme.lower() == "bearer" else ""
    if not name:
        request.app[GUARD].check(request, Role.READ)
    elif name != appliance:
        raise Problem(403, f"the token is not that of {appliance[:200]!r}")


async def show_stock(call: Call) -> StockShown:
    stock = call.request.app[FLEET].stock
    return StockShown(
        objects=len(stock.catalogue.objects),
        live=stock.presence.live,
        live_sites=stock.settings.live_sites,
        appliances=len(stock.presence.sightings),
        fault=stock.fault,
    )


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/manifests/{id}", give_manifest,
        "What an appliance is to hold, and where it can be had", Manifest, role=Role.ANYONE,
        refuses=(403, 404, 503),
    ),
    Endpoint("GET", "/v1/content", show_stock, "What the network holds", StockShown),
)  # fmt: skip
