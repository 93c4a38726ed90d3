"""Which appliance has which objects, by their numbers in the catalogue; and which are at how many
sites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ocaserve.fleet.allotment import NOTHING, Catalogue, SitePlan
from ocaserve.fleet.pushed_documents import HeldObjects


@dataclass(frozen=True, slots=True)
class Sighting:
    """What an appliance has told. bits: one for each object of the catalogue, as `HeldObjects`."""

    held: HeldObjects
    plan: SitePlan
    catalogue: Catalogue
    bits: bytes = field(repr=False)


def sight(
    appliance: str, held: HeldObjects, plan: SitePlan, catalogue: Catalogue,
    before: Sighting | None = None,
) -> Sighting:  # fmt: skip
    """What it has, of a manifest that was made of this plan. before: likewise, from before."""
    numbers = plan.numbers[appliance]
    goes_on = before is not None and before.plan is plan and before.catalogue is catalogue
    known = before.held.here if before is not None and goes_on else b""
    bits = bytearray(
        before.bits if before is not None and goes_on else -(-len(catalogue.objects) // 8)
    )
    for place in _changed_bits(known, held.here):
        if place >= len(numbers):
            break
        number: int | None = numbers[place]
        if plan.catalogue is not catalogue and number is not None:
            number = catalogue.numbers.get(plan.catalogue.objects[number].key)
        if number is not None:
            bits[number // 8] ^= 1 << number % 8
    return Sighting(held, plan, catalogue, bytes(bits))


def _changed_bits(one: bytes, other: bytes) -> Iterator[int]:
    width = max(len(one), len(other))
    for place, (left, right) in enumerate(
        zip(one.ljust(width, b"\0"), other.ljust(width, b"\0"), strict=True)
    ):
        if left != right:
            changed = left ^ right
            yield from (8 * place + bit for bit in range(8) if changed >> bit & 1)


class Presence:
    """Of one catalogue. sightings: by appliance; sites: of those appliances.

    live: a bit for each object that is at so many sites. Nothing in it changes.
    """

    def __init__(
        self,
        catalogue: Catalogue = NOTHING,
        sightings: Mapping[str, Sighting] | None = None,
        sites: Mapping[str, str] | None = None,
        least_sites: int = 1,
    ) -> None:
        self.catalogue = catalogue
        self.sightings: Mapping[str, Sighting] = sightings or {}
        by_site: dict[str, int] = {}
        for appliance, sighting in self.sightings.items():
            site = (sites or {})[appliance]
            by_site[site] = by_site.get(site, 0) | int.from_bytes(sighting.bits, "little")
        live = _at_least(least_sites, by_site.values())
        self._live = live.to_bytes(-(-len(catalogue.objects) // 8), "little")
        self.live = live.bit_count()

    @property
    def live_bits(self) -> bytes:
        return self._live

    def is_live(self, number: int) -> bool:
        """Whether an object may be offered to clients."""
        return bool(self._live[number >> 3] >> (number & 7) & 1)

    def has(self, appliance: str, number: int) -> bool:
        """Whether an appliance has told that it has an object."""
        sighting = self.sightings.get(appliance)
        return sighting is not None and bool(sighting.bits[number >> 3] >> (number & 7) & 1)

    def holders_of(self, key: bytes) -> Callable[[str], bool]:
        """Whether an appliance may be asked for an object."""
        number = self.catalogue.numbers.get(key.decode("utf-8", "surrogateescape"))
        if number is None or not self.is_live(number):
            return _nobody
        return lambda appliance: self.has(appliance, number)


def _nobody(_: str) -> bool:
    return False


def _at_least(least: int, sets: Iterable[int]) -> int:
    """The bits that at least so many of the sets have."""
    counted = [0] * (least + 1)  # counted[n]: those that n of the sets so far have
    for bits in sets:
        for count in range(least, 1, -1):
            counted[count] |= counted[count - 1] & bits
        counted[1] |= bits
    return counted[least]
