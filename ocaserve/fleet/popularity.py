"""How much each object is asked for: a score that halves every day.

What is made of it is made once a day, of classes that differ by a factor of two: so nothing is
moved for a small change, or within a day.

Of a million objects all this takes seconds, so it is for a thread: nothing here changes once it is
made, and the work is done in steps between which other threads have their turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice

import msgspec
from msgspec import Struct

MOST_SCORES = 1_000_000
_LEAST_SCORE = 0.5
_DIGEST_BYTES = 16
_PART = 10_000  # objects that are encoded at once, some milliseconds


class KeptPopularity(Struct, frozen=True):
    """As it outlives a restart. day: since the epoch, when scores were made; today: since then."""

    day: int = -1
    scores: dict[str, float] = {}
    today: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Popularity:
    """`digest`: of all weights."""

    kept: KeptPopularity = field(default_factory=KeptPopularity)
    digest: bytes = bytes(_DIGEST_BYTES)

    @classmethod
    def of(cls, kept: KeptPopularity) -> Popularity:
        return cls(kept, _digest_of_classes(kept.scores))

    def after(self, noted: Mapping[str, int], day: int) -> Popularity:
        """With so many more clients sent to each object; scores are made where the day is new."""
        kept = self.kept
        today = {name: count + noted.get(name, 0) for name, count in kept.today.items()}
        for name, count in noted.items():
            if name not in today and len(today) < MOST_SCORES:
                today[name] = count
        if day == kept.day:
            return Popularity(KeptPopularity(day, kept.scores, today), self.digest)
        halvings = min(day - kept.day, 64) if kept.day >= 0 else 1
        return Popularity.of(KeptPopularity(day, _score(kept.scores, today, halvings)))

    def weight(self, key: str) -> int:
        """1 for what is not asked for, twice as much for each class above that."""
        return _weight_of(self.kept.scores.get(key, 0.0))


def encode_popularity(kept: KeptPopularity) -> bytes:
    """As JSON."""
    made_of = kept.day, _encode_members(kept.scores), _encode_members(kept.today)
    return b'{"day":%d,"scores":{%b},"today":{%b}}' % made_of


def _encode_members(numbers: Mapping[str, float]) -> bytes:
    """In parts: encoding all at once would hold up every other thread."""
    items = iter(numbers.items())
    parts = iter(lambda: dict(islice(items, _PART)), {})
    return b",".join(msgspec.json.encode(part)[1:-1] for part in parts)


def _score(
    scores: Mapping[str, float], today: Mapping[str, int], halvings: int
) -> dict[str, float]:
    scored = {
        name: score
        for name, before in scores.items()
        if (score := before / 2**halvings + today.get(name, 0)) > _LEAST_SCORE
    }
    for name, count in today.items():
        if name not in scores:
            scored[name] = float(count)
    return scored


def _weight_of(score: float) -> int:
    return 1 << int(score).bit_length()


def _digest_of_classes(scores: Mapping[str, float]) -> bytes:
    """Another one where some object's weight is another. A sum: it needs no order of the names."""
    total = 0
    for name, score in scores.items():
        line = f"{_weight_of(score)}:{name}".encode("utf-8", "surrogatepass")
        total += int.from_bytes(blake2b(line, digest_size=_DIGEST_BYTES).digest(), "big")
    return (total % (1 << 8 * _DIGEST_BYTES)).to_bytes(_DIGEST_BYTES, "big")
