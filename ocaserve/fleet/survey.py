"""Draws atlases one after the other, each of what has changed since the one before.

A table that changes a little changes little of the image: who hears the networks that are others,
and the intervals of the part of all addresses that they lie in. All else is taken over.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bgp.prefixes import WIDTH
from ocaserve.fleet.atlas import NOBODY, NOWHERE, Atlas, join_image
from ocaserve.fleet.tables import LENGTH_BITS, LENGTH_MASK, NO_ROUTES, Rank, Table

_PART_BITS = {4: 12, 6: 20}
"""Parts of a family's addresses are laid out by themselves. More of them take longer to put
together, fewer longer to lay out: a full table has some thousand of some hundred networks."""
_GROUND = -1
"""In place of a part's number: what lies around parts."""
_ROOM = 8  # regions of a part are counted in steps of so many: few changes move those behind
_RANK_BITS = 32
_LOW_BITS = 64
_LOW_MASK = (1 << _LOW_BITS) - 1
_MOST_REMEMBERED = 1 << 20  # steps from one set to another
_MOST_SETS = 1 << 20  # that came to be, of which few may be left: then all is drawn anew


class _Hearers:
    """Sets of tables, each at a rank, by number; equal ones are one. Number 0 is nobody."""

    def __init__(self) -> None:
        self.starts = array("I", [0, 0])
        self.tables = array("I")
        self.ranks = array("I")
        self._members: list[tuple[int, ...]] = [()]
        self._known: dict[tuple[int, ...], int] = {(): NOBODY}
        self._rank_numbers: dict[Rank, int] = {}
        self._steps: dict[int, _Steps] = {}
        self._remembered = 0

    def __len__(self) -> int:
        return len(self._members)

    @property
    def all_ranks(self) -> list[Rank]:
        return list(self._rank_numbers)

    def steps(self, table: int, rank: Rank) -> _Steps:
        """What it makes of sets that a table has a network at a rank, or has it no more."""
        if self._remembered >= _MOST_REMEMBERED:
            self._steps.clear()
            self._remembered = 0
        number = self._rank_numbers.setdefault(rank, len(self._rank_numbers))
        member = table << _RANK_BITS | number
        return self._steps.setdefault(member, _Steps(self, member))

    def change(self, number: int, member: int) -> int:
        """The set with a member that it lacks, or without one that it has."""
        self._remembered += 1
        members = self._members[number]
        place = bisect_left(members, member)
        if members[place : place + 1] == (member,):
            return self._find(members[:place] + members[place + 1 :])
        return self._find((*members[:place], member, *members[place:]))

    def _find(self, members: tuple[int, ...]) -> int:
        """The number of a set, of which these are the members in order."""
        number = self._known.setdefault(members, len(self._members))
        if number == len(self._members):
            self._members.append(members)
            self.tables.extend([each >> _RANK_BITS for each in members])
            self.ranks.extend([each & ((1 << _RANK_BITS) - 1) for each in members])
            self.starts.append(len(self.tables))
        return number


class _Steps(dict[int, int]):
    """From sets, by number, to those with a member more, or less where they have it."""

    def __init__(self, hearers: _Hearers, member: int) -> None:
        self._hearers, self._member = hearers, member

    def __missing__(self, number: int) -> int:
        found = self[number] = self._hearers.change(number, self._member)
        return found


class _Layout:
    """Networks of a stretch of addresses: their regions from 1 on, and where intervals begin. room:
    in the image, for regions; what is left of it is of no network.
    """

    def __init__(self, family: int, first: int, end: int, heard: Mapping[int, int]) -> None:
        """first, end: of the addresses, and behind the last one. heard: who hears each network that
        lies there, by its code.
        """
        self._codes = codes = sorted(heard)
        around, intervals = _nest(family, codes, first, end)
        self.first, self.end = first, end
        self.room = -(-len(codes) // _ROOM) * _ROOM
        self._unused = unused = [0] * (self.room - len(codes))
        starts = [code >> LENGTH_BITS for code in codes]
        self.lengths = array("B", [code & LENGTH_MASK for code in codes] + unused)
        self.highs = array("Q", [start >> _LOW_BITS for start in starts] + unused)
        self.lows = array("Q", [start & _LOW_MASK for start in starts] + unused)
        self.around = array("I", around + unused)
        self.hear(heard)
        self.begin_highs = array("Q", [begin >> _LOW_BITS for begin in intervals])
        self.begin_lows = array("Q", [begin & _LOW_MASK for begin in intervals])
        self.regions = array("I", intervals.values())
        self._placed: tuple[tuple[int, int], array[int], array[int]] | None = None

    def hear(self, heard: Mapping[int, int]) -> None:
        """Others hear the same networks."""
        self.hearers = array("I", [heard[code] for code in self._codes] + self._unused)

    def place(self, behind: int, base: int) -> tuple[array[int], array[int]]:
        """`around` and `regions`, where so many regions of others come before. base: the region
        that all of it lies in.
        """
        asked = behind, base
        if self._placed is None or self._placed[0] != asked:
            self._placed = asked, _shift(self.around, *asked), _shift(self.regions, *asked)
        return self._placed[1:]


def _nest(
    family: int, codes: Iterable[int], first: int, end: int
) -> tuple[list[int], dict[int, int]]:
    """Of networks in order, regions from 1 on, the one around each; and the region of each interval
    by where it begins. first, end: of the addresses, and behind the last one.
    """
    width, around, intervals = WIDTH[family], list[int](), {first: NOWHERE}
    # Of the networks that an address lies in where each ends, behind its last one, and its region.
    ends, regions = [end], [NOWHERE]
    for region, code in enumerate(codes, 1):
        start, length = code >> LENGTH_BITS, code & LENGTH_MASK
        while ends[-1] <= start:
            regions.pop()
            intervals[ends.pop()] = regions[-1]
        around.append(regions[-1])
        ends.append(start + (1 << (width - length)))
        regions.append(region)
        intervals[start] = region
    while ends[-1] < end:
        regions.pop()
        intervals[ends.pop()] = regions[-1]
    return around, intervals


class Survey:
    """What is known of all tables. For one thread at a time.

    life: of its atlases' numbers, another one for each survey; 0 where only one is drawn.
    """

    def __init__(self, life: int = 0) -> None:
        self._life = life
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._hearers = _Hearers()
        self._places: dict[int, int] = {}  # of each table its number, by its digest
        self._known: list[Table] = []  # by that number
        self._free: list[int] = []
        self._digests: dict[str, int] = {}  # by the appliance that has the table
        # Of each network of a part who hears it, by its code.
        self._heard = {family: defaultdict[int, dict[int, int]](dict) for family in WIDTH}
        self._parts = {
            family: {_GROUND: _Layout(family, 0, 1 << width, {})} for family, width in WIDTH.items()
        }
        # Parts that have other networks; and those with some that others hear.
        self._changed = {family: set[int]() for family in WIDTH}
        self._reheard = {family: set[int]() for family in WIDTH}

    def draw(self, tables: Mapping[str, Table]) -> bytes:
        """The image of what all tables say. tables: by the id of the appliance that has it."""
        if len(self._hearers) > _MOST_SETS:
            self._life += 1
            self._begin_anew()
        self._follow(tables)
        for family in WIDTH:
            self._lay_out(family)
        return self._join(tables)

    def _lay_out(self, family: int) -> None:
        """What has changed."""
        heard, parts = self._heard[family], self._parts[family]
        shift = WIDTH[family] - _PART_BITS[family]
        for number in self._reheard[family] - self._changed[family]:
            parts[number].hear(heard[number])
        for number in self._changed[family]:
            ends = number << shift, (number + 1) << shift
            if number == _GROUND:
                ends = 0, 1 << WIDTH[family]
            parts[number] = _Layout(family, *ends, heard[number])
            if not heard[number] and number != _GROUND:
                del heard[number], parts[number]
        self._changed[family].clear()
        self._reheard[family].clear()

    # -- what has changed ------------------------------------------------------------------------

    def _follow(self, tables: Mapping[str, Table]) -> None:
        now = {table.digest: table for table in tables.values()}
        gone = {digest for digest in self._places if digest not in now}
        come = [digest for digest in now if digest not in self._places]
        before = {
            table.digest: old
            for appliance, table in tables.items()
            if (old := self._digests.get(appliance)) in gone
        }
        for digest in come:
            old = before.get(digest)
            if old in gone:  # an appliance has this one in place of that
                gone.discard(old)
                self._places[digest] = place = self._places.pop(old)
                self._change(place, now[digest])
            else:
                self._places[digest] = place = self._free.pop() if self._free else len(self._known)
                if place == len(self._known):
                    self._known.append(NO_ROUTES)
                self._change(place, now[digest])
        for digest in gone:
            place = self._places.pop(digest)
            self._change(place, NO_ROUTES)
            self._free.append(place)
        self._digests = {appliance: table.digest for appliance, table in tables.items()}

    def _change(self, place: int, table: Table) -> None:
        before, self._known[place] = self._known[place], table
        for family in WIDTH:
            old, new = before.routes[family], table.routes[family]
            self._toggle(family, place, old.items() ^ new.items() if old else new.items())

    def _toggle(self, family: int, place: int, news: Iterable[tuple[int, Rank]]) -> None:
        """A table has networks at ranks, or does not have them any more."""
        heard, bits = self._heard[family], _PART_BITS[family]
        changed, reheard = self._changed[family], self._reheard[family]
        all_steps = dict[Rank, _Steps]()
        shift = WIDTH[family] + LENGTH_BITS - bits
        for code, rank in news:
            steps = all_steps.get(rank)
            if steps is None:
                steps = all_steps[rank] = self._hearers.steps(place, rank)
            part = code >> shift if code & LENGTH_MASK >= bits else _GROUND
            networks = heard[part]
            before = networks.get(code, NOBODY)
            hearers = steps[before]
            if hearers == NOBODY:
                del networks[code]
                changed.add(part)
            else:
                networks[code] = hearers
                (reheard if before else changed).add(part)

    # -- the image -------------------------------------------------------------------------------

    def _join_family(self, family: int, arrays: dict[str, array[int]]) -> None:
        """Parts lie in the ground, which is what lies around parts."""
        highs, lows, regions = array("Q"), array("Q"), array("I")
        parts = self._parts[family]
        ground = parts[_GROUND]
        bases = _add_regions(family, ground, NOWHERE, arrays)
        both = zip(ground.begin_highs, ground.begin_lows, strict=True)
        begins = [high << _LOW_BITS | low for high, low in both]

        def add_ground(first: int, end: int) -> None:
            place = bisect_right(begins, first) - 1
            while first < end:
                highs.append(first >> _LOW_BITS)
                lows.append(first & _LOW_MASK)
                regions.append(bases[place])
                place += 1
                first = begins[place] if place < len(bases) else end

        until = 0
        for number in sorted(parts.keys() - {_GROUND}):
            part = parts[number]
            add_ground(until, part.first)
            base = bases[bisect_right(begins, part.first) - 1]
            regions.extend(_add_regions(family, part, base, arrays))
            highs.extend(part.begin_highs)
            lows.extend(part.begin_lows)
            until = part.end
        add_ground(until, ground.end)
        named = (("highs", highs), ("lows", lows), ("regions", regions))
        arrays |= {f"{family}.{name}": numbers for name, numbers in named}

    def _join(self, tables: Mapping[str, Table]) -> bytes:
        holders: list[list[str]] = [[] for _ in self._known]
        for appliance, table in tables.items():
            holders[self._places[table.digest]].append(appliance)
        arrays: dict[str, array[int]] = {
            "region.families": array("B", [0]), "region.lengths": array("B", [0]),
            "region.highs": array("Q", [0]), "region.lows": array("Q", [0]),
            "region.around": array("I", [NOWHERE]), "region.hearers": array("I", [NOBODY]),
            "hearers.starts": self._hearers.starts, "hearers.tables": self._hearers.tables,
            "hearers.ranks": self._hearers.ranks,
        }  # fmt: skip
        for family in WIDTH:
            self._join_family(family, arrays)
        networks = sum(sum(map(len, heard.values())) for heard in self._heard.values())
        return join_image(self._life, holders, self._hearers.all_ranks, networks, arrays)


def _add_regions(
    family: int, layout: _Layout, base: int, arrays: Mapping[str, array[int]]
) -> array[int]:
    """Those of a layout, behind all others. Returns the regions of its intervals."""
    around, regions = layout.place(len(arrays["region.lengths"]) - 1, base)
    if layout.room:
        arrays["region.families"].frombytes(bytes([family]) * layout.room)
        arrays["region.lengths"].extend(layout.lengths)
        arrays["region.highs"].extend(layout.highs)
        arrays["region.lows"].extend(layout.lows)
        arrays["region.around"].extend(around)
        arrays["region.hearers"].extend(layout.hearers)
    return regions


def _shift(numbers: Sequence[int], by: int, base: int) -> array[int]:
    """Of regions. base: in place of 0."""
    return array("I", [each + by if each else base for each in numbers])


def draw_atlas(tables: Mapping[str, Table]) -> Atlas:
    """Of what all tables say, by the id of the appliance that has each."""
    return Atlas(Survey().draw(tables), tables)
