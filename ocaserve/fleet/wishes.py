"""Who could take clients of one kind, in the order of decisions, and in which shares.

Nothing is drawn: of equals each takes the share of the clients that it has of their weight, which
is what many draws come to. Where policies put those who were chosen in another order, a number of
draws is made, by the function that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ocaserve.fleet.decisions import Candidate, Group, apply_ruling, choose, find_able, seed_of
from ocaserve.policies.rulings import Ruling

DRAWS = 64  # where policies order: shares are right within some hundredths
FEW_DRAWS = 8  # for kinds of clients of which there are many: they are right together

Shares = Mapping[str, float]
"""By appliance, of 1; empty where nobody can take it."""

NOBODY: Shares = {}
Holds = Callable[[str], bool]
"""Whether an appliance has an object."""
Order = Callable[[list[Candidate]], list[Candidate]]
"""Those chosen as policies want them."""


class Unserved(Enum):
    """Why nobody takes clients; the value is the word shown."""

    COVERAGE = "coverage"
    """No appliance hears their network."""
    HEALTH = "health"
    """Those that hear it take no clients: silent, drained, unhealthy."""
    CONTENT = "content"
    """Those that take clients do not have what they ask for."""
    POLICY = "policy"
    """Policies refuse those that have it."""
    CAPACITY = "capacity"
    """All that could take them are full."""


class ClientWish(Protocol):
    """Of clients of one kind. nobody: why there is no one at all; None where there is someone."""

    @property
    def nobody(self) -> Unserved | None: ...

    def shares(self, full: AbstractSet[str] = frozenset()) -> Shares:
        """How they are shared out by their first choice, while these appliances are full."""


@dataclass(frozen=True, slots=True)
class PlainWish:
    """groups: of equals, the best first, each with its weight, by its id. Equal ones are equal."""

    groups: tuple[tuple[tuple[str, float], ...], ...]
    nobody: Unserved | None = None

    def shares(self, full: AbstractSet[str] = frozenset()) -> Shares:
        for group in self.groups:
            able = [each for each in group if each[0] not in full]
            if not able:
                continue
            whole = sum(weight for _, weight in able)
            if not whole:  # draws are all lost, and the first stands where it stood
                return {able[0][0]: 1.0}
            return {name: weight / whole for name, weight in able if weight}
        return NOBODY


class OrderedWish:
    """Of clients for whom policies order. groups: as the ruling leaves them. draws: so many."""

    nobody = None

    def __init__(
        self, groups: Sequence[Group], holds: Holds | None, order: Order, draws: int
    ) -> None:
        self._groups, self._holds, self._order = groups, holds, order
        self._draws = draws

    def shares(self, full: AbstractSet[str] = frozenset()) -> Shares:
        def may(name: str) -> bool:
            return name not in full and (self._holds is None or self._holds(name))

        found: dict[str, float] = {}
        for number in range(self._draws):
            chosen = choose(self._groups, seed_of(b"", b"", number), may)
            if not chosen:
                return NOBODY
            first = self._order(chosen)[0].server.id
            found[first] = found.get(first, 0.0) + 1 / self._draws
        return found


def make_wish(
    groups: Sequence[Group], holds: Holds | None, ruling: Ruling, order: Order | None = None,
    draws: int = DRAWS,
) -> ClientWish:  # fmt: skip
    """groups: all that hear the client. holds: None where each has the object. order: None where
    policies want none; draws: so many stand for all where they want one.
    """
    left = apply_ruling(groups, ruling)
    found = tuple(
        tuple((each.server.id, each.weight) for each in group) for group in find_able(left, holds)
    )
    if found and order is not None:
        return OrderedWish(left, holds, order, draws)
    return PlainWish(found, None if found else _find_cause(groups, holds))


def _find_cause(groups: Sequence[Group], holds: Holds | None) -> Unserved:
    """Why there is nobody: the first thing that leaves none."""
    if not groups:
        return Unserved.COVERAGE
    if not any(find_able(groups)):
        return Unserved.HEALTH
    if not any(find_able(groups, holds)):
        return Unserved.CONTENT
    return Unserved.POLICY
