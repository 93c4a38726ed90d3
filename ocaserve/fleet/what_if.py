"""What would become of the clients that have asked of late, if something were lost.

They are taken to ask once more, all of them, while it is lost: each goes where a decision would
send it, to who has what it asks for and as policies want it (`projections`); and where an appliance
fills up, the others go on to the next (`cascades`). Who is silent, drained or unhealthy now stays
so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ocaserve.fleet.cascades import settle
from ocaserve.fleet.demand import DemandRow, Wanted
from ocaserve.fleet.projections import Lost, Projection
from ocaserve.fleet.wishes import ClientWish, Shares, Unserved

MOST_NAMED = 100  # networks that are named, those with the most clients first
MOST_MIXED = 200  # objects that stand for what clients want of whom that is not known
_LEAST = 1e-6  # clients: less is what sums are wrong by


class ClientRoom(NamedTuple):
    """How many clients an appliance can take: in all, None where that is not known; and how many
    more than now.
    """

    total: float | None
    more: float


ClientRooms = Mapping[str, ClientRoom]
"""By appliance. Who is not in it is never full: it does not say what it can still take."""


class Move(NamedTuple):
    """From one appliance to another; from or to nobody: None."""

    source: str | None
    target: str | None


@dataclass(slots=True)
class Moved:
    """clients: expected, so not a whole number; networks: of how many networks."""

    clients: float = 0.0
    networks: int = 0


class Sharing(NamedTuple):
    """Clients, expected by appliance: asked, had each room for all that come to it first; taken,
    when it is settled. full: who sends clients on. unserved: clients that nobody takes, by why.
    """

    asked: Mapping[str, float]
    taken: Mapping[str, float]
    full: frozenset[str]
    unserved: Mapping[Unserved, float]


@dataclass(slots=True)
class Outlook:
    """networks: that were looked at; for the others, the smallest, these stand. uncovered: networks
    that lose everybody who could take them, however much those can take, with their clients.
    """

    networks: int
    before: Sharing
    after: Sharing
    moves: defaultdict[Move, Moved] = field(default_factory=lambda: defaultdict(Moved))
    uncovered: list[DemandRow] = field(default_factory=list)


class WishPair(NamedTuple):
    """Who could take clients of one kind, before and after."""

    before: ClientWish
    after: ClientWish


class Alike:
    """Networks whose clients are shared out in one way. pairs: the parts of them, of 1."""

    def __init__(self, pairs: Mapping[WishPair, float]) -> None:
        self.pairs = pairs
        self.rows: list[DemandRow] = []
        self.clients = 0.0

    def add(self, row: DemandRow) -> None:
        self.rows.append(row)
        self.clients += row.clients


def foresee(
    now: Projection, lost: Lost, demand: Sequence[DemandRow], rooms: ClientRooms,
    *, looks_at_objects: bool = True,
) -> Outlook:  # fmt: skip
    """All of it. A pure function: the same for the same.

    looks_at_objects: whether it matters what clients want, to contents or to policies.
    """
    every = find_alike(now, lost, demand, looks_at_objects=looks_at_objects)
    before, parts_before = share_out(every, 0, limits_now(rooms))
    after, parts_after = share_out(every, 1, limits_then(rooms, before.taken))
    outlook = Outlook(sum(len(alike.rows) for alike in every), before, after)
    for alike in every:
        _note_moves(outlook.moves, alike, parts_before, parts_after)
        if _has_someone(alike, 0) and not _has_someone(alike, 1):
            outlook.uncovered += alike.rows
    outlook.uncovered.sort(key=lambda row: (-row.clients, row.network))
    return outlook


# -- what is asked for ---------------------------------------------------------------------------


def find_alike(
    now: Projection, lost: Lost, demand: Sequence[DemandRow], *, looks_at_objects: bool
) -> list[Alike]:
    """All clients. Of whom it is not known what they want, they want what the others do; and where
    networks are of too many kinds, those with the most clients stand for all.

    demand: those with the most clients first.
    """
    then = now.without(lost)
    mix = mix_wanted(demand) if looks_at_objects else {}
    by_place: dict[Hashable, Alike] = {}
    by_pairs: dict[Hashable, Alike] = {}
    for row in demand:
        if (heard := now.find(row)) is None:
            continue
        left = then.find(row, heard)
        own = row.wanted if looks_at_objects else {}
        place = id(heard), id(left), now.judge.arm_of(row)
        alike = None if own else by_place.get(place)
        if alike is None:
            pairs: defaultdict[WishPair, float] = defaultdict(float)
            for key, part in _parts_of(own or mix):
                wish = now.wish(row, heard, key)
                pair = WishPair(wish, wish if left is heard else now.wish(row, left, key))
                pairs[pair] += part
            alike = by_pairs.setdefault(frozenset(pairs.items()), Alike(pairs))
            if not own:
                by_place[place] = alike
        alike.add(row)
    found = list(by_pairs.values())
    scale_up(found, sum(row.clients for row in demand))
    return found


def scale_up(every: Sequence[Alike], clients: float) -> None:
    """To so many clients in all."""
    counted = sum(alike.clients for alike in every)
    for alike in every if counted else ():
        alike.clients *= clients / counted


def _parts_of(wanted: Wanted) -> Iterable[tuple[bytes | None, float]]:
    if not wanted:
        return ((None, 1.0),)
    whole = sum(wanted.values())
    return ((key, clients / whole) for key, clients in wanted.items())


def mix_wanted(demand: Iterable[DemandRow]) -> Wanted:
    """What all want of whom it is known; of many objects some, each for as many clients."""
    sums: defaultdict[bytes, float] = defaultdict(float)
    for row in demand:
        for key, clients in row.wanted.items():
            sums[key] += clients
    if len(sums) <= MOST_MIXED:
        return sums
    step = sum(sums.values()) / MOST_MIXED
    mixed: defaultdict[bytes, float] = defaultdict(float)
    come, due = 0.0, step / 2
    for key, clients in sorted(sums.items()):
        come += clients
        while due <= come:
            mixed[key] += step
            due += step
    return mixed


# -- who takes it --------------------------------------------------------------------------------


def limits_now(rooms: ClientRooms) -> Mapping[str, float]:
    """How many clients appliances can take. What they carry beside these clients is not known."""
    return {name: room.total for name, room in rooms.items() if room.total is not None}


def limits_then(rooms: ClientRooms, taken: Mapping[str, float]) -> Mapping[str, float]:
    """How many clients appliances can take that have these now, and may carry others beside."""
    more = {name: taken.get(name, 0.0) + room.more for name, room in rooms.items()}
    return more | {name: min(total, more[name]) for name, total in limits_now(rooms).items()}


def share_out(
    every: Iterable[Alike], place: int, limits: Mapping[str, float]
) -> tuple[Sharing, Mapping[ClientWish, Shares]]:
    """place: of a pair. limits: how many clients an appliance can take; who is not in it, any.

    The second is how the clients of each kind are shared out; they need not come to 1.
    """
    clients: defaultdict[ClientWish, float] = defaultdict(float)
    for alike in every:
        for pair, part in alike.pairs.items():
            clients[pair[place]] += part * alike.clients
    wishes = list(clients)
    settled = settle(wishes, list(clients.values()), limits)
    asked: defaultdict[str, float] = defaultdict(float)
    unserved: defaultdict[Unserved, float] = defaultdict(float)
    for wish, parts in zip(wishes, settled.parts, strict=True):
        for name, share in wish.shares().items():
            asked[name] += share * clients[wish]
        left = clients[wish] * (1 - sum(parts.values()))
        if left > _LEAST:
            unserved[wish.nobody or Unserved.CAPACITY] += left
    sharing = Sharing(asked, settled.taken, settled.full, unserved)
    return sharing, dict(zip(wishes, settled.parts, strict=True))


def _has_someone(alike: Alike, place: int) -> bool:
    return any(pair[place].nobody is None for pair in alike.pairs)


def _note_moves(
    moves: defaultdict[Move, Moved],
    alike: Alike,
    before: Mapping[ClientWish, Shares],
    after: Mapping[ClientWish, Shares],
) -> None:
    found: defaultdict[Move, float] = defaultdict(float)
    for pair, part in alike.pairs.items():
        for move, share in _find_moves(before[pair.before], after[pair.after]):
            found[move] += share * part * alike.clients
    for move, clients in found.items():
        if clients > _LEAST:
            moved = moves[move]
            moved.clients += clients
            moved.networks += len(alike.rows)


def _find_moves(before: Shares, after: Shares) -> Iterable[tuple[Move, float]]:
    """What some lose the others gain, in proportion."""
    gains, losses = _find_gains(before, after), _find_gains(after, before)
    gained, lost = sum(gains.values()), sum(losses.values())
    (gains if lost > gained else losses)[None] = abs(lost - gained)
    whole = max(lost, gained)
    for source, loss in losses.items():
        for target, gain in gains.items():
            if loss and gain:
                yield Move(source, target), loss * gain / whole


def _find_gains(before: Shares, after: Shares) -> dict[str | None, float]:
    return {
        name: gain for name, share in after.items() if (gain := share - before.get(name, 0.0)) > 0
    }
