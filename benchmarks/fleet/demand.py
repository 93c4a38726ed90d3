"""Who asks for what, and when: networks by their size, objects by Zipf's law, a daily curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.fleet.world import World

OBJECTS = 100_000  # where every appliance has every one
_ZIPF = 0.9  # as of films on demand
_LEAST = 0.25  # of the peak, at night
_BATCH = 4_096
WATCHED = 0
"""The provider whose clients are played one by one: what they take loads its appliances."""


class Wish(NamedTuple):
    """One client's: family and first bits of its address, the object, how long it will stay."""

    provider: int
    family: int
    high: int
    key: str
    session_s: float


def curve(hours: float) -> float:
    """Demand as a share of the peak, at 20:00."""
    wave = (1 + math.cos((hours - 20) / 24 * 2 * math.pi)) / 2
    return _LEAST + (1 - _LEAST) * float(wave**1.5)


class Demand:
    """Wishes without end; the same seed has the same ones. mean_s: of sessions. objects: of all."""

    def __init__(self, world: World, seed: int, mean_s: float, objects: int = OBJECTS) -> None:
        self._networks = world.networks
        self._chance = np.random.default_rng([seed, 2])
        self._mean_s = mean_s
        sizes = np.exp2(24 - np.minimum(world.networks.length, 24).astype(float)) ** 0.5
        self._sums = np.cumsum(sizes)
        self._providers = np.repeat(
            np.arange(len(world.networks.blocks)),
            [block.last - block.first for block in world.networks.blocks],
        )
        popularity = 1 / np.arange(1, objects + 1) ** _ZIPF
        self._popularity = np.cumsum(popularity / popularity.sum())
        self._anywhere = self._wish(0, len(world.networks))
        self._watched = self._wish(*world.networks.blocks[WATCHED])
        self.key_of: Callable[[int], str] = "film-{:06}.mp4".format  # by how much it is wanted
        self.hot_key = ""  # what everybody asks for; empty: each what he likes

    def anywhere(self) -> Wish:
        """By a client of any network."""
        return next(self._anywhere)

    def watched(self) -> Wish:
        """By one of the provider that is watched."""
        return next(self._watched)

    def _wish(self, first: int, last: int) -> Iterator[Wish]:
        chance, networks = self._chance, self._networks
        low, high = (self._sums[first - 1] if first else 0.0), self._sums[last - 1]
        while True:
            numbers = np.searchsorted(self._sums, chance.uniform(low, high, _BATCH))
            objects = np.searchsorted(self._popularity, chance.random(_BATCH))
            # Sessions are of very different lengths: log-normal, with the mean that is asked for.
            lengths = self._mean_s * np.exp(chance.normal(-0.5, 1.0, _BATCH))
            for number, place, length in zip(numbers, objects, lengths, strict=True):
                number = min(int(number), last - 1)
                family, address = networks.address_in(number, chance)
                key = self.hot_key or self.key_of(int(place))
                yield Wish(int(self._providers[number]), family, address, key, float(length))
