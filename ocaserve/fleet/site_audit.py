"""Whether the appliances of a site are alike: what each of them lacks that it should have.

Appliances of one site hear the same routers, so they should hear the same networks; one that lacks
some gets none of those clients, and where it is the better one the others carry what it should. And
each should hold what it is to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from bgp.prefixes import WIDTH
from ocaserve.fleet.allotment import SitePlan
from ocaserve.fleet.presence import Presence
from ocaserve.fleet.tables import Network, Table

MOST_EXAMPLES = 10
LEAST_HELD = 0.9
"""Of what an appliance is to hold; with less, it is named. What has just been planned is on its
way."""

_FAMILIES = {4: "IPv4 networks", 6: "IPv6 networks"}


class Lack(NamedTuple):
    """What one appliance lacks. what: networks of a family, or objects. of: so many should it have.

    examples: the first of those that it lacks.
    """

    appliance: str
    what: str
    lacks: int
    of: int
    examples: Sequence[str]


def audit_routes(tables: Mapping[str, Table]) -> Iterator[Lack]:
    """Networks that some other appliance of the site hears. tables: by appliance."""
    if len({table.prefix_digest for table in tables.values()}) <= 1:
        return
    for family in WIDTH:
        heard = {name: table.routes[family].keys() for name, table in tables.items()}
        every: set[int] = set().union(*heard.values())
        for name, codes in heard.items():
            if len(codes) < len(every):
                missing = sorted(every - codes)
                shown = [str(Network(family, code)) for code in missing[:MOST_EXAMPLES]]
                yield Lack(name, _FAMILIES[family], len(missing), len(every), shown)


def audit_content(plan: SitePlan, presence: Presence) -> Iterator[Lack]:
    """Objects that an appliance is to hold, where it has too few of them, and tells of any."""
    if plan.catalogue is not presence.catalogue:
        return  # another catalogue has just come
    for name, numbers in plan.numbers.items():
        if name not in presence.sightings:
            continue
        missing = [number for number in numbers if not presence.has(name, number)]
        if len(numbers) - len(missing) < LEAST_HELD * len(numbers):
            objects = plan.catalogue.objects
            shown = [objects[number].key for number in islice(missing, MOST_EXAMPLES)]
            yield Lack(name, "objects", len(missing), len(numbers), shown)
