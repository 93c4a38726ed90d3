"""Who is to have what, without asking anybody: rendezvous hashing. Pure.

Each candidate draws a number for the object, and the highest one wins (Thaler and Ravishankar,
1998). All who know the candidates come to the same answer; one more of N takes about 1/N of the
objects, and nothing moves between the others. Weights as Schindelhauer and Schomaker, 2005: a
candidate's share is its weight's.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from hashlib import blake2b

_SCALE = float(1 << 64)


def _begin(candidate: str) -> blake2b:
    """To be gone on with by an object's key."""
    name = f"{len(candidate)}:{candidate}:"
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8)


def _score(digest: bytes, weight: float) -> float:
    return -weight / math.log((int.from_bytes(digest) + 0.5) / _SCALE)


class Candidates:
    """Who draws for many objects; by name and weight. Those without weight are left out."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._begun = [
            (_begin(name), weight, name) for name, weight in weights.items() if weight > 0
        ]

    def rank(self, key: str, most: int | None = None) -> list[str]:
        """In the order in which they are to have the object; the first, at most so many."""
        data, drawn = key.encode("utf-8", "surrogatepass"), []
        for begun, weight, name in self._begun:
            hashed = begun.copy()
            hashed.update(data)
            drawn.append((_score(hashed.digest(), weight), name))
        if most == 1 and drawn:
            return [max(drawn)[1]]
        return [name for _, name in heapq.nlargest(len(drawn) if most is None else most, drawn)]


def rank(key: str, candidates: Mapping[str, float], most: int | None = None) -> list[str]:
    """As `Candidates`, of one object."""
    return Candidates(candidates).rank(key, most)
