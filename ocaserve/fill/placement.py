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


def draw(key: str, candidate: str, weight: float = 1.0) -> float:
    """The number that a candidate draws; weight: above 0."""
    name = f"{len(candidate)}:{candidate}:{key}".encode("utf-8", "surrogatepass")
    drawn = int.from_bytes(blake2b(name, digest_size=8).digest())
    return -weight / math.log((drawn + 0.5) / _SCALE)


def rank(key: str, candidates: Mapping[str, float], most: int | None = None) -> list[str]:
    """The candidates in the order in which they are to have the object; by name and weight.

    Those without weight are left out.
    """
    drawn = [(draw(key, name, weight), name) for name, weight in candidates.items() if weight > 0]
    chosen = heapq.nlargest(len(drawn) if most is None else most, drawn)
    return [name for _, name in chosen]
