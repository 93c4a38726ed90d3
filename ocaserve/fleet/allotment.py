"""Which appliance of a site is to hold which objects.

Each object has so many copies at a site, and they are at those appliances that draw highest for it
(rendezvous hashing, `fill.placement`). So one more copy, or one more appliance, moves nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import heapify, heapreplace

from ocaserve.fill.manifest import Entry, Manifest
from ocaserve.fill.placement import Candidates


@dataclass(frozen=True)
class Catalogue:
    """All that the network is to hold. An object's number is its place in `objects`.

    numbers: by the object's key.
    """

    objects: Sequence[Entry]
    digest: bytes
    numbers: Mapping[str, int]

    @classmethod
    def of(cls, manifest: Manifest, data: bytes) -> Catalogue:
        """data: what it was read from."""
        numbers = {entry.key: number for number, entry in enumerate(manifest.objects)}
        return cls(manifest.objects, blake2b(data, digest_size=16).digest(), numbers)

    def keys(self) -> list[bytes]:
        """Of all objects, by their numbers, as clients ask for them."""
        return [entry.key.encode("utf-8", "surrogateescape") for entry in self.objects]


NOTHING = Catalogue((), b"", {})


@dataclass(frozen=True)
class SitePlan:
    """numbers: of the objects that each appliance is to hold, in the order of its manifest.

    stamp: what it was made of, to be compared. versions: of the manifests, by what is in them.
    """

    stamp: tuple[object, ...]
    catalogue: Catalogue
    numbers: Mapping[str, array[int]]
    versions: Mapping[str, str]


def count_copies(weights: Sequence[int], copies: float, most: int) -> list[int]:
    """How many of each object a site holds. weights: of demand. copies: an object's, on average.

    Each has one, if the average allows that, else none has more; none has more than `most`. Each
    further copy is of the object that has the greatest weight for each copy (d'Hondt's rule); among
    equals the first.
    """
    if copies < 1:
        most = min(most, 1)
    floor = min(int(copies), 1, most)
    counts = [floor] * len(weights)
    left = min(round(copies * len(weights)), most * len(weights)) - sum(counts)
    if left <= 0 or floor == most:
        return counts
    due = [(-weight / (floor + 1), place) for place, weight in enumerate(weights)]
    heapify(due)
    for _ in range(left):
        place = due[0][1]
        counts[place] += 1
        rest = -weights[place] / (counts[place] + 1) if counts[place] < most else 0.0
        heapreplace(due, (rest, place))
    return counts


def allot(
    catalogue: Catalogue, counts: Sequence[int], shares: Mapping[str, float],
    stamp: tuple[object, ...] = (),
) -> SitePlan:  # fmt: skip
    """counts: of copies, by the object's number. shares: of the objects, by appliance; above 0."""
    numbers = {name: array("I") for name in shares}
    candidates = Candidates(shares)
    for number, (entry, count) in enumerate(zip(catalogue.objects, counts, strict=True)):
        holders = shares if count >= len(shares) else candidates.rank(entry.key, count)
        for name in holders:
            numbers[name].append(number)
    versions = {name: _version_of(catalogue, some) for name, some in numbers.items()}
    return SitePlan(stamp, catalogue, numbers, versions)


def _version_of(catalogue: Catalogue, numbers: Sequence[int]) -> str:
    """The same for the same objects in the same order."""
    hashed = blake2b(digest_size=16)
    for number in numbers:
        entry = catalogue.objects[number]
        hashed.update(f"{entry.sha256}:{entry.key}\n".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
