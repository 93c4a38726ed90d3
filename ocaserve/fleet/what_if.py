"""What would become of the clients that have asked of late, if something were lost.

Nothing is drawn: of equals each takes the share of the clients that it has of their weight, which
is what many draws come to. Who is full now counts as able, so that what would be too much for it is
seen; who is silent, drained or unhealthy now stays so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ocaserve.fleet.atlas import Atlas, Hearing
from ocaserve.fleet.decisions import Place, Server, Standing, standing_of
from ocaserve.fleet.demand import DemandRow
from ocaserve.fleet.liveness import FULL
from ocaserve.fleet.tables import Network

MOST_NAMED = 100  # networks that are named, those with the most clients first


class Lost(NamedTuple):
    """What is taken to be gone."""

    appliances: frozenset[str] = frozenset()
    networks: frozenset[Network] = frozenset()


class Move(NamedTuple):
    """From one appliance to another; to nobody: None."""

    source: str
    target: str | None


@dataclass(slots=True)
class Moved:
    """clients: expected, so not a whole number; networks: of how many networks."""

    clients: float = 0.0
    networks: int = 0


@dataclass(slots=True)
class Outlook:
    """before, after: expected clients by appliance. uncovered: networks that lose everybody who
    could take them, with their clients; unserved: clients that nobody takes as it is.
    """

    before: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    after: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    moves: defaultdict[Move, Moved] = field(default_factory=lambda: defaultdict(Moved))
    uncovered: list[DemandRow] = field(default_factory=list)
    unserved: int = 0


Shares = Mapping[str, float]
"""By appliance, of 1; empty where nobody can take it."""

NOBODY: Shares = {}


class Projection:
    """Who takes whom, by the routes and appliances that there are, less what is lost.

    Nothing is ranked but what counts: of the longest network of which somebody can take the client
    the best. Most networks are heard by the same as many others, and are looked at once with them.
    """

    def __init__(self, atlas: Atlas, servers: Mapping[str, Server], lost: Lost) -> None:
        self._atlas = atlas
        self._without = lost.networks
        self._servers = {
            name: server
            for name, server in servers.items()
            if name not in lost.appliances and server.fault in ("", FULL)
        }
        self._known: dict[tuple[int, Place | None], Shares] = {}

    def shares(self, row: DemandRow) -> Shares:
        """How the clients of a network are shared out, by their first choice. Where that is so for
        one reason, it is one object.
        """
        region = self._atlas.find(row.network.family, row.address)
        for heard in self._atlas.levels(region, self._without):
            asked = heard, row.place
            if (found := self._known.get(asked)) is None:
                found = self._known[asked] = self._share_out(self._atlas.hearings(heard), row.place)
            if found:
                return found
        return NOBODY

    def _share_out(self, hearings: Iterable[Hearing], place: Place | None) -> Shares:
        """Among the first equals that hear a network, by weight."""
        best: Standing | None = None
        weights: dict[str, float] = {}
        for table, rank in hearings:
            for name in self._atlas.holders(table):
                if (server := self._servers.get(name)) is None:
                    continue
                standing = standing_of(0, rank, server, place)
                if best is None or standing < best:
                    best, weights = standing, {}
                if standing == best:
                    weights[name] = server.weight * rank.weight
        whole = sum(weights.values())
        return {name: weight / whole for name, weight in weights.items()}


@dataclass(slots=True)
class _Alike:
    """Clients of networks that are shared out in one way."""

    before: Shares
    after: Shares
    clients: int = 0
    networks: int = 0


def foresee(
    atlas: Atlas, servers: Mapping[str, Server], demand: Iterable[DemandRow], lost: Lost
) -> Outlook:
    """All of it. A pure function: the same for the same."""
    outlook = Outlook()
    now, then = Projection(atlas, servers, Lost()), Projection(atlas, servers, lost)
    alike: dict[tuple[int, int], _Alike] = {}
    for row in demand:
        before, after = now.shares(row), then.shares(row)
        some = alike.setdefault((id(before), id(after)), _Alike(before, after))
        some.clients += row.clients
        some.networks += 1
        if not before:
            outlook.unserved += row.clients
        elif not after:
            outlook.uncovered.append(row)
    for some in alike.values():
        add_shares(outlook.before, some.before, some.clients)
        add_shares(outlook.after, some.after, some.clients)
        if some.before and some.before != some.after:
            _note_moves(outlook.moves, some)
    outlook.uncovered.sort(key=lambda row: (-row.clients, row.network))
    return outlook


def add_shares(expected: defaultdict[str, float], shares: Shares, clients: int) -> None:
    """To the expected clients by appliance."""
    for name, share in shares.items():
        expected[name] += share * clients


def _note_moves(moves: defaultdict[Move, Moved], some: _Alike) -> None:
    """What some lose the others gain, in proportion; what nobody gains goes nowhere."""
    before, after = some.before, some.after
    gains = {
        name: gain for name, share in after.items() if (gain := share - before.get(name, 0.0)) > 0
    }
    whole = sum(gains.values())
    parts: Mapping[str | None, float]
    parts = {name: gain / whole for name, gain in gains.items()} if whole else {None: 1.0}
    for source, share in before.items():
        loss = share - after.get(source, 0.0)
        if loss > 0:
            for target, part in parts.items():
                moved = moves[Move(source, target)]
                moved.clients += loss * part * some.clients
                moved.networks += some.networks
