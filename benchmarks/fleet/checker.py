"""Holds answers against a view of its own: by the networks that were made, not by any index of the
control plane's, one after the other.

What has just changed may be answered either way for a bound, which is in the answer's favour.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from benchmarks.fleet.documents import ModelAppliance
from benchmarks.fleet.world import World
from bgp.prefixes import WIDTH, format_address, parse_prefix

_KINDS = ("embedded", "pni", "exchange")
_EXAMPLES = 5


class Question(NamedTuple):
    """high: the first bits of the client's address, as of `Networks.start`. at: when."""

    provider: int
    family: int
    high: int
    key: str
    at: float


class Bounds(NamedTuple):
    """Seconds after which an answer must know: of who is silent, and of what was told."""

    silent_s: float
    told_s: float


class Holds(Protocol):
    """Whether an appliance, by its number, has what was asked for. is_generous: what has just gone
    counts; else neither that nor what has just come.
    """

    def __call__(self, number: int, asked: Question, *, is_generous: bool) -> bool: ...


class Checker:
    """wrong: answers that were, by how. checked: all. examples: some, in words."""

    def __init__(self, world: World, appliances: Sequence[ModelAppliance], bounds: Bounds) -> None:
        self._world = world
        self._at_site: defaultdict[int, list[ModelAppliance]] = defaultdict(list)
        for each in appliances:
            self._at_site[each.site.number].append(each)
        self.bounds = bounds
        self.wrong: Counter[str] = Counter()
        self.checked = 0
        self.examples: list[str] = []
        self.dead_at: dict[int, float] = {}  # by appliance, as those below
        self.drained_at: dict[int, float] = {}
        self.back_at: dict[int, float] = {}
        self.gone_at: dict[tuple[int, int], float] = {}  # by site and network
        self.came_at: dict[tuple[int, int], float] = {}
        self.leaked_at: dict[tuple[int, str], tuple[float, float]] = {}  # from when, until when
        self.holds: Holds | None = None  # None: each holds everything
        self.unsure_until = 0.0  # nothing is said of answers until then: the whole is starting
        self.spares_the_full: frozenset[int] = frozenset()  # providers whose appliances may be full

    # -- what happens ----------------------------------------------------------------------------

    def die(self, appliances: Sequence[ModelAppliance]) -> None:
        for each in appliances:
            self.dead_at[each.number] = time.monotonic()

    def live(self, appliances: Sequence[ModelAppliance]) -> None:
        for each in appliances:
            self.dead_at.pop(each.number, None)
            self.back_at[each.number] = time.monotonic()

    def drain(self, appliances: Sequence[ModelAppliance]) -> None:
        for each in appliances:
            self.drained_at[each.number] = time.monotonic()

    def enable(self, appliances: Sequence[ModelAppliance]) -> None:
        for each in appliances:
            self.drained_at.pop(each.number, None)
            self.back_at[each.number] = time.monotonic()

    # -- what is answered ------------------------------------------------------------------------

    def judge(self, asked: Question, answered: Sequence[ModelAppliance]) -> None:
        """answered: the best first."""
        if asked.at < self.unsure_until:
            return
        self.checked += 1
        for each in answered:
            if why := self._find_wrong(asked, each):
                self._note(why, asked, each.id)
        if asked.provider not in self.spares_the_full:
            self._compare_with_the_best(asked, answered)

    def _note(self, why: str, asked: Question, who: str) -> None:
        self.wrong[why] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{why}: {who} for {asked}")

    def _find_wrong(self, asked: Question, given: ModelAppliance) -> str:
        number, bounds = given.number, self.bounds
        if asked.at - self.dead_at.get(number, asked.at) > bounds.silent_s:
            return "dead"
        if asked.at - self.drained_at.get(number, asked.at) > bounds.told_s:
            return "drained"
        if self.holds is not None and not self.holds(number, asked, is_generous=True):
            return "without the object"
        if not any(True for _ in self._orders(asked, given.site.number, is_generous=True)):
            return "uncovered"
        return ""

    def _orders(
        self, asked: Question, site_number: int, *, is_generous: bool
    ) -> Iterator[tuple[int, int, int, int]]:
        """How good a site is for a client, by each network that covers it, the longest first.

        is_generous: what has just gone counts; else neither that nor what has just come.
        """
        site, bound = self._world.sites[site_number], self.bounds.told_s
        kind = _KINDS.index(site.kind)
        for (where, text), (since, until) in self.leaked_at.items():
            prefix = parse_prefix(text)
            width = 32 if prefix.family == 4 else 64
            covers = asked.high >> (width - prefix.length) == prefix.bits
            from_when = since if is_generous else since + bound
            until_when = until + bound if is_generous else until
            is_told = from_when <= asked.at <= until_when and where == site_number
            if is_told and prefix.family == asked.family and covers:
                yield -prefix.length, 1, 0, kind
        if asked.provider not in site.providers:
            return
        for number in self._world.networks.covering(asked.provider, asked.family, asked.high):
            place = (site_number, number)
            gone_at, came_at = self.gone_at.get(place), self.came_at.get(place, float("-inf"))
            if gone_at is not None and (not is_generous or asked.at - gone_at > bound):
                continue
            if not is_generous and asked.at - came_at <= bound:
                continue
            path_length, med = self._world.rank(site, number, asked.provider)
            yield -int(self._world.networks.length[number]), path_length, med, kind

    def _compare_with_the_best(self, asked: Question, answered: Sequence[ModelAppliance]) -> None:
        """Nobody, or a worse one, where a better one has been able for long enough."""
        sites = {*self._world.hearers[asked.provider], *(site for site, _ in self.leaked_at)}
        best = min(
            (
                order
                for site in sites
                if any(self._is_surely_able(asked, each) for each in self._at_site[site])
                for order in [next(self._orders(asked, site, is_generous=False), None)]
                if order is not None
            ),
            default=None,
        )
        if best is None:
            return
        if not answered:
            self._note("nobody", asked, "no answer")
            return
        site = answered[0].site.number
        if not any(order <= best for order in self._orders(asked, site, is_generous=True)):
            self._note("not the best", asked, f"{answered[0].id} at {answered[0].site.name}")

    def _is_surely_able(self, asked: Question, each: ModelAppliance) -> bool:
        number = each.number
        has = self.holds is None or self.holds(number, asked, is_generous=False)
        settled = asked.at - self.back_at.get(number, float("-inf")) > self.bounds.silent_s
        return has and settled and number not in self.dead_at and number not in self.drained_at


def address_text(family: int, high: int) -> str:
    """A client's address."""
    return format_address(family, high << (WIDTH[family] - (32 if family == 4 else 64)))
