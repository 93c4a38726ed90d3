"""Which ranges clients ask for. Pure: the same seed gives the same requests to each server."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple


class Ask(NamedTuple):
    """Bytes `first` to `last`, inclusive as in a Range field, of an object."""

    key: str
    first: int
    last: int


def _segments(keys: Sequence[str], object_bytes: int, range_bytes: int) -> list[Ask]:
    starts = range(0, object_bytes - range_bytes + 1, range_bytes)
    return [Ask(key, start, start + range_bytes - 1) for start in starts for key in keys]


def uniform(
    keys: Sequence[str], object_bytes: int, range_bytes: int, count: int, seed: int
) -> Iterator[Ask]:
    """Aligned ranges, any as likely as any other."""
    chance = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
    for _ in range(count):
        start = chance.randrange(object_bytes // range_bytes) * range_bytes
        yield Ask(chance.choice(keys), start, start + range_bytes - 1)


def zipf_beside_hot(
    keys: Sequence[str],
    hot_keys: int,
    object_bytes: int,
    range_bytes: int,
    count: int,
    seed: int,
    *,
    hot_share: float = 0.9,
    skew: float = 0.8,
) -> Iterator[Ask]:
    """`hot_share` of the requests for the first objects, the others by popularity over the rest.

    The popularity of a segment falls with its rank to the power `skew`; measured video catalogues
    lie between 0.6 and 1.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
    hot = _segments(keys[:hot_keys], object_bytes, range_bytes)
    rest = _segments(keys[hot_keys:], object_bytes, range_bytes)
    random.Random(0).shuffle(rest)  # noqa: S311 - ranks belong to the catalogue, not to the seed
    weights = list(accumulate(rank**-skew for rank in range(1, len(rest) + 1)))
    for _ in range(count):
        if chance.random() < hot_share:
            yield chance.choice(hot)
        else:
            yield chance.choices(rest, cum_weights=weights)[0]


def render(asks: Iterable[Ask]) -> str:
    """One line each, as `clients/ranges.lua` and `clients/paced.py` read them."""
    return "".join(f"{ask.key} {ask.first} {ask.last}\n" for ask in asks)
