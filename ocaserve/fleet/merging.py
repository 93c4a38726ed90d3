"""What several instances of the control plane know of one appliance: which of it counts."""

from __future__ import annotations

from collections.abc import Mapping

from ocaserve.fleet.pushed_documents import Copy

GRANTS_COUNT_S = 5.0
"""What another instance gave to clients counts for so long after it was heard of."""


def later(ours: Copy, theirs: Copy) -> Copy:
    """The one that is further on. Where neither session knows of the other, theirs: it came now."""
    if ours.session == theirs.session:
        return theirs if theirs.serial > ours.serial else ours
    return ours if theirs.session in ours.ended else theirs


class GrantsElsewhere:
    """What other instances gave to clients since the appliances' reports, as they told it last."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, Mapping[str, float]]] = {}

    def tell(self, instance: str, bits_per_s: Mapping[str, float], now: float) -> None:
        """All of one instance, by appliance; it takes the place of what it told before."""
        self._told[instance] = now, bits_per_s

    def __bool__(self) -> bool:
        """Whether some instance has told."""
        return bool(self._told)

    def of(self, appliance: str, now: float) -> float:
        """By all instances that were heard of lately."""
        if not self._told:
            return 0.0
        return sum(
            bits_per_s.get(appliance, 0.0)
            for heard_at, bits_per_s in self._told.values()
            if now - heard_at <= GRANTS_COUNT_S
        )

    def forget(self, now: float) -> None:
        """Instances that tell nothing any more."""
        for instance, (heard_at, _) in list(self._told.items()):
            if now - heard_at > GRANTS_COUNT_S:
                del self._told[instance]
