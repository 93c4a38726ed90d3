"""Which source is asked, and which is left alone for a while. Pure: the clock is a parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ocaserve.fill.manifest import Source
from ocaserve.origins import Fault, Record, Strikes, origin_of

_TIERS = {"peer": 0, "tier": 1, "origin": 2}


class SourceBook:
    """All origins that were ever asked."""

    def __init__(self) -> None:
        self._strikes = Strikes()
        self.faults: Counter[tuple[str, Fault]] = Counter()

    def strike(self, url: str, fault: Fault, text: str, now: float) -> None:
        """It did something wrong, and is left alone for a while; not who only lacks an object."""
        if fault is Fault.PENDING:
            return
        self.faults[origin_of(url), fault] += 1
        if fault is not Fault.ABSENT:
            self._strikes.add(url, fault, text, now)

    def praise(self, url: str) -> None:
        """A piece of it was right."""
        self._strikes.clear(url)

    def forgive(self) -> None:
        """Whatever they did: the operator says so."""
        self._strikes.clear_all()

    def is_dropped(self, url: str, now: float) -> bool:
        """Whether it is left alone now."""
        return self._strikes.counts(url, now)

    def choose(self, sources: Iterable[Source], most_tier: str, now: float) -> list[Source]:
        """Those that may be asked now: near ones first, in the manifest's order within a tier.

        most_tier: the farthest that may be asked.
        """
        most = _TIERS[most_tier]
        fit = [each for each in sources if _TIERS[each.tier] <= most]
        return sorted(
            (each for each in fit if not self.is_dropped(each.url, now)),
            key=lambda each: _TIERS[each.tier],
        )

    def next_return(self, sources: Iterable[Source], now: float) -> float | None:
        """When the first of those that are dropped may be asked again; None if none is."""
        times = (self._strikes.of(each.url).until for each in sources)
        return min((until for until in times if now < until), default=None)

    def dropped(self, now: float) -> Iterator[tuple[str, Record]]:
        """Origins that are left alone now, with why."""
        return self._strikes.running(now)
