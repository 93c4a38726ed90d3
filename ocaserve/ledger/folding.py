"""Places for networks: they go to who gets bytes, and not to who came first. Pure.

Sums grow by a quarter beyond their places, then those with the least bytes are added to `other`, so
each byte costs a constant. A flood of networks that get little pushes out nobody who gets more than
they, and whatever is folded, the sum of all is exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from operator import itemgetter
from typing import NamedTuple

from ocaserve.ledger.networks import OTHER

_SLACK = 4  # a quarter more than there are places


class Folded(NamedTuple):
    """Bytes by network, and how many of them have become `other`."""

    sent: dict[str, int]
    moved: int


def fold(sent: Mapping[str, int], most: int) -> Folded:
    """The `most` networks with the most bytes, and what the others got as `other`."""
    told = {network: count for network, count in sent.items() if network != OTHER}
    if len(told) <= most:
        return Folded(dict(sent), 0)
    kept = dict(heapq.nlargest(most, told.items(), key=itemgetter(1)))
    moved = sum(told.values()) - sum(kept.values())
    kept[OTHER] = sent.get(OTHER, 0) + moved
    assert sum(kept.values()) == sum(sent.values()), "whatever is folded, the sum is exact"
    return Folded(kept, moved)


def is_overfull(networks: int, most: int) -> bool:
    """Whether it is time to fold."""
    return networks > most + most // _SLACK + 1


def add_up(into: dict[str, int], sent: Mapping[str, int], most: int) -> int:
    """Add bytes by network, and fold when it is time; returns how many became `other`."""
    for network, count in sent.items():
        into[network] = into.get(network, 0) + count
    if not is_overfull(len(into), most):
        return 0
    folded = fold(into, most)
    into.clear()
    into.update(folded.sent)
    return folded.moved
