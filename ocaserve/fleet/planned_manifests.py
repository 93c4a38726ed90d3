"""The manifest of one appliance: what it is to hold, and where it can be had, the nearest first.

Sources are those that are to hold the object, not those that have it now: so a manifest changes
when plans do and not whenever something arrives, and who asks too early asks the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from ocaserve.fill.manifest import Entry, Manifest, Source, Tier
from ocaserve.fill.placement import rank
from ocaserve.fleet.allotment import SitePlan
from ocaserve.fleet.client_urls import Signer, locate_key

DAY_S = 86_400
MOST_TIERS = 3
"""Appliances of other sites that are named; the origin is asked after them."""


@dataclass(frozen=True)
class Neighbour:
    """Another appliance that objects can be had from. plan: of its site."""

    id: str
    tier: Tier
    signer: Signer
    plan: SitePlan

    @property
    def stamp(self) -> tuple[object, ...]:
        return self.id, self.tier, self.signer.location, self.plan.versions[self.id]


def tag_of(appliance: str, plan: SitePlan, neighbours: Sequence[Neighbour], expires: int) -> str:
    """The entity-tag of its manifest: another one where that would be another."""
    made_of = (
        appliance, plan.catalogue.digest, plan.versions[appliance], expires,
        *(each.stamp for each in neighbours),
    )  # fmt: skip
    return f'"{blake2b(repr(made_of).encode(), digest_size=16).hexdigest()}"'


def make_manifest(
    appliance: str, plan: SitePlan, neighbours: Sequence[Neighbour], expires: int
) -> bytes:
    """As JSON. neighbours: those of other sites the nearest first. expires: of signed URLs."""
    near: dict[int, dict[str, Neighbour]] = {number: {} for number in plan.numbers[appliance]}
    for each in neighbours:
        if each.plan.catalogue is not plan.catalogue:
            continue  # it numbers others
        for number in each.plan.numbers[each.id]:
            if (holders := near.get(number)) is not None:
                holders[each.id] = each
    entries = plan.catalogue.objects
    objects = [
        msgspec.structs.replace(
            entries[number],
            sources=[*_sources(appliance, entries[number], holders, expires),
                     *entries[number].sources],
        )
        for number, holders in near.items()
    ]  # fmt: skip
    return msgspec.json.encode(Manifest(version=plan.versions[appliance], objects=objects))


def _sources(
    appliance: str, entry: Entry, near: Mapping[str, Neighbour], expires: int
) -> Iterator[Source]:
    """Peers in an order of each asker's own, so that not all ask the same; then other sites'."""
    if not near:
        return
    wanted = locate_key(entry.key)
    peers = {name: 1.0 for name, each in near.items() if each.tier == "peer"}
    names = [
        *(rank(f"{appliance}\n{entry.key}", peers) if len(peers) > 1 else peers),
        *(name for name in near if name not in peers),
    ]
    for name in names:
        each = near[name]
        yield Source(tier=each.tier, url=each.signer.make(wanted, expires))
